"""Advantage-Leftover Lunch RL: train a language model on the logged answers that beat expectation (arXiv
2305.14718)."""
