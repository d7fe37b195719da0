"""Reward models: the published ones, the COMET critic, and one learned from an interaction log."""
