"""All that changes in a training from step to step, as checkpoints keep it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import nn

from medseg.training.average import WeightAverage
from medseg.training.difficulty import Difficulty


@dataclass(frozen=True, slots=True, eq=False)
class TrainingState:
    """The network, its optimiser (as fabric wraps it), its average, and where cases are drawn by their loss
    how hard they are.
    """

    module: nn.Module
    optimiser: Any
    average: WeightAverage
    difficulty: Difficulty | None

    def load(self, state: dict[str, Any]) -> None:
        """Go on from a checkpoint of a `state`."""
        self.module.load_state_dict(state["model"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.average.load(state["average"])
        if self.difficulty is not None:
            self.difficulty.load(state["difficulty"])

    def state(self) -> dict[str, Any]:
        """Tensors and plain values, from which `load` goes on exactly."""
        kept = {
            "model": self.module.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "average": self.average.state(),
        }
        return kept if self.difficulty is None else {**kept, "difficulty": self.difficulty.state()}
