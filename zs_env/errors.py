"""One error class for each boundary that can fail. Wrong arguments are ValueError or TypeError."""

from __future__ import annotations


class ZeroSearchError(Exception):
    """What every error of this package derives from."""


class QuestionSourceError(ZeroSearchError, ValueError):
    """Questions could not be read: a broken line, no golden answer, a duplicate id."""


class CorpusError(ZeroSearchError, ValueError):
    """A corpus could not be read: a broken line, a passage without text, nothing to index."""


class SearchFailure(ZeroSearchError):
    """A search engine gave up on a request.

    An engine returns it in `SearchResult.failure`, or raises it. The episode is then truncated
    with reward 0.0 and ``search_failed``. Failures are equal if they say the same, so that results
    can be compared after they were stored.
    """

    def __eq__(self, other: object) -> bool:
        """Whether ``other`` is of the same class and says the same."""
        return type(other) is type(self) and other.args == self.args

    def __hash__(self) -> int:
        """Of what it says."""
        return hash(self.args)


class ServiceError(ZeroSearchError):
    """A server cannot be used at all: a wrong URL, a missing key, an unknown model.

    Raised at the start; what a server does later is a `SearchFailure`.
    """


class EngineContractError(ZeroSearchError, TypeError):
    """A search engine broke its contract, such as one result too few: a defect of the engine."""


class MissingDependencyError(ZeroSearchError, ImportError):
    """An optional dependency is not installed; the message names the extra that brings it."""

    @classmethod
    def for_extra(cls, what: str, package: str, extra: str) -> MissingDependencyError:
        """The error for ``what``, which needs ``package``, which the extra ``extra`` installs."""
        return cls(f"{what} needs `{package}`: pip install 'zs-env[{extra}]'.")


class RolloutError(ZeroSearchError):
    """A sampler breaks the contract of `zs_env.tokens.rollout` or `zs_env.tokens.play`."""


class TokenizerError(ZeroSearchError, ValueError):
    """A tokenizer cannot be read, has no end-of-text, or cannot write the tags."""


class TrajectoryError(ZeroSearchError):
    """A trajectory contradicts itself."""
