"""medseg's metrics beside MONAI's, and beside DeepMind's surface-distance where that is installed.

    python benchmarks/metrics.py [DATASET] [--pairs 50] [--sizes 40,128,256] [--repeats 5]

1. **Agreement** on random pairs of masks with anisotropic spacing and, where a DATASET in Decathlon folders
   is given, on its labels against a disturbed copy: the largest difference of each number under the same
   definition (MONAI's own is medseg's ``voxels``), and how far the definition by area is from that by voxels.
2. **Speed**: processor time for Dice, surface Dice, HD95 and mean surface distance of one structure, the
   median of alternating runs in this process. MONAI gets its one-hot tensors ready made; medseg starts from
   label maps. surface-distance gets the masks.

Without ``pip install surface-distance`` its columns are left out.
"""

from __future__ import annotations

import argparse
import statistics
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt, gaussian_filter

from medseg.evaluation.scores import score_labels
from medseg.evaluation.settings import FIELDS, Settings
from medseg.geometry import Geometry
from medseg.labels import Label, LabelSet
from medseg.volume import LabelMap

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of its own dependencies
    import torch
    from monai import metrics as monai

try:
    import surface_distance
except ImportError:
    surface_distance = None

Mask = NDArray[np.bool_]
Spacing = tuple[float, float, float]
Numbers = dict[str, float]
TOLERANCE_MM = 1.0
NAMES = ("surface_dice", "hd95", "mean_surface_distance")
LABEL = Label(1, "structure", (200, 0, 0))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("dataset", type=Path, nargs="?")
    parser.add_argument("--pairs", type=int, default=50)
    parser.add_argument("--sizes", default="40,128,256")
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    warnings.simplefilter("ignore", FutureWarning)  # MONAI calls a deprecated argument of its own
    if surface_distance is None:
        print("surface-distance is not installed: left out\n")

    agreement("random masks", [random_pair(seed) for seed in range(args.pairs)])
    if args.dataset:
        agreement("labels of the dataset", labels_of(args.dataset, args.pairs))
    print("| voxels | medseg, area | medseg, voxels | MONAI | surface-distance | MONAI / medseg, voxels |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    for size in map(int, args.sizes.split(",")):
        speed(size, args.repeats)


def agreement(title: str, pairs: list[tuple[Mask, Mask, Spacing]]) -> None:
    """A table of largest differences, and of the mean difference between the definitions."""
    ways = {"area": medseg_way("area"), "voxels": medseg_way("voxels"), "monai": monai_way}
    if surface_distance is not None:
        ways["published"] = surface_distance_way
    found = {name: [way(*pair)() for pair in pairs] for name, way in ways.items()}
    print(f"| {len(pairs)} pairs, {title} | voxels - MONAI | area - surface-distance | area - voxels, mean |")
    print("| --- | ---: | ---: | ---: |")
    for name in ("dice", *NAMES):
        values = {way: np.array([numbers.get(name, np.nan) for numbers in found[way]]) for way in ways}
        theirs = np.abs(values["voxels"] - values["monai"]).max()
        published = np.abs(values["area"] - values.get("published", np.nan)).max()
        shift = np.mean(values["area"] - values["voxels"])
        cell = "-" if np.isnan(published) else f"{published:.1e}"
        print(f"| {name} | {theirs:.1e} | {cell} | {shift:+.4f} |")
    print()


def speed(size: int, repeats: int) -> None:
    """A row of medians for a ball two thirds as wide as its cube, disturbed by about a voxel."""
    pair = ball_pair(size)
    ways = [medseg_way("area"), medseg_way("voxels"), monai_way]
    ways += [surface_distance_way] if surface_distance is not None else []
    runs = [way(*pair) for way in ways]
    seconds: list[list[float]] = [[] for _ in runs]
    for _ in range(repeats + 1):
        for run, times in zip(runs, seconds, strict=True):
            began = time.process_time()
            run()
            times.append(time.process_time() - began)
    medians = [statistics.median(times[1:]) for times in seconds]  # the first run fills caches
    cells = [f"{1000 * median:.1f} ms" for median in medians] + ["-"] * (4 - len(medians))
    print(f"| {size}³ | {' | '.join(cells)} | {medians[2] / medians[1]:.1f} |")


def medseg_way(definition: str) -> Callable[[Mask, Mask, Spacing], Callable[[], Numbers]]:
    """medseg's numbers under one definition."""
    settings = Settings.parse(["dice", *NAMES], dict.fromkeys(NAMES, definition))

    def prepare(pred: Mask, ref: Mask, spacing: Spacing) -> Callable[[], Numbers]:
        grid = Geometry(pred.shape, np.diag((*spacing, 1.0)))
        maps = [LabelMap(mask.astype(np.uint8), grid, LabelSet((LABEL,))) for mask in (pred, ref)]

        def run() -> Numbers:
            scores = score_labels(*maps, (LABEL,), settings)[0]
            return {name: getattr(scores, FIELDS[name][0]) for name in ("dice", *NAMES)}

        return run

    return prepare


def monai_way(pred: Mask, ref: Mask, spacing: Spacing) -> Callable[[], Numbers]:
    """MONAI's numbers."""
    hot = [torch.from_numpy(np.stack((~mask, mask))[None].astype(np.float32)) for mask in (pred, ref)]

    def run() -> Numbers:
        return {
            "dice": float(monai.compute_dice(*hot, include_background=False)),
            "surface_dice": float(monai.compute_surface_dice(*hot, [TOLERANCE_MM], spacing=spacing)),
            "hd95": float(monai.compute_hausdorff_distance(*hot, percentile=95, spacing=spacing)),
            "mean_surface_distance": float(
                monai.compute_average_surface_distance(*hot, symmetric=True, spacing=spacing)
            ),
        }

    return run


def surface_distance_way(pred: Mask, ref: Mask, spacing: Spacing) -> Callable[[], Numbers]:
    """The numbers of the published code; its two directed means joined by area."""

    def run() -> Numbers:
        found: dict[str, Any] = surface_distance.compute_surface_distances(ref, pred, spacing)
        directed = (
            ("distances_gt_to_pred", "surfel_areas_gt"),
            ("distances_pred_to_gt", "surfel_areas_pred"),
        )
        total = sum(float(found[distances] @ found[areas]) for distances, areas in directed)
        return {
            "dice": surface_distance.compute_dice_coefficient(ref, pred),
            "surface_dice": surface_distance.compute_surface_dice_at_tolerance(found, TOLERANCE_MM),
            "hd95": surface_distance.compute_robust_hausdorff(found, 95),
            "mean_surface_distance": total / sum(found[areas].sum() for _, areas in directed),
        }

    return run


def random_pair(seed: int) -> tuple[Mask, Mask, Spacing]:
    """Two blobs that mostly overlap, on a grid with three different spacings."""
    rng = np.random.default_rng(seed)
    shape = tuple(int(n) for n in rng.integers(16, 40, 3))
    spacing = tuple(float(s) for s in rng.uniform(0.4, 4.0, 3))
    shared, one, other = (gaussian_filter(n, 2.5) for n in rng.normal(size=(3, *shape)))
    pred, ref = (field > 0.5 * field.std() for field in (shared + 0.5 * one, shared + 0.5 * other))
    return pred, ref, spacing


def labels_of(dataset: Path, count: int) -> list[tuple[Mask, Mask, Spacing]]:
    """Every label of cases at even intervals, and the same disturbed by about a voxel at its border."""
    paths = sorted((dataset / "labelsTr").glob("*.nii.gz"))
    pairs = []
    for seed, path in enumerate(paths[:: max(len(paths) // count, 1)][:count]):
        image = nib.load(path)
        data = np.asarray(image.dataobj).astype(np.uint8)
        noise = gaussian_filter(np.random.default_rng(seed).normal(size=data.shape), 2)
        for label in np.unique(data[data > 0]):
            ref = data == label
            outside = distance_transform_edt(~ref) - distance_transform_edt(ref)
            pred = outside + noise / noise.std() < 0
            pairs.append((pred, ref, tuple(float(s) for s in image.header.get_zooms()[:3])))
    return pairs


def ball_pair(size: int) -> tuple[Mask, Mask, Spacing]:
    """A bumpy ball and its disturbed copy in a cube of voxels."""
    grid = np.indices((size,) * 3, dtype=np.float32) - size / 2
    rng = np.random.default_rng(size)
    bumps, errors = (
        gaussian_filter(n, size / 40) for n in rng.normal(size=(2, size, size, size)).astype(np.float32)
    )
    distance = np.sqrt((grid**2).sum(axis=0)) + size / 80 * bumps / bumps.std()
    return distance + errors / errors.std() < size / 3, distance < size / 3, (0.7, 0.9, 2.0)


if __name__ == "__main__":
    main()
