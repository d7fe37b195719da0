"""Experiments behind the tables of docs/a_lol.md and docs/a_lol_tasks.md."""
