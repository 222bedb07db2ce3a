"""A network that keeps count of its own calls, whoever calls it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from time import perf_counter
from typing import Any


class Timed:
    """Wraps a backend, or any network: seconds inside it, windows, and when the first and last call ran."""

    def __init__(self, network: Callable[[Any], Any]) -> None:
        self._network = network
        self.seconds = 0.0
        self.windows = 0
        self.first_start: float | None = None
        self.last_end = 0.0

    def __call__(self, batch: Any) -> Any:
        start = perf_counter()
        if self.first_start is None:
            self.first_start = start
        result = self._network(batch)
        self.last_end = perf_counter()
        self.seconds += self.last_end - start
        self.windows += len(batch)
        return result

    def __getattr__(self, name: str) -> Any:
        return getattr(self._network, name)

    def reset(self) -> None:
        """Forget all calls so far."""
        self.seconds, self.windows, self.first_start, self.last_end = 0.0, 0, None, 0.0


def bare_seconds(network: Callable[[Any], Any], patches: Iterable[Any]) -> float:
    """Wall seconds of forward passes with nothing between them."""
    start = perf_counter()
    for patch in patches:
        network(patch)
    return perf_counter() - start
