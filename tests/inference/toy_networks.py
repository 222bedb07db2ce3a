"""Networks made of a few numpy operations, that show every mistake in placing, flipping or adding windows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Kind = Literal["noise", "anatomy", "identity"]
KINDS: tuple[Kind, ...] = ("noise", "anatomy", "identity")


@dataclass
class Toy:
    """A backend whose logits depend on the data, on its neighbours, and on the place inside the patch.

    ``noise``: every class may win anywhere. ``anatomy``: the class follows the intensity, so that few classes
    are near the top in one place. ``identity``: the logits are mixtures of the channels and depend on no
    place. ``answer`` replaces all that.

    Like a real backend it returns memory that its next call overwrites.
    """

    kind: Kind
    outputs: int
    channels: int
    patch: tuple[int, ...]
    seed: int = 0
    batch_size: int = 1
    answer: Callable[[NDArray[np.float32]], NDArray[np.float32]] | None = None
    name: str = "toy"
    settings: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        generator = np.random.default_rng(self.seed)
        dimensions = len(self.patch)
        column = (self.outputs,) + (1,) * dimensions
        self._mixing = generator.normal(size=(self.outputs, self.channels)).astype(np.float32)
        self._gain = generator.uniform(0.5, 1.5, size=self.patch).astype(np.float32)
        self._shift = (generator.normal(size=self.patch) * 0.3).astype(np.float32)
        self._offset = generator.normal(size=column).astype(np.float32)
        self._centres = np.linspace(-1.5, 1.5, self.outputs, dtype=np.float32).reshape(column)
        self._memory: NDArray[np.float32] = np.empty(0, np.float32)
        self.calls = 0

    def __call__(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """(B, C, *patch) to (B, K, *patch)."""
        assert batch.dtype == np.float32
        assert batch.shape[1:] == (self.channels, *self.patch)
        assert len(batch) <= self.batch_size
        self.calls += 1
        shape = (len(batch), self.outputs, *self.patch)
        if self._memory.size < np.prod(shape):
            self._memory = np.empty(int(np.prod(shape)), np.float32)
        logits = self._memory[: int(np.prod(shape))].reshape(shape)
        logits[:] = [self._one(patch) for patch in batch] if self.answer is None else self.answer(batch)
        return logits

    def activation_bytes(self) -> int:
        """Next to nothing."""
        return 4 * self.outputs * int(np.prod(self.patch)) * self.batch_size

    def _one(self, patch: NDArray[np.float32]) -> NDArray[np.float32]:
        mixed = np.tensordot(self._mixing, patch, axes=(1, 0))
        if self.kind == "identity":
            return mixed + self._offset
        # A step to the side, so that a patch from the wrong place or turned the wrong way shows.
        beside = patch[0] + 0.5 * np.roll(patch[0], 1, axis=0) - 0.25 * np.roll(patch[0], 1, axis=-1)
        if self.kind == "anatomy":
            where = 0.5 * beside * self._gain + 0.3 * self._shift
            return np.asarray(np.maximum(-20 * (where - self._centres) ** 2, -40), np.float32)
        return np.asarray(3 * mixed * self._gain + self._offset * self._shift + 0.2 * beside, np.float32)
