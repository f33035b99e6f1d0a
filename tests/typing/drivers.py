"""What type checkers must see in the arguments of the drivers; checked by mypy, never run.

Each wrong argument is marked: if mypy no longer sees that it is wrong, it reports the mark.
"""

from agents.ppo import PPOConfig
from zs_env import EpisodePool
from zs_env.envs.text_env import ZeroSearchEnv
from zs_env.envs.text_vector_env import ZeroSearchVectorEnv
from zs_env.envs.token_env import ZeroSearchTokenEnv
from zs_env.envs.token_vector_env import ZeroSearchTokenVectorEnv

ZeroSearchEnv(max_turns=3, engine="bm25,corpus=passages.jsonl", reward=lambda answer, golden: 1.0)
ZeroSearchEnv(max_turn=3)  # type: ignore[call-arg]
ZeroSearchEnv(max_turns="3")  # type: ignore[arg-type]
ZeroSearchEnv(noise="linaer")  # type: ignore[arg-type]
ZeroSearchEnv(tokenizer="world")  # type: ignore[call-arg]

ZeroSearchVectorEnv(4, observation="delta", noise_base=2.0)
ZeroSearchVectorEnv(4, observations="delta")  # type: ignore[call-arg]

EpisodePool(4, engine={"name": "simulated", "model": "world"}, max_context_chars=9000)
EpisodePool(4, render_mode="ansi")  # type: ignore[call-arg]

ZeroSearchTokenEnv(tokenizer="world", masking="tags", world_size="tiny")
ZeroSearchTokenEnv(observation="delta")  # type: ignore[call-arg]

ZeroSearchTokenVectorEnv(4, context_length=96, answer_last=True)
ZeroSearchTokenVectorEnv(4, answer_last="yes")  # type: ignore[arg-type]

PPOConfig(max_turns=3, noise_base=2.0, gae_lambda=0.9)
PPOConfig(max_turn=3)  # type: ignore[call-arg]
