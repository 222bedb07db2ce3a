"""Which steps are tried, in which order, with which sizes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from medseg.plans import Plan
from medseg.plans.postprocess import (
    FillHolesStep,
    LargestComponentStep,
    PostprocessStep,
    RemoveSmallStep,
)
from medseg.training.postprocessing.cases import HeldCase, structures_of, true_voxels


def candidates(plan: Plan, cases: Sequence[HeldCase]) -> Iterator[tuple[PostprocessStep, ...]]:
    """Alternatives, of which one or none is taken, all for the same labels.

    The largest component of all labels together, as nnU-Net tries first (Isensee et al., Nature Methods 18,
    2021); that of each label or region, and of each total; for each label or region a smallest size; its
    holes. A region is looked for among the labels that it painted; what is removed of it becomes the
    region round it.
    """
    structures = structures_of(plan)
    everything = plan.label_set.ids
    yield (LargestComponentStep(together=True),)
    tried = {everything}
    for labels in (*structures.values(), *(total.labels for total in plan.totals)):
        if tuple(sorted(labels)) not in tried:
            tried.add(tuple(sorted(labels)))
            yield (
                LargestComponentStep(labels=labels, together=_several(labels), becomes=_round(labels, plan)),
            )
    for labels in structures.values():
        sizes = tuple(
            RemoveSmallStep(
                labels=labels, together=_several(labels), becomes=_round(labels, plan), smallest_mm3=size
            )
            for size in sizes_to_try(plan, cases, labels)
        )
        if sizes:
            yield sizes
    for labels in structures.values():
        yield (FillHolesStep(labels=labels, together=_several(labels)),)


def sizes_to_try(plan: Plan, cases: Sequence[HeldCase], labels: tuple[int, ...]) -> tuple[float, ...]:
    """1, 2, 5, 10 ... mm3: from more than a voxel to half the smallest true volume, so that no size fits one.

    None where a case's voxels have no known size, or the structure is in no case.
    """
    if not all(case.geometry.spacing_known for case in cases):
        return ()
    voxels = [case.geometry.voxel_volume_mm3 for case in cases]
    volumes = [true_voxels(case, labels, plan) * voxel for case, voxel in zip(cases, voxels, strict=True)]
    least, most = min(voxels), min((volume for volume in volumes if volume), default=0.0) / 2
    series = (float(f"{digit}e{power}") for power in range(-3, 10) for digit in (1, 2, 5))
    return tuple(size for size in series if least < size <= most)


def _several(labels: tuple[int, ...]) -> bool:
    return len(labels) > 1


def _round(labels: tuple[int, ...], plan: Plan) -> int:
    """What a removed voxel of a region becomes: the label that the smallest region round it paints."""
    outer = [region for region in plan.regions if set(region.labels) > set(labels)]
    outer = [region for region in outer if region.paints not in labels]
    return min(outer, key=lambda region: len(region.labels)).paints if outer else 0
