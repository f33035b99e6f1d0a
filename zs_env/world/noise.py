"""Kinds of noisy documents, and how often each is written.

Noise of real search engines is mostly beside the point, about a namesake, vague or out of date, and
seldom a plain falsehood: a reader who looks closely, and asks again, is not fooled.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from zs_env.checks import as_integer, check_choice

FALSE, NAMESAKE, BESIDE = "false", "namesake", "beside"
HEDGED, DATED, CONTRADICTED = "hedged", "dated", "contradicted"

KINDS = (FALSE, NAMESAKE, BESIDE, HEDGED, DATED, CONTRADICTED)
"""Kinds of a noisy document.

- ``false``: states a falsehood as if it were the fact asked for;
- ``namesake``: states the fact of somebody or something else of a similar name;
- ``beside``: states other facts of the right subject;
- ``hedged``: states a falsehood as doubtful ("It is said that ...") or leaves it open ("or");
- ``dated``: states with a date what does not hold any more;
- ``contradicted``: states a falsehood, and that a newer page denies it.
"""

PLAIN: Mapping[str, int] = {FALSE: 1, NAMESAKE: 1, BESIDE: 1, HEDGED: 0, DATED: 0, CONTRADICTED: 0}
NATURAL: Mapping[str, int] = {
    FALSE: 1, NAMESAKE: 6, BESIDE: 5, HEDGED: 4, DATED: 2, CONTRADICTED: 2,
}  # fmt: skip
MIXTURES = {"plain": PLAIN, "natural": NATURAL}
"""Named shares of the kinds: how many documents, among the sum of all shares, are of each kind."""

MARKED = (HEDGED, DATED, CONTRADICTED)
"""Kinds whose documents have words that the tiny world does not know."""


def noise_shares(mixture: str, shares: Sequence[int] = ()) -> Mapping[str, int]:
    """Return the share of each kind of noise.

    Args:
        mixture: name of a mixture, which counts if no share is above 0.
        shares: share of each kind, in the order of `KINDS`.

    Raises:
        ValueError: the mixture is unknown, or a share is not an integer from 0.
    """
    check_choice("kinds", mixture, MIXTURES)
    named = dict(zip(KINDS, shares, strict=False))
    for kind, share in named.items():
        as_integer(kind, share, least=0)
    return named if any(shares) else MIXTURES[mixture]
