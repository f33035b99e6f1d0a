"""The algorithms that tests run: name to (train, config class). Needs torch."""

from agents.grpo import GRPOConfig
from agents.grpo import train as train_grpo
from agents.ppo import PPOConfig
from agents.ppo import train as train_ppo
from agents.reinforce import ReinforceConfig
from agents.reinforce import train as train_reinforce

ALGORITHMS = {
    "ppo": (train_ppo, PPOConfig),
    "grpo": (train_grpo, GRPOConfig),
    "reinforce": (train_reinforce, ReinforceConfig),
}
