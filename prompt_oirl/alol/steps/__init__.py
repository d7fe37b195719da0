"""What the scripts in alol_exps/ do: their flags and their work."""
