"""The parts of scripts/bench.py, a module per kind of work."""
