"""The command `prompt-oirl`."""
