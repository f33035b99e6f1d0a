"""Behaviour cloning of the scripted solver, to start algorithms of Stable-Baselines3 from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from sb3_contrib.common.maskable.policies import MaskableActorCriticPolicy
from sb3_contrib.common.maskable.utils import get_action_masks

from agents.sb3.vec_env import TokenVecEnv
from zs_env.actions import ANSWER, SEARCH, THINK, Answer, Search, parse_action, tagged
from zs_env.keyed_random import permutation
from zs_env.question_sources import world_of
from zs_env.world import load_world
from zs_env.world.solver import HopByHopSolver


class Demonstrations(NamedTuple):
    """Observations and actions of an expert: S tokens from a vocabulary of V.

    Attributes:
        observations: arrays of the observations, with a first axis of S.
        actions: tokens written, shape (S,), int64.
        masks: tokens that were allowed, shape (S, V), bool.
        reward: mean reward of the finished episodes.
    """

    observations: dict[str, NDArray[Any]]
    actions: NDArray[np.int64]
    masks: NDArray[np.bool_]
    reward: float


def demonstrate(env: TokenVecEnv, num_steps: int) -> Demonstrations:
    """Record ``num_steps`` steps of ``env`` by the scripted solver, without its thoughts.

    Raises:
        ValueError: a turn of the solver is too long, or no episode ends in so few steps.
    """
    settings = env.envs.setup.settings
    world = load_world(*world_of(settings.questions, settings.world_seed, settings.world_size))
    solver = HopByHopSolver(world, settings.max_turns)
    encode: Callable[[str], Sequence[int]] = env.envs.setup.encoder.encode
    observation: Any = env.reset()
    written: list[list[int]] = [[] for _ in range(env.num_envs)]
    steps: list[tuple[dict[str, NDArray[Any]], NDArray[np.int64], NDArray[np.bool_]]] = []
    rewards: list[float] = []
    for _ in range(num_steps):
        for i, episode in enumerate(env.envs.episodes):
            if not written[i]:  # the turn has ended; the next is stored last token first
                written[i] = [*reversed(encode(without_thought(solver(episode.transcript))))]
        actions = np.array([tokens.pop() for tokens in written])
        steps.append((observation, actions, get_action_masks(env)))
        observation, _, ended, infos = env.step(actions)
        for unwritten, info in zip(written, infos, strict=True):
            if unwritten and "turn" in info:  # an info with a turn says that the turn has ended
                raise ValueError(
                    f"`max_turn_tokens` is too small for the scripted solver: its turn needs "
                    f"{len(unwritten)} tokens more."
                )
        rewards += [infos[i]["episode"]["r"] for i in np.flatnonzero(ended)]
    if not rewards:
        raise ValueError(f"no episode ended in {num_steps} steps: demonstrate more.")
    observations, taken, masks = zip(*steps, strict=True)
    return Demonstrations(
        {key: np.concatenate([each[key] for each in observations]) for key in observation},
        np.concatenate(taken),
        np.concatenate(masks),
        float(np.mean(rewards)),
    )


def without_thought(turn: str) -> str:
    """Return the action of ``turn`` after an empty thought, which the template requires."""
    action = parse_action(turn)
    if isinstance(action, Search):
        return tagged(THINK, "") + tagged(SEARCH, action.query)
    text = action.text if isinstance(action, Answer) else ""
    return tagged(THINK, "") + tagged(ANSWER, text)


def clone(
    policy: MaskableActorCriticPolicy,
    demonstrations: Demonstrations,
    *,
    epochs: int,
    batch_size: int = 512,
    learning_rate: float = 1e-3,
) -> list[float]:
    """Train ``policy`` to raise the probability of the demonstrated tokens.

    Args:
        policy: policy, changed in place.
        demonstrations: demonstrations of the expert.
        epochs: passes over the demonstrations.
        batch_size: tokens of a gradient step, approximately.
        learning_rate: learning rate of AdamW.

    Returns:
        The mean loss of each epoch, in nats a token.
    """
    optimizer = torch.optim.AdamW(policy.parameters(), lr=learning_rate)
    losses = []
    for epoch in range(epochs):
        order = permutation(len(demonstrations.actions), "clone", epoch)
        batches = np.array_split(order, max(len(order) // batch_size, 1))
        losses.append(
            float(np.mean([_learn(policy, optimizer, demonstrations, b) for b in batches]))
        )
    return losses


def _learn(
    policy: MaskableActorCriticPolicy,
    optimizer: torch.optim.Optimizer,
    demonstrations: Demonstrations,
    chosen: NDArray[np.int64],
) -> float:
    seen: Any = {key: value[chosen] for key, value in demonstrations.observations.items()}
    observation: Any = policy.obs_to_tensor(seen)[0]
    actions = torch.as_tensor(demonstrations.actions[chosen], device=policy.device)
    masks = torch.as_tensor(demonstrations.masks[chosen])
    _, log_probs, _ = policy.evaluate_actions(observation, actions, masks)
    loss = -log_probs.mean()
    optimizer.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(policy.parameters(), 1.0)
    optimizer.step()
    return float(loss.detach())
