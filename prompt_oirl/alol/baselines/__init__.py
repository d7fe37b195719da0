"""PRO, PPO, and DPO and RLOO through TRL, on the same rows."""
