"""A small network that reads token observations, for the policies of Stable-Baselines3."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from sb3_contrib.common.maskable.policies import MaskableMultiInputActorCriticPolicy
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from torch import Tensor, nn

from zs_env.tokens.batch import TokenRole

NEIGHBOURS = 4
"""Number of tokens that a position stands for: its own and those just before it."""


class TokenFeatures(BaseFeaturesExtractor):
    """Features of the last token, given the tokens before it.

    A causal transformer of which only the last position is computed. A position stands for its
    token and the three before it; the last position attends to all, twice. Further features, V of
    each, are the weights of the second attention by token, which say what to copy, and the tokens
    that followed earlier occurrences of the last token, which say how a copy goes on.

    Args:
        observation_space: observation space of the token environment.
        width: size of the vectors.
        num_heads: number of heads of each attention.

    Raises:
        ValueError: ``width`` is not a multiple of ``num_heads``.
    """

    def __init__(self, observation_space: Any, width: int = 64, num_heads: int = 4) -> None:
        if width % num_heads:
            raise ValueError(f"`width` must be a multiple of {num_heads}, got {width}.")
        self.vocabulary_size = int(observation_space["tokens"].high.max()) + 1
        super().__init__(observation_space, 3 * width + 2 * self.vocabulary_size)
        self.token_embedding = nn.Embedding(self.vocabulary_size, width)
        self.role_embedding = nn.Embedding(len(TokenRole), width)
        self.neighbours = nn.Linear(NEIGHBOURS * width, width)
        self.first = Look(width, width, num_heads)
        self.second = Look(2 * width, width, num_heads)

    def forward(self, observations: dict[str, Tensor]) -> Tensor:
        """Return the features of the last token, shape (B, 3 * width + 2 * V)."""
        # Cut to the longest episode: the space pads to the context length.
        longest = int(observations["length"].max())
        tokens = observations["tokens"][:, :longest].long()  # (B, T)
        roles = observations["roles"][:, :longest].long()  # (B, T)
        last = observations["length"].long() - 1  # (B, 1)
        embedded = self.token_embedding(tokens) + self.role_embedding(roles)  # (B, T, D)
        padded = nn.functional.pad(embedded, (0, 0, NEIGHBOURS - 1, 0))
        windows = torch.cat(
            [padded[:, k : k + longest] for k in range(NEIGHBOURS)], dim=-1
        )  # (B, T, NEIGHBOURS * D)
        positions = nn.functional.gelu(self.neighbours(windows))  # (B, T, D)
        here = positions.gather(1, last[..., None].expand(-1, 1, positions.shape[-1]))[:, 0]
        seen = roles != TokenRole.PADDING  # (B, T)
        found, _ = self.first(here, positions, seen)
        more, weights = self.second(torch.cat([here, found], -1), positions, seen)
        follows = (tokens[:, :-1] == tokens.gather(1, last)) & seen[:, 1:]  # (B, T - 1)
        follows = follows / follows.sum(1, keepdim=True).clamp(min=1)
        return torch.cat(
            [
                here,
                found,
                more,
                self._by_token(tokens, weights),
                self._by_token(tokens[:, 1:], follows),
            ],
            dim=-1,
        )

    def _by_token(self, tokens: Tensor, weights: Tensor) -> Tensor:
        """Return ``weights`` (B, T) of ``tokens`` (B, T), summed by token, (B, V)."""
        sums = torch.zeros(len(tokens), self.vocabulary_size, device=tokens.device)
        return sums.scatter_add(1, tokens, weights)


class Look(nn.Module):
    """Attention of one position to all.

    Args:
        query_width: size of the position that attends.
        width: size of the positions, and of the result.
        num_heads: number of heads.
    """

    def __init__(self, query_width: int, width: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.query = nn.Linear(query_width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)

    def forward(self, here: Tensor, positions: Tensor, seen: Tensor) -> tuple[Tensor, Tensor]:
        """Return the result of the attention, (B, D), and its mean weights over heads, (B, T).

        Args:
            here: position that attends, (B, query_width).
            positions: positions to attend to, (B, T, D).
            seen: False for padding, (B, T), bool.
        """
        size = positions.shape[-1] // self.num_heads
        query = self.query(here).unflatten(-1, (self.num_heads, size))  # (B, H, S)
        keys = self.key(positions).unflatten(-1, (self.num_heads, size))  # (B, T, H, S)
        values = self.value(positions).unflatten(-1, (self.num_heads, size))
        scores = torch.einsum("bhs,bths->bth", query, keys) * size**-0.5
        weights = scores.masked_fill(~seen[..., None], -torch.inf).softmax(dim=1)
        found = torch.einsum("bth,bths->bhs", weights, values).flatten(1)
        return found, weights.mean(-1)


class TokenPolicy(MaskableMultiInputActorCriticPolicy):
    """Actor and critic on `TokenFeatures`; at first it mostly copies what it has read.

    Args:
        args: arguments of SB3's policies.
        copy_scale: initial weight of the tokens attended to, in logits.
        follow_scale: initial weight of the tokens that followed the last token before, in logits.
        first_bias: initial bias of tokens, in logits, such as closing tags for short turns.
        kwargs: keyword arguments of SB3's policies. The features of copying go straight to the
            logits, so ``features_extractor_class`` must be `TokenFeatures` or derived from it, and
            ``net_arch["pi"]`` must be empty.

    Raises:
        ValueError: ``net_arch`` or ``features_extractor_class`` is another.
    """

    def __init__(
        self,
        *args: Any,
        copy_scale: float = 30.0,
        follow_scale: float = 5.0,
        first_bias: Mapping[int, float] | None = None,
        **kwargs: Any,
    ) -> None:
        self.copy_scale = copy_scale
        self.follow_scale = follow_scale
        self.first_bias = dict(first_bias or {})
        kwargs.setdefault("features_extractor_class", TokenFeatures)
        kwargs.setdefault("net_arch", {"pi": [], "vf": [64]})
        kwargs.setdefault("ortho_init", False)
        net_arch = kwargs["net_arch"]
        if not isinstance(net_arch, dict) or net_arch.get("pi"):
            raise ValueError(f"`net_arch` must be {{'pi': [], 'vf': [...]}}, got {net_arch}.")
        if not issubclass(kwargs["features_extractor_class"], TokenFeatures):
            raise ValueError(
                "`features_extractor_class` must be TokenFeatures or derived from it, got "
                f"{kwargs['features_extractor_class'].__name__}."
            )
        super().__init__(*args, **kwargs)

    def _build(self, lr_schedule: Any) -> None:
        super()._build(lr_schedule)
        features: Any = self.features_extractor
        action_net: Any = self.action_net
        with torch.no_grad():
            for look in (features.first, features.second):
                look.query.weight.mul_(0.1)  # nearly equal attention to all positions at first
            # The last 2 V features are by token, so each goes to the logit of its token.
            weight, bias = action_net.weight, action_net.bias
            weight.mul_(0.1)
            size = len(bias)
            weight[:, -2 * size : -size] = self.copy_scale * torch.eye(size)
            weight[:, -size:] = self.follow_scale * torch.eye(size)
            bias.zero_()
            for token, value in self.first_bias.items():
                bias[token] = value

    def _get_constructor_parameters(self) -> dict[str, Any]:
        return {
            **super()._get_constructor_parameters(),
            "copy_scale": self.copy_scale,
            "follow_scale": self.follow_scale,
            "first_bias": self.first_bias,
        }
