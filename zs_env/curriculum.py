"""The curriculum: how the probability of noisy documents changes during training."""

from __future__ import annotations

import math
from collections.abc import Callable
from numbers import Real

from zs_env import keyed_random
from zs_env.checks import suggestion


def _exponential(progress: float, base: float) -> float:
    if math.isclose(base, 1.0):  # the limit of the formula, which would divide by 0
        return progress
    return float((base**progress - 1.0) / (base - 1.0))


# How far the probability has moved from `start` (0) to `end` (1), by progress and base.
_SHAPES: dict[str, Callable[[float, float], float]] = {
    "exponential": _exponential,
    "linear": lambda progress, base: progress,
    "constant": lambda progress, base: 1.0,
    "random": lambda progress, base: keyed_random.uniform("noise schedule", progress),
    "reverse": lambda progress, base: _exponential(1.0 - progress, base),
}
SCHEDULES = tuple(_SHAPES)


def noise_probability(
    progress: float,
    schedule: str = "exponential",
    start: float = 0.0,
    end: float = 0.5,
    base: float = 4.0,
) -> float:
    """Return the probability that a search gets noisy documents, at ``progress`` of training.

    With ``exponential`` this is the curriculum of the paper (arXiv 2505.04588, section 3.5)::

        p = start + (base**progress - 1) / (base - 1) * (end - start)

    Args:
        progress: training steps taken, as a share of all training steps, in [0, 1].
        schedule: ``exponential``; ``linear``, the same with base 1; ``constant``, always ``end``;
            ``random``, uniform on [start, end], drawn anew for each value of ``progress``;
            ``reverse``, the exponential one backwards: from hard to easy.
        start: probability at progress 0, in [0, 1].
        end: probability at progress 1, in [0, 1].
        base: base of the exponential, positive: the greater, the later the rise; 1 is linear.

    Returns:
        A probability between ``start`` and ``end``.

    Raises:
        ValueError: an argument is out of its range.
    """
    if schedule not in SCHEDULES:
        near = suggestion(schedule, SCHEDULES)
        raise ValueError(
            f"`noise`, the noise schedule, must be one of {', '.join(SCHEDULES)}, "
            f"got {schedule!r}{near}."
        )
    for name, value in (("progress", progress), ("start", start), ("end", end)):
        if not (isinstance(value, Real) and 0.0 <= value <= 1.0):
            raise ValueError(
                f"the noise schedule's `{name}` must be a number in [0, 1], got {value!r}."
            )
    if not (isinstance(base, Real) and base > 0.0 and math.isfinite(base)):
        raise ValueError(f"the noise schedule's `base` must be positive and finite, got {base!r}.")
    share = _SHAPES[schedule](float(progress), float(base))
    return start + share * (end - start)
