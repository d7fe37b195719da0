"""Causal language models: loading, saving, log-probabilities, several processes."""
