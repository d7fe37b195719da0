"""DPO, PRO, PPO and RLOO, on the same rows as the eight losses."""
