"""Everything about token ids: encoders, masks, trajectories, rollouts."""
