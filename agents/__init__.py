"""Reinforcement learning on `zs_env`: PPO, GRPO and REINFORCE, written to be read and copied."""
