"""Questions, prompts and logged answers."""
