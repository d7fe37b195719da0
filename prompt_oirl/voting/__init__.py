"""Several answers and a vote."""
