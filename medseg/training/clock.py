"""How far a training is, by steps or by the time allowed."""

from __future__ import annotations

import math
import time

from medseg.plans import OptimiserPlan

_LONGEST_WARMUP = 0.05


class Clock:
    """Fraction of a training that is done: steps over steps, or time over time allowed, whichever is more.

    With a time limit the learning rate therefore reaches zero just when the time is up. A resumed run
    starts at the fraction its checkpoint holds and spreads what is left over the new allowance.
    """

    def __init__(self, steps: int, seconds: float | None, done: float = 0.0) -> None:
        self._steps, self._seconds, self._done = steps, seconds, done
        self._started = time.monotonic()

    def fraction(self, step: int) -> float:
        """0 at the start, 1 or more when it is time to stop."""
        by_steps = step / self._steps
        if self._seconds is None:
            return by_steps
        share = (time.monotonic() - self._started) / self._seconds if self._seconds > 0 else 1.0
        return max(by_steps, self._done + (1 - self._done) * share)

    def seconds_left(self, fraction: float) -> float | None:
        """Estimate from the pace so far; None before there is any."""
        spent = time.monotonic() - self._started
        progress = fraction - self._done
        return None if progress <= 0 else spent * max(0.0, 1 - fraction) / progress


def learning_rate(plan: OptimiserPlan, step: int, fraction: float) -> float:
    """Linear warm-up, times half a cosine from the peak to zero.

    The warm-up ends after ``warmup_steps`` or a twentieth of the training, whichever comes first: in a
    run of few steps or little time it must not take the whole of it.
    """
    warm = min(1.0, max((step + 1) / max(1, plan.warmup_steps), fraction / _LONGEST_WARMUP))
    return plan.learning_rate * warm * 0.5 * (1 + math.cos(math.pi * min(1.0, fraction)))
