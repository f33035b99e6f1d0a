"""The policy, and what plays episodes with it."""
