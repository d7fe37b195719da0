"""Pick a prompt per question, from a log of your own."""
