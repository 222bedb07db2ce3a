"""Validation cases while steps are chosen: on disk, cropped to what is labelled, and how well they agree."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medseg.geometry import Geometry
from medseg.labels import LabelSet
from medseg.plans import Plan, PostprocessStep
from medseg.postprocess import apply_steps
from medseg.postprocess.boxes import box_of_all, grown, union
from medseg.postprocess.groups import mask_of
from medseg.volume import LabelMap

Structures = dict[int, tuple[int, ...]]
_Labels = NDArray[np.unsignedinteger]
_Counts = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class HeldCase:
    """A case whose arrays lie on disk: many cases need no more memory than one.

    Parameters
    ----------
    file
        Of the predicted labels; the reference lies beside it.
    geometry
        The grid of both: the scan's own, cropped to all labels and a voxel more, which no step can tell.
    counts
        (classes, classes): voxels by predicted class and true class, over those that somebody judged.
    """

    file: Path
    geometry: Geometry
    counts: _Counts

    def predicted(self) -> _Labels:
        """Predicted ids (I, J, K), mapped from disk."""
        labels: _Labels = np.load(self.file, mmap_mode="r")
        return labels

    def reference(self) -> _Labels:
        """True ids (I, J, K), the ignore label among them."""
        labels: _Labels = np.load(_reference(self.file), mmap_mode="r")
        return labels


def structures_of(plan: Plan) -> Structures:
    """The labels of each structure that validation scores: label by label, or those of each region."""
    if plan.regions:
        return {number: region.labels for number, region in enumerate(plan.regions, start=1)}
    return {label: (label,) for label in plan.label_set.ids}


def hold(folder: Path, number: int, predicted: LabelMap, reference: _Labels, plan: Plan) -> HeldCase:
    """Write a case into a folder."""
    box = grown(union(box_of_all(predicted.data), box_of_all(reference)), (1, 1, 1), reference.shape)
    start = tuple(s.start for s in box)
    size = tuple(s.stop - s.start for s in box)
    if min(size) == 0:  # no label in either
        start, size = (0, 0, 0), (1, 1, 1)
        box = (slice(1),) * 3
    file = folder / f"{number}.npy"
    np.save(file, predicted.data[box])
    np.save(_reference(file), reference[box])
    geometry = predicted.geometry.cropped(start, size)
    return HeldCase(file, geometry, _counted(predicted.data[box], reference[box], plan))


def tried(case: HeldCase, steps: Sequence[PostprocessStep], plan: Plan) -> list[_Counts]:
    """The counts that each step alone would lead to. The steps are all for the same labels."""
    predicted = case.predicted()
    box = box_of_all(mask_of(predicted, steps[0].labels or plan.label_set.ids))
    if box[0].start == box[0].stop:
        return [case.counts for _ in steps]
    box = grown(box, (1, 1, 1), predicted.shape)  # what these steps do does not depend on more
    before, reference = np.asarray(predicted[box]), case.reference()[box]
    labels = _label_map(before, case.geometry, box, plan.label_set)
    found = []
    for step in steps:
        after = apply_steps(labels, (step,)).data
        changed = after != before
        old, new, true = before[changed], after[changed], reference[changed]
        found.append(case.counts - _counted(old, true, plan) + _counted(new, true, plan))
    return found


def taken(case: HeldCase, step: PostprocessStep, plan: Plan) -> HeldCase:
    """The case after a step, its file replaced."""
    predicted = np.array(case.predicted())
    whole = tuple(slice(0, n) for n in predicted.shape)
    after = apply_steps(_label_map(predicted, case.geometry, whole, plan.label_set), (step,)).data
    # A new file: the old one may still be mapped, which Windows does not let anybody replace.
    file = case.file.with_name(f"{case.file.stem}+.npy")
    np.save(file, after)
    np.save(_reference(file), case.reference())
    return replace(case, file=file, counts=_counted(after, case.reference(), plan))


def dice_of(counts: _Counts, structures: Structures, plan: Plan) -> NDArray[np.float64]:
    """Dice of every structure, 1 where it is neither found nor there, so that every case counts always."""
    of_id = {label: index for index, label in enumerate(plan.class_ids)}
    scores = []
    for labels in structures.values():
        own = [of_id[label] for label in labels]
        total = counts[own].sum() + counts[:, own].sum()
        scores.append(2 * counts[np.ix_(own, own)].sum() / total if total else 1.0)
    return np.array(scores)


def true_voxels(case: HeldCase, labels: Sequence[int], plan: Plan) -> int:
    """How many judged voxels truly have one of some labels."""
    return int(case.counts[:, [plan.class_ids.index(label) for label in labels]].sum())


def _counted(predicted: _Labels, reference: _Labels, plan: Plan) -> _Counts:
    classes = len(plan.class_ids)
    index = np.full(65536, classes, np.int64)  # what is none of the plan's ids: nobody judged it
    index[list(plan.class_ids)] = np.arange(classes)
    pairs = index[predicted] * (classes + 1) + index[reference]
    table = np.bincount(pairs.ravel(), minlength=(classes + 1) ** 2).reshape(classes + 1, classes + 1)
    counts: _Counts = table[:classes, :classes].astype(np.int64)
    return counts


def _label_map(data: _Labels, grid: Geometry, box: tuple[slice, ...], labels: LabelSet) -> LabelMap:
    i, j, k = (s.start for s in box)
    a, b, c = data.shape
    return LabelMap(data, grid.cropped((i, j, k), (a, b, c)), labels)


def _reference(file: Path) -> Path:
    return file.with_name(f"{file.stem}-reference.npy")
