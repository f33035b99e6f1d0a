"""Train search agents without a search engine: ZeroSearch (arXiv 2505.04588) for Gymnasium.

Importing this package registers its environments: ``gymnasium.make("ZeroSearch-v0")``.
"""

from zs_env import actions, curriculum, errors, rewards
from zs_env.documents import Document, SearchRequest, SearchResult
from zs_env.engines import SearchEngine
from zs_env.envs.pool import EpisodePool
from zs_env.envs.registration import register_envs
from zs_env.episode import Episode
from zs_env.errors import SearchFailure, ZeroSearchError
from zs_env.questions import Question
from zs_env.rules import Rules
from zs_env.tokens.encoder import TextEncoder
from zs_env.tokens.rollout import rollout
from zs_env.tokens.trajectory import Trajectory

__all__ = [
    "Document",
    "Episode",
    "EpisodePool",
    "Question",
    "Rules",
    "SearchEngine",
    "SearchFailure",
    "SearchRequest",
    "SearchResult",
    "TextEncoder",
    "Trajectory",
    "ZeroSearchError",
    "__version__",
    "actions",
    "curriculum",
    "errors",
    "rewards",
    "rollout",
]

__version__ = "0.1.0"

register_envs()
