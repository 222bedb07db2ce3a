"""Whole made scans with the truth beside them: to validate with, and to learn a model's scope from."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from medseg.errors import UsageError
from medseg.geometry import Geometry
from medseg.plans import Plan, SynthesisPlan
from medseg.preprocess import network_geometry
from medseg.training.synthesis.acquisition import bias_field, sampling, voxel_sizes
from medseg.training.synthesis.contrast import Contrasts, paint
from medseg.training.synthesis.draws import Draws
from medseg.training.synthesis.generator import air_of, tissue_map
from medseg.training.synthesis.space import deformed_points, nearest_voxels
from medseg.volume import LabelMap, Volume


def synthetic_scan(
    label_map: LabelMap,
    plan: Plan,
    *,
    seed: int,
    contrast: str | None = None,
    voxel_mm: tuple[float, float, float] | None = None,
    strip: bool = False,
    deform: bool = True,
) -> tuple[Volume, LabelMap]:
    """A made scan of a label map's whole field of view, and its segmentation on the same grid (RAS).

    Parameters
    ----------
    label_map
        Holds the values of ``plan.synthesis.tissues``.
    plan
        Its section ``synthesis`` says how images are made.
    seed
        The same seed gives the same scan.
    contrast
        Name of one of the plan's families, or ``random``; None draws one.
    voxel_mm
        Voxel size along right, anterior, superior; None draws it.
    strip
        Leave only what is segmented: everything else is exactly 0, as after a tool that strips skulls.
    deform
        Move and deform the label map first, half as far as in training.

    Returns
    -------
    Volume
        float32, on a scale of about 0 to 255, not normalised.
    LabelMap
        The plan's labels at the centres of the scan's voxels.
    """
    how = plan.synthesis
    if how is None:
        raise UsageError(f"plan {plan.name!r} has no section `synthesis`: scans are made by one")
    names = list(how.contrasts)
    if contrast not in (None, "random", *names):
        raise UsageError(f"contrast {contrast!r}: expected random, {', '.join(names)}")
    draws = Draws.seeded(1, seed, torch.device("cpu"))
    grid = network_geometry(label_map.geometry, plan.grid)
    tissues = torch.from_numpy(np.ascontiguousarray(tissue_map(label_map, plan)))
    spacing = tuple(float(value) for value in grid.spacing)
    if deform:
        tissues = _deformed(tissues, spacing, how, draws)
    class_of = torch.tensor([plan.class_ids.index(tissue.segment) for tissue in how.tissues])
    intensity_of = torch.tensor([tissue.intensity for tissue in how.tissues])
    family = len(names) if contrast == "random" else None if contrast is None else names.index(contrast)
    mean, std = Contrasts(how, torch.device("cpu")).draw(draws, 1.0, family)
    image = paint(intensity_of[tissues.long()][None], mean, std, 0.0, draws, tuple(tissues.shape))
    classes = class_of[tissues.long()]
    if strip:
        image = torch.where(classes[None] == 0, 0.0, image)
    image = image * bias_field(image.shape[1:], how, draws)
    sizes = voxel_sizes(spacing, how, draws) if voxel_mm is None else torch.tensor([voxel_mm])
    noise = draws.uniform(0, how.noise).square() / max(how.noise, 1e-6) * 255
    volume, truth = _acquired(image[0], classes, sizes[0], float(noise), grid, plan, draws)
    if strip:  # such a tool works on the scan with its noise and its blurred borders
        volume.data[:, truth.data == 0] = 0
    return volume, truth


def _deformed(
    tissues: torch.Tensor, spacing: tuple[float, ...], how: SynthesisPlan, draws: Draws
) -> torch.Tensor:
    half = how.model_copy(
        update={
            "rotation_degrees": how.rotation_degrees / 2,
            "scale": (how.scale[0] ** 0.5, how.scale[1] ** 0.5),
            "shear": how.shear / 2,
            "shift_mm": how.shift_mm / 4,
            "deformation_mm": how.deformation_mm / 2,
        }
    )
    size = tuple(tissues.shape)
    centres = torch.tensor([[(n - 1) / 2 for n in size]])
    points = deformed_points(size, spacing, centres, torch.zeros(1, dtype=torch.bool), half, draws)
    position, inside = nearest_voxels(points, torch.tensor([size]))
    return torch.where(inside, tissues.flatten()[position], air_of(how))[0]


def _acquired(
    image: torch.Tensor,
    classes: torch.Tensor,
    sizes: torch.Tensor,
    noise: float,
    grid: Geometry,
    plan: Plan,
    draws: Draws,
) -> tuple[Volume, LabelMap]:
    """Image and classes at the voxels of a scan whose field of view is centred on the grid's."""
    nearest: list[NDArray[np.int64]] = []
    step = np.eye(4)
    for axis, n in enumerate(image.shape):
        ratio = sizes[axis : axis + 1] / float(grid.spacing[axis])
        count = int(torch.floor((n - 1) / ratio)[0]) + 1
        down, _ = sampling(n, ratio, draws, count)
        first = (n - 1 - (count - 1) * float(ratio[0])) / 2
        if float(ratio[0]) != 1.0:
            image = torch.movedim(torch.tensordot(down[0], image, ([1], [axis])), 0, axis)
        nearest.append(np.rint(first + np.arange(count) * float(ratio[0])).astype(np.int64))
        step[axis, axis], step[axis, 3] = float(ratio[0]), first
    image = (image + noise * draws.normal(*image.shape)[0]).abs()
    i, j, k = (len(one) for one in nearest)
    geometry = Geometry((i, j, k), grid.affine @ step)
    ids = np.array(plan.class_ids, np.uint16)[classes.numpy()[np.ix_(*nearest)]]
    return Volume(image.numpy()[None], geometry), LabelMap(ids, geometry, plan.label_set)
