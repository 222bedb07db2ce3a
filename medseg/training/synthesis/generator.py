"""Batches of made images and their classes, on the device that trains."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from medseg.errors import InputRefused
from medseg.plans import Plan, SynthesisPlan
from medseg.preprocess import network_geometry, resample_classes
from medseg.training.synthesis.acquisition import acquire, field_of_view, to_range, voxel_sizes
from medseg.training.synthesis.contrast import Contrasts, paint
from medseg.training.synthesis.draws import Draws
from medseg.training.synthesis.space import deformed_points, nearest_voxels
from medseg.volume import LabelMap


class Synthesiser:
    """Makes training batches from label maps that lie on the device.

    Parameters
    ----------
    maps
        Of each case the tissue numbers uint8 (x, y, z), positions in ``plan.synthesis.tissues``, on the
        plan's grid. Sizes may differ.
    """

    def __init__(self, maps: Sequence[NDArray[Any]], plan: Plan, device: torch.device) -> None:
        how = plan.synthesis
        spacing = plan.grid.spacing_mm
        if how is None or spacing is None:
            raise ValueError("the plan has no section `synthesis`")
        self._plan, self._how, self._device, self._spacing = plan, how, device, spacing
        self._shapes = torch.tensor([one.shape for one in maps], device=device)
        sizes = [one.size for one in maps]
        starts = [sum(sizes[:n]) for n in range(len(sizes))]
        self._starts = torch.tensor(starts, device=device)
        self._voxels = torch.cat([torch.from_numpy(one.copy()).flatten() for one in maps]).to(device)
        ids = {label: index for index, label in enumerate(plan.class_ids)}
        classes = [ids[tissue.segment] for tissue in how.tissues]
        self._stripped_too = [ids[label] for label in how.strip_labels]
        mirrored = plan.label_set.mirrored_ids
        swapped = [ids[mirrored.get(tissue.segment, tissue.segment)] for tissue in how.tissues]
        self._classes = torch.tensor([classes, swapped], device=device)
        self._intensity = torch.tensor([tissue.intensity for tissue in how.tissues], device=device)
        self._centres = torch.tensor(
            [_centre(one, classes) for one in maps], device=device, dtype=torch.float32
        )
        self._contrasts = Contrasts(how, device)
        self._air = air_of(how)

    @torch.no_grad()
    def batch(self, seed: int, widening: float = 1.0, count: int | None = None) -> tuple[Tensor, Tensor]:
        """Images float32 (B, 1, *patch) in 0..1 and class indices int64 (B, *patch).

        ``seed`` decides the result; ``widening`` is the share of ``random_weight`` that is in force, 0 to 1.
        """
        how, patch = self._how, self._plan.patch
        draws = Draws.seeded(count or self._plan.sampling.batch_size, seed, self._device)
        case = draws.integer(len(self._starts))
        flipped = draws.chosen(0.5) if how.flip else torch.zeros_like(case, dtype=torch.bool)
        points = deformed_points(patch, self._spacing, self._centres[case], flipped, how, draws)
        tissue = self._look_up(case, points)
        del points
        classes = self._classes[flipped.long().reshape(-1, 1, 1, 1), tissue]
        stripped = self._stripped(classes, draws)
        classes = torch.where(stripped, 0, classes)
        mean, std = self._contrasts.draw(draws, widening, None)
        image = paint(self._intensity[tissue], mean, std, how.split_probability, draws, patch)
        image = torch.where(stripped, 0.0, image)
        sizes = voxel_sizes(self._spacing, how, draws)
        image = to_range(acquire(image, self._spacing, sizes, how, draws), how, draws)
        seen = field_of_view(patch, how.crop_probability, draws)
        return torch.where(seen, image, 0.0)[:, None], torch.where(seen, classes, 0)

    def _stripped(self, classes: Tensor, draws: Draws) -> Tensor:
        """bool (B, *patch): what a tool that strips skulls has set to 0."""
        wide = (-1, 1, 1, 1)
        outside = classes == 0
        closely = draws.chosen(0.5).reshape(wide)
        for index in self._stripped_too:
            outside = outside | (closely & (classes == index))
        return outside & draws.chosen(self._how.strip_probability).reshape(wide)

    def _look_up(self, case: Tensor, points: Sequence[Tensor]) -> Tensor:
        """Tissue numbers int64 (B, *patch) at the nearest voxels; air outside of a map."""
        position, inside = nearest_voxels(points, self._shapes[case])
        found = self._voxels[self._starts[case].reshape(-1, 1, 1, 1) + position].long()
        return torch.where(inside, found, self._air)


def air_of(how: SynthesisPlan) -> int:
    """The tissue that stands for what no map shows: that of value 0."""
    return [tissue.value for tissue in how.tissues].index(0)


def _centre(tissues: NDArray[Any], classes: Sequence[int]) -> list[float]:
    """The middle of what is segmented in a map, in voxels; a thin tail (a spinal canal) does not count."""
    segmented = np.array(classes)[tissues] > 0
    middle = []
    for axis in range(3):
        counts = segmented.sum(axis=tuple(a for a in range(3) if a != axis)).cumsum()
        ends = (
            np.searchsorted(counts, np.array([0.02, 0.98]) * counts[-1]) if counts[-1] else (0, len(counts))
        )
        middle.append(float(np.mean(ends)))
    return middle


def tissue_map(label_map: LabelMap, plan: Plan) -> NDArray[np.uint8]:
    """A label map as positions in ``plan.synthesis.tissues``, on the plan's grid (x, y, z).

    Raises
    ------
    InputRefused
        ``unknown-label`` if the map holds a value that is no tissue.
    """
    if plan.synthesis is None:
        raise ValueError("the plan has no section `synthesis`")
    values = [tissue.value for tissue in plan.synthesis.tissues]
    lookup = np.full(int(max(label_map.data.max(initial=0), *values)) + 1, -1, np.int16)
    lookup[values] = np.arange(len(values))
    tissues = lookup[label_map.data]
    if (tissues < 0).any():
        unknown = np.unique(label_map.data[tissues < 0])[:10].tolist()
        raise InputRefused(
            f"values {unknown} are not among the {len(values)} tissues: add them to labels.csv, or remove "
            "them from the map",
            code="unknown-label",
        )
    target = network_geometry(label_map.geometry, plan.grid)
    return resample_classes(tissues.astype(np.uint8), label_map.geometry, target, len(values))
