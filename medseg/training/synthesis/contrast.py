"""An intensity for every voxel, from an intensity for every class."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from medseg.plans import SynthesisPlan
from medseg.training.synthesis.draws import Draws
from medseg.training.synthesis.fields import spread

# Any contrast: a mean between these on a scale of 0 to 255, and a spread inside the class.
_MEAN, _STD = (20.0, 240.0), (3.0, 25.0)
_AIR_MEAN, _AIR_STD = (0.0, 30.0), (0.0, 10.0)
_AIR_IS_BLACK = 0.5
_SPLIT = 25.0  # standard deviation of the difference between the two halves of a split class


class Contrasts:
    """The families of contrast of a plan as tables on a device. Class 0 is air."""

    def __init__(self, plan: SynthesisPlan, device: torch.device) -> None:
        self.classes = 1 + max(tissue.intensity for tissue in plan.tissues)
        families = len(plan.contrasts)
        self._known = torch.zeros(families + 1, self.classes, dtype=torch.bool)
        self._priors = torch.zeros(families + 1, self.classes, 4)
        for number, contrast in enumerate(plan.contrasts.values()):
            for index, prior in contrast.priors.items():
                if index < self.classes:
                    self._known[number, index] = True
                    self._priors[number, index] = torch.tensor(
                        [prior.mean, prior.mean_sd, prior.std, prior.std_sd]
                    )
        self._known, self._priors = self._known.to(device), self._priors.to(device)
        self._weights = [contrast.weight for contrast in plan.contrasts.values()]
        self._random_weight = plan.random_weight

    def draw(self, draws: Draws, widening: float, family: int | None) -> tuple[Tensor, Tensor]:
        """Mean and spread of every class, each (B, classes), on a scale of 0 to 255.

        ``widening`` 0 to 1 is the share of ``random_weight`` in force; ``family`` fixes one by its
        number in the plan.
        """
        mean = draws.uniform(*_MEAN, self.classes)
        std = draws.uniform(*_STD, self.classes)
        black = draws.chosen(_AIR_IS_BLACK)
        mean[:, 0] = torch.where(black, 0.0, draws.uniform(*_AIR_MEAN))
        std[:, 0] = torch.where(black, 0.0, draws.uniform(*_AIR_STD))
        if self._weights:
            random = self._random_weight * widening if sum(self._weights) > 0 else self._random_weight
            weights = torch.tensor([*self._weights, random], device=draws.device)
            chosen = draws.category(weights)
            if family is not None:
                chosen = torch.full_like(chosen, family)
            known, priors = self._known[chosen], self._priors[chosen]
            drawn_mean = priors[..., 0] + priors[..., 1] * draws.normal(self.classes)
            drawn_std = (priors[..., 2] + priors[..., 3] * draws.normal(self.classes)).abs()
            mean, std = torch.where(known, drawn_mean, mean), torch.where(known, drawn_std, std)
        return mean.clamp(0, 255), std


def paint(
    classes: Tensor, mean: Tensor, std: Tensor, split_probability: float, draws: Draws, size: Sequence[int]
) -> Tensor:
    """Intensities (B, *size), on a scale of 0 to 255, of classes int64 (B, *size).

    Each voxel is drawn from its class's normal distribution. A split class has another mean on one side of
    a smooth random border, so that one structure may hold two tissues.
    """
    count = mean.shape[1]
    offset = torch.arange(draws.batch, device=draws.device).reshape(-1, 1, 1, 1) * (2 * count)
    split = draws.chosen(split_probability, count).float() * draws.normal(count) * _SPLIT
    split[:, 0] = 0
    table = torch.cat([mean, (mean + split).clamp(0, 255)], 1).flatten()
    index = classes + offset
    if split_probability > 0:
        field = spread(draws.normal(*(max(3, n // 24) for n in size)), size)
        index = index + count * (field > 0)
    spreads = torch.cat([std, std], 1).flatten()
    return (table[index] + spreads[index] * draws.normal(*size)).clamp_(min=0)
