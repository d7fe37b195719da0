"""Splits, metrics, policies and estimates: numbers about matrices of success."""
