"""Threads for numpy work: its loops let go of the interpreter, so that they share the processors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np

Item = TypeVar("Item")
Result = TypeVar("Result")


class Threads:
    """A number of threads, or none where the number is 1."""

    def __init__(self, count: int) -> None:
        self.count = count
        self._pool = ThreadPoolExecutor(count) if count > 1 else None

    def map(self, work: Callable[[Item], Result], items: Sequence[Item], **errors: Any) -> list[Result]:
        """``work`` of every item, in their order. ``errors`` go to `numpy.errstate`, which is per thread."""

        def guarded(item: Item) -> Result:
            with np.errstate(**errors):
                return work(item)

        if self._pool is None or len(items) == 1:
            return [guarded(item) for item in items]
        return list(self._pool.map(guarded, items))

    def close(self) -> None:
        """End the threads."""
        if self._pool is not None:
            self._pool.shutdown()
