"""Reinforcement learning on `zs_env`: PPO, GRPO and REINFORCE, written to be read and copied."""

import os

# Read when torch is loaded. By default the threads of torch spin while they wait for one another;
# with another program on the same cores an update then takes ten times as long.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
