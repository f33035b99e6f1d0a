"""One error class for each boundary that can fail. Wrong arguments are ValueError or TypeError."""

from __future__ import annotations


class ZeroSearchError(Exception):
    """Base class of the errors of this package."""


class QuestionSourceError(ZeroSearchError, ValueError):
    """Questions could not be read: a broken line, no golden answer, a duplicate id."""


class CorpusError(ZeroSearchError, ValueError):
    """A corpus could not be read: a broken line, a passage without text, nothing to index."""


class SearchFailure(ZeroSearchError):
    """A search engine gave up on a request.

    An engine returns it in `SearchResult.failure`, or raises it. The episode is then truncated
    with reward 0.0 and ``search_failed``. Failures of the same message are equal, so that a result
    equals its stored copy.
    """

    def __eq__(self, other: object) -> bool:
        """Return whether ``other`` has the same class and message."""
        return type(other) is type(self) and other.args == self.args

    def __hash__(self) -> int:
        """Hash the message."""
        return hash(self.args)


class ContextExceeded(SearchFailure):
    """A language model was asked to read more than its context holds."""


class ServiceError(ZeroSearchError):
    """A server cannot be used at all: a wrong URL, a missing key, an unknown model.

    Raised at the start; later failures of a server are `SearchFailure`.
    """


class EngineContractError(ZeroSearchError, TypeError):
    """A search engine broke its contract, such as one result too few: a defect of the engine."""


class MissingDependencyError(ZeroSearchError, ImportError):
    """An optional dependency is not installed; the message names the extra that brings it."""

    @classmethod
    def for_extra(cls, what: str, package: str, extra: str) -> MissingDependencyError:
        """Make the error for ``what``, which needs ``package`` of the extra ``extra``."""
        return cls(f"{what} needs `{package}`: in the checkout, pip install '.[{extra}]'.")


class DependencyVersionError(ZeroSearchError, ImportError):
    """A framework is installed in a version that its adapter was not tested with."""


class RolloutError(ZeroSearchError):
    """A sampler breaks the contract of `zs_env.tokens.rollout` or `zs_env.tokens.play`."""


class TokenizerError(ZeroSearchError, ValueError):
    """A tokenizer cannot be read, has no end-of-text, or cannot write the tags."""


class TrajectoryError(ZeroSearchError):
    """A trajectory contradicts itself."""


class RecordError(ZeroSearchError, ValueError):
    """Records of an evaluation cannot be read, written, or compared."""


class SimulationDataError(ZeroSearchError, ValueError):
    """Searches, verdicts or pairs to tune a simulation LLM on cannot be read, written, or used."""
