"""Steps 2 to 5 of the reproduction."""
