"""Pick, propose and train prompts for language models from the log of what already worked."""

__version__ = "0.1.0"
