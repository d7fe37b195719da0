"""Losses, sampling of rows, value estimate, advantages, and the loop that trains on them."""
