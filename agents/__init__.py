"""Reinforcement learning on `zs_env`: PPO, GRPO and REINFORCE, to be read and copied."""
