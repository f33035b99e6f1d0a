"""Kinds of noisy documents, and how often each is written.

Noise of real search engines is mostly beside the point, about a namesake, vague or out of date, and
seldom a plain falsehood: a reader who looks closely, and asks again, is not fooled.
"""

from __future__ import annotations

from collections.abc import Mapping

from zs_env.checks import as_integer, check_choice

FALSE, NAMESAKE, BESIDE = "false", "namesake", "beside"
HEDGED, DATED, CONTRADICTED = "hedged", "dated", "contradicted"

NOISE_KINDS = (FALSE, NAMESAKE, BESIDE, HEDGED, DATED, CONTRADICTED)
"""Kinds of a noisy document.

- ``false``: states a falsehood as if it were the fact asked for;
- ``namesake``: states the fact of somebody or something else of a similar name;
- ``beside``: states other facts of the right subject;
- ``hedged``: states a falsehood as doubtful ("It is said that ...") or leaves it open ("or");
- ``dated``: states with a date what does not hold any more;
- ``contradicted``: states a falsehood, and that a newer page denies it.
"""

PLAIN: Mapping[str, int] = {FALSE: 1, NAMESAKE: 1, BESIDE: 1}
NATURAL: Mapping[str, int] = {
    FALSE: 1, NAMESAKE: 6, BESIDE: 5, HEDGED: 4, DATED: 2, CONTRADICTED: 2,
}  # fmt: skip
MIXTURES = {"plain": PLAIN, "natural": NATURAL}
"""Named shares of the kinds: how many documents, among the sum of all shares, are of each kind."""

MARKED = (HEDGED, DATED, CONTRADICTED)
"""Kinds whose documents have words that the tiny world does not know."""


def check_shares(shares: Mapping[str, int]) -> dict[str, int]:
    """Return the share of each of `NOISE_KINDS`, 0 for those that are not given.

    Raises:
        ValueError: a kind is unknown, or a share negative, or none is above 0.
        TypeError: a share is not an integer.
    """
    for kind, share in shares.items():
        check_choice("kind of noise", kind, NOISE_KINDS)
        as_integer(kind, share, least=0)
    if not any(shares.values()):
        raise ValueError(f"a kind of noise must have a share above 0, got {dict(shares)!r}.")
    return {kind: shares.get(kind, 0) for kind in NOISE_KINDS}


def shares_of(mixture: str | None, shares: Mapping[str, int]) -> Mapping[str, int]:
    """Return the shares of ``mixture``, or ``shares`` if there are any, or else those of ``plain``.

    Raises:
        ValueError: the mixture is unknown, or both are given.
    """
    given = {kind: share for kind, share in shares.items() if share != 0}
    if mixture is None:
        return given or PLAIN
    check_choice("mixture", mixture, MIXTURES)
    if given:
        raise ValueError(
            f"`mixture` names the shares of all kinds of noise, got {mixture!r} and "
            f"{', '.join(f'{kind}={share}' for kind, share in given.items())}: give one of them."
        )
    return MIXTURES[mixture]
