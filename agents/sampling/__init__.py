"""The policy, its sampler, and the player of episodes."""
