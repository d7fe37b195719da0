"""Which questions to ask with which prompts next, under a budget of calls."""
