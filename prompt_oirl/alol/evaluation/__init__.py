"""What policies say and earn, as tables and figures."""
