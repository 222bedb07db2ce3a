"""Scribble to segment with simulated users: Dice after 1, 3, 5 strokes per structure; seconds at size.

The user draws, with a brush of radius 1 voxel and only on what truly belongs to the stroke's label, the
longest path along a skeleton. First that of the structure, on the slice where it is largest (of an axis by
chance), with one outside stroke around it there at 3 mm; then, once a round, that of the largest piece that
is wrong about the structure, on the slice with most such errors. So n strokes per structure are n of these
and the one around it.

Scans: hippocampus cases 1 to 5 by name, whole (anterior and posterior as one) and both apart; and label maps
1 to 5 by name, left thalamus, putamen and lateral ventricle at once, in T1-like scans of 1 mm that
`medseg.training.synthesis` makes, cut 10 mm around the three. All was chosen on cases 6 to 10 (``--tuning``).

    python benchmarks/scribbles.py ../shared/data [--tuning] [--only dice|seconds]

One call prints everything, in two minutes or three on two cores: Dice of every case and their means, then the
seconds of the first and the refined answer on a region of 256 x 256 x 128, wall and processor.

What else was measured, on the whole hippocampus of tuning cases, after 1, 3 and 5 strokes. First trials
(users then chose the axis of each stroke by chance):

    appearance alone (joint histogram of two blurred intensities)    0.22 0.23 0.23
    geodesic distance, raster scan, intensity (Criminisi 2008)       0.46 0.59 0.55
    geodesic distance on the appearance                              0.49 0.61 0.63
    Gaussian process of place and intensity                          0.51 0.52 0.66
    the same as prior of a random walk                               0.45 0.64 0.70
    geodesic distance and appearance as prior of a random walk       0.53 0.58 0.62
    random walk                                                      0.50 0.63 0.73
    random walk, appearance as prior                                 0.30 0.69 0.79
    and the grid's faces as outside                                  0.52 0.70 0.81

A graph cut with the same steps, appearance and faces (`scipy.sparse.csgraph.maximum_flow`), on case 7 alone:
0.03 0.69 0.72 at its best weight, where the walk had 0.42 0.79 0.81.

With users as they are now none of these gained 0.01 after five strokes: steps weighed by the appearance too,
a prior that falls off with distance from the strokes, appearance learnt anew from the answer (as GrabCut
does), appearance by place. Denoising the image for the steps (Gaussian, median, total variation) cost up to
0.04.
"""

from __future__ import annotations

import argparse
import os
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from napari_medseg.scribble.scribbles import segment_scribbles
from numpy.typing import NDArray
from scipy import ndimage, sparse
from scipy.sparse.csgraph import dijkstra
from skimage.morphology import skeletonize

import medseg
from medseg import Geometry, LabelMap
from medseg.training.synthesis import synthetic_scan

ROUNDS = 5
SHOWN = (1, 3, 5)
RING_MM = 3.0
STRUCTURES = {"thalamus": (10,), "putamen": (12,), "ventricle": (4, 136)}  # values of the maps, left
MARGIN = 10  # voxels of 1 mm around the structures
REGION = (256, 256, 128)

Case = tuple[str, NDArray[Any], NDArray[np.uint8], tuple[float, float, float]]
Mask = NDArray[np.bool_]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("--tuning", action="store_true", help="cases 6 to 10 instead of 1 to 5")
    parser.add_argument("--only", choices=("dice", "seconds"), help="one half of it")
    args = parser.parse_args()
    if args.only != "seconds":
        accuracy(args.data, range(5, 10) if args.tuning else range(5))
    if args.only != "dice":
        seconds(args.data)


def accuracy(data: Path, numbers: range) -> None:
    """Dice after 1, 3 and 5 strokes, of every case and as means."""
    print(f"{'scans':16s}{'structure':12s}" + "".join(f"{n:>8d}" for n in SHOWN))
    whole = table("hippocampus", ["whole"], [merged(hippocampus(data, n)) for n in numbers])
    table("hippocampus", ["anterior", "posterior"], [hippocampus(data, n) for n in numbers])
    brain = table("brain", list(STRUCTURES), [made_brain(data, n) for n in numbers])
    ten = np.concatenate([whole.mean(axis=2), brain.mean(axis=2)])
    print(f"{'ten scans':28s}" + cells(ten.mean(axis=0)))
    print(f"{'  worst of them':28s}" + cells(ten.min(axis=0)), flush=True)


def table(name: str, structures: list[str], cases: list[Case]) -> NDArray[np.float64]:
    """Dice (cases, rounds, structures), printed as means over cases."""
    dice = np.array([played(case, seed) for seed, case in enumerate(cases)])
    for n, structure in enumerate(structures):
        print(f"{name:16s}{structure:12s}" + cells(dice[:, :, n].mean(axis=0)), flush=True)
    return dice


def cells(rounds: NDArray[np.float64]) -> str:
    return "".join(f"{rounds[n - 1]:8.3f}" for n in SHOWN)


def hippocampus(data: Path, number: int) -> Case:
    file = sorted((data / "hippocampus" / "imagesTr").glob("*.nii.gz"))[number]
    volume = medseg.read(file)
    truth = medseg.read_labels(data / "hippocampus" / "labelsTr" / file.name)
    return file.name, volume.data[0], truth.data.astype(np.uint8), volume.geometry.spacing


def merged(case: Case) -> Case:
    name, image, truth, spacing = case
    return name, image, (truth > 0).astype(np.uint8), spacing


def made_brain(data: Path, number: int) -> Case:
    file = sorted((data / "brain_labels").glob("*.nii.gz"))[number]
    whole = medseg.read_labels(file)
    inside = np.isin(whole.data, [value for values in STRUCTURES.values() for value in values])
    (tight,) = ndimage.find_objects(inside.astype(np.uint8))
    part = tuple(slice(max(s.start - MARGIN, 0), s.stop + MARGIN) for s in tight)
    affine = whole.geometry.affine.copy()
    affine[:3, 3] = whole.geometry.index_to_world([s.start for s in part])
    cut = np.ascontiguousarray(whole.data[part])
    region = LabelMap(cut, Geometry(cut.shape, affine), whole.labels)
    plan = medseg.load_model("brain").plan
    volume, ids = synthetic_scan(
        region, plan, seed=number, contrast="t1", voxel_mm=(1.0, 1.0, 1.0), deform=False
    )
    truth = np.zeros(ids.data.shape, np.uint8)
    for n, values in enumerate(STRUCTURES.values(), start=1):
        truth[ids.data == values[0]] = n  # the second value of the ventricle is learnt as the first
    return file.name, volume.data[0], truth, volume.geometry.spacing


def played(case: Case, seed: int) -> list[list[float]]:
    """Dice of each structure after each round."""
    name, image, truth, spacing = case
    rng = np.random.default_rng(seed)
    seeds = np.zeros(truth.shape, np.uint8)
    structures = range(1, int(truth.max()) + 1)
    found = np.zeros(truth.shape, np.uint8)
    rounds = []
    for turn in range(ROUNDS):
        for structure in structures:
            if turn == 0:
                draw_first(seeds, truth, spacing, structure, int(rng.integers(3)))
            else:
                draw_correction(seeds, truth, found, structure)
        box = tuple(slice(0, n) for n in truth.shape)
        *_, answer = segment_scribbles(image, seeds, spacing, box=box)  # type: ignore[arg-type]
        found = answer.labels - 1
        rounds.append([dice(found == structure, truth == structure) for structure in structures])
    print(f"  {name}: " + "  ".join("/".join(f"{value:.3f}" for value in one) for one in rounds), flush=True)
    return rounds


def dice(a: Mask, b: Mask) -> float:
    return float(2 * (a & b).sum() / (a.sum() + b.sum()))


def draw_first(
    seeds: NDArray[np.uint8],
    truth: NDArray[np.uint8],
    spacing: tuple[float, float, float],
    structure: int,
    axis: int,
) -> None:
    slices, marks = np.moveaxis(truth, axis, 0), np.moveaxis(seeds, axis, 0)
    k = int((slices == structure).sum(axis=(1, 2)).argmax())
    draw(marks[k], slices[k], largest_piece(slices[k] == structure), structure)
    edges = [mm for n, mm in enumerate(spacing) if n != axis]
    away = ndimage.distance_transform_edt(slices[k] != structure, edges)
    marks[k][(away >= RING_MM) & (away < RING_MM + max(edges)) & (slices[k] == 0)] = 1


def draw_correction(
    seeds: NDArray[np.uint8], truth: NDArray[np.uint8], found: NDArray[np.uint8], structure: int
) -> None:
    wrong = (truth == structure) != (found == structure)
    if not wrong.any():
        return
    errors = [np.moveaxis(wrong, axis, 0).sum(axis=(1, 2)) for axis in range(3)]
    axis = int(np.argmax([line.max() for line in errors]))
    k = int(errors[axis].argmax())
    true = np.moveaxis(truth, axis, 0)[k]
    bad = np.moveaxis(wrong, axis, 0)[k]
    pieces = {int(label): largest_piece(bad & (true == label)) for label in np.unique(true[bad])}
    label = max(pieces, key=lambda one: int(pieces[one].sum()))
    draw(np.moveaxis(seeds, axis, 0)[k], true, pieces[label], label)


def draw(marks: NDArray[np.uint8], true: NDArray[np.uint8], within: Mask, label: int) -> None:
    brush = ndimage.binary_dilation(longest_path(within))
    marks[brush & (true == label)] = label + 1


def largest_piece(mask: Mask) -> Mask:
    pieces, _ = ndimage.label(mask)
    return np.asarray(pieces == np.bincount(pieces[mask]).argmax())


def longest_path(mask: Mask) -> Mask:
    """Along the skeleton, between the ends that two searches find; of a mask without one, its first pixel."""
    points = np.argwhere(skeletonize(mask))
    points = points if len(points) else np.argwhere(mask)[:1]
    away = np.abs(points[:, None] - points[None]).max(axis=2)
    length = np.linalg.norm(points[:, None] - points[None], axis=2)
    graph = sparse.csr_array(np.where(away == 1, length, 0))
    end = farthest(dijkstra(graph, indices=0))
    reach, before = dijkstra(graph, indices=end, return_predecessors=True)
    path, at = np.zeros(mask.shape, bool), farthest(reach)
    while at >= 0:
        path[tuple(points[at])] = True
        at = int(before[at])
    return path


def farthest(reach: NDArray[np.float64]) -> int:
    return int(np.where(np.isinf(reach), -1, reach).argmax())


def seconds(data: Path) -> None:
    """First and final answer to first strokes on a brain of random intensities; what other threads wait."""
    values = medseg.read_labels(sorted((data / "brain_labels").glob("*.nii.gz"))[0]).data
    values = np.ascontiguousarray(values[:, 64:192, :].transpose(0, 2, 1))
    assert values.shape == REGION, f"{values.shape}: expected {REGION}"
    rng = np.random.default_rng(0)
    grey = rng.uniform(0, 255, int(values.max()) + 1)[values] + rng.normal(0, 15, REGION)
    image = grey.astype(np.float32)
    print(f"answers on {' x '.join(map(str, REGION))} voxels, {os.cpu_count()} cores")
    sets = {"thalamus": [(10,)], "three": list(STRUCTURES.values()), "white matter": [(2,)]}
    for name, structures in {"(warming up)": sets["thalamus"], **sets}.items():
        truth, seeds = np.zeros(REGION, np.uint8), np.zeros(REGION, np.uint8)
        for n, ids in enumerate(structures, start=1):
            truth[np.isin(values, ids)] = n
        for n in range(1, len(structures) + 1):
            draw_first(seeds, truth, (1.0, 1.0, 1.0), n, axis=2)
        longest, times = waited(lambda seeds=seeds: timed(image, seeds))
        tracemalloc.start()
        list(timed(image, seeds))
        peak = tracemalloc.get_traced_memory()[1] / 2**20
        tracemalloc.stop()
        (first, first_cpu), (final, final_cpu) = times
        print(
            f"{name:14s}first {first:.2f} s (processor {first_cpu:.2f}), refined {final:.2f} s "
            f"(processor {final_cpu:.2f}); peak {peak:.0f} MB; "
            f"another thread waited {1000 * longest:.0f} ms at most; load {os.getloadavg()[0]:.1f}",
            flush=True,
        )


def timed(image: NDArray[np.float32], seeds: NDArray[np.uint8]) -> Iterator[tuple[float, float]]:
    box = tuple(slice(0, n) for n in seeds.shape)
    wall, processor = time.perf_counter(), time.process_time()
    for _ in segment_scribbles(image, seeds, (1.0, 1.0, 1.0), box=box):  # type: ignore[arg-type]
        yield time.perf_counter() - wall, time.process_time() - processor


def waited(work: Callable[[], Iterator[tuple[float, float]]]) -> tuple[float, list[tuple[float, float]]]:
    """The longest that this thread, which sleeps for 2 ms at a time, had to wait while another one worked."""
    times: list[tuple[float, float]] = []
    worker = threading.Thread(target=lambda: times.extend(work()))
    longest, before = 0.0, time.perf_counter()
    worker.start()
    while worker.is_alive():
        time.sleep(0.002)
        longest, before = max(longest, time.perf_counter() - before), time.perf_counter()
    worker.join()
    return longest, times


if __name__ == "__main__":
    main()
