"""Interpolation between annotated slices: Dice on slices that were left out, beside three other ways.

Keeps every 4th slice of a label map along one axis, the first one included, has the rest interpolated, and
scores each label over the slices that were left out; a case's score is the mean of its labels. The first
table is over all slices between the first and the last that were kept, so that it also tells how well the
ends of a structure are met; the second only over gaps between annotated slices that both hold the label.

    python benchmarks/slice_interpolation.py DATASET [--cases 20] [--step 4]

takes cases from the sorted ``labelsTr`` at even intervals and prints mean and worst Dice for each axis, and
processor time for each volume. Every way is told which slices are annotated, empty ones too, but ITK's, which
looks for slices that hold the label. SimpleITK does not have ITK's interpolation; with
``pip install itk-morphologicalcontourinterpolation`` in the same environment it becomes a row.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from napari_medseg.editing.slice_interpolation import interpolate_slices
from numpy.typing import NDArray
from scipy import ndimage

Stack = NDArray[Any]  # label ids, slices along the first axis
Spacing = tuple[float, float, float]
Method = Callable[[Stack, list[int], list[int], Spacing], Stack]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--cases", type=int, default=20)
    parser.add_argument("--step", type=int, default=4, help="keep every so many slices")
    args = parser.parse_args()

    paths = sorted((args.dataset / "labelsTr").glob("*.nii.gz"))
    paths = paths[:: max(len(paths) // args.cases, 1)][: args.cases]
    images = [nib.load(path) for path in paths]
    cases = [(np.asarray(image.dataobj).astype(np.uint8), image.header.get_zooms()) for image in images]
    print(f"{len(paths)} cases: {', '.join(path.name.removesuffix('.nii.gz') for path in paths)}\n")
    methods: dict[str, Method] = {
        "nearest annotated slice": nearest_slice,
        "signed distances, scipy": signed_distances,
        "medseg": medseg_interpolation,
    }
    itk = itk_interpolation()
    if itk is None:
        print("itk-morphologicalcontourinterpolation is not installed: no row for it\n")
    else:
        methods["ITK morphological contour interpolation"] = itk
    tables: dict[str, list[str]] = {"all": [], "inner": []}
    for name, method in methods.items():
        started = time.process_time()
        found = [[left_out(method, *case, axis, args.step) for case in cases] for axis in range(3)]
        seconds = (time.process_time() - started) / (3 * len(cases))
        for which, rows in tables.items():
            scores = [[score(*one, inner=which == "inner") for one in along] for along in found]
            columns = [f"{np.mean(one):.4f} ({np.min(one):.3f})" for one in scores]
            rows.append(f"| {name} | {' | '.join(columns)} | {seconds:.3f} |")
    for which, rows in tables.items():
        print(
            f"| {which} gaps, step {args.step}: Dice mean (worst) | axis i | axis j | axis k | s per volume |"
        )
        print("| --- | --- | --- | --- | --- |")
        print("\n".join(rows) + "\n")


def left_out(
    method: Method, labels: Stack, zooms: Spacing, axis: int, step: int
) -> tuple[Stack, Stack, list[int]]:
    """What a method makes of the slices kept along an axis, the truth, and which were kept."""
    truth = np.moveaxis(labels, axis, 0)
    given = list(range(0, len(truth), step))
    sparse = np.zeros_like(truth)
    sparse[given] = truth[given]
    plane = [float(size) for n, size in enumerate(zooms) if n != axis]
    return method(sparse, ids_of(truth), given, (float(zooms[axis]), plane[0], plane[1])), truth, given


def score(found: Stack, truth: Stack, given: list[int], *, inner: bool) -> float:
    """Mean Dice of the labels over slices that were left out, of all gaps or of those inside the label."""
    overlaps = []
    for label in ids_of(truth):
        ours, theirs = found == label, truth == label
        counted = np.zeros(len(truth), np.bool_)
        for first, last in pairwise(given):
            counted[first + 1 : last] = not inner or (theirs[first].any() and theirs[last].any())
        ours, theirs = ours[counted], theirs[counted]
        overlaps.append(
            2 * np.count_nonzero(ours & theirs) / (np.count_nonzero(ours) + np.count_nonzero(theirs))
        )
    return float(np.mean(overlaps))


def ids_of(labels: Stack) -> list[int]:
    """The labels of a map but background, ascending."""
    return [int(one) for one in np.unique(labels) if one]


def nearest_slice(sparse: Stack, ids: list[int], given: list[int], spacing: Spacing) -> Stack:  # noqa: ARG001
    """The nearest annotated slice copied; in the middle between two, the lower one."""
    filled = sparse.copy()
    for first, last in pairwise(given):
        for n in range(first + 1, last):
            filled[n] = sparse[first if n - first <= last - n else last]
    return filled


def signed_distances(sparse: Stack, ids: list[int], given: list[int], spacing: Spacing) -> Stack:
    """Raya and Udupa 1990: distances mixed linearly, the largest wins. Without a counterpart a label ends."""

    def distance(mask: NDArray[np.bool_]) -> NDArray[np.float64]:
        if not mask.any():
            return np.full(mask.shape, -np.inf)
        plane = spacing[1:]
        inner, outer = (ndimage.distance_transform_edt(side, plane) for side in (mask, ~mask))
        return np.asarray(inner - outer)

    filled = sparse.copy()
    for first, last in pairwise(given):
        ends = [np.array([distance(sparse[n] == one) for one in ids]) for n in (first, last)]
        for n in range(first + 1, last):
            share = (n - first) / (last - first)
            mixed = (1 - share) * ends[0] + share * ends[1]
            filled[n] = np.where(mixed.max(axis=0) >= 0, np.array(ids)[mixed.argmax(axis=0)], 0)
    return filled


def medseg_interpolation(sparse: Stack, ids: list[int], given: list[int], spacing: Spacing) -> Stack:
    """The plugin's."""
    filled = sparse.copy()
    interpolate_slices(sparse, ids, 0, spacing, slices=given).apply(filled)
    return filled


def itk_interpolation() -> Method | None:
    """ITK's, by Zukić and others (Insight Journal 2016), where its package is installed."""
    try:
        import itk
    except ImportError:
        return None

    def interpolated(sparse: Stack, ids: list[int], given: list[int], spacing: Spacing) -> Stack:  # noqa: ARG001
        image = itk.image_from_array(np.ascontiguousarray(sparse))
        image.SetSpacing(spacing[::-1])
        method = itk.MorphologicalContourInterpolator[type(image)].New(image)
        method.SetAxis(2)  # of ITK's order, which is the other way round
        method.Update()
        return np.asarray(itk.array_from_image(method.GetOutput()))

    return interpolated


if __name__ == "__main__":
    main()
