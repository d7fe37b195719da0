"""The tasks: how rows are made and how a response is rewarded."""
