"""What each post-processing step does to Dice.

To a model's, on cases that it was not trained on: every n-th of the sorted dataset (--every, as
`hold_back_every` of the plan has it). Each is segmented once, without post-processing; then each step alone
is applied. Or, with --coarse, to true labels of which every n-th voxel is taken along each axis, enlarged
again: labels coarser than their scan.

Printed per step: mean Dice over labels and cases, the mean of the differences to none with its standard
error, how many cases gain and lose, milliseconds a case. Sizes follow the shortest side of a voxel: 1 mm
where that is 1 mm.

    python benchmarks/postprocess_steps.py ../shared/data/hippocampus -m hippocampus --every 5 [--cases 10]
    python benchmarks/postprocess_steps.py --coarse 2 ct/example_ct_sm.nii.gz ct/example_seg.nii.gz
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import TypeAdapter

import medseg
from medseg.datasets import read_dataset
from medseg.evaluation.metrics import dice_per_label
from medseg.pipeline.models import open_model
from medseg.plans import PostprocessStep, steps_as_plain
from medseg.postprocess import apply_steps
from medseg.training.scans import scan_of
from medseg.training.splits import set_aside
from medseg.volume import LabelMap, Volume

Pair = tuple[Volume, LabelMap, LabelMap]  # the scan, what is cleaned up, what is true


def steps_of_size(mm: float) -> list[dict[str, Any]]:
    return [
        {"step": "largest_component"},
        {"step": "largest_component", "together": True},
        {"step": "fill_holes"},
        {"step": "remove_small", "smallest_mm3": 20 * mm**3},
        {"step": "opening", "radius_mm": mm},
        {"step": "closing", "radius_mm": mm},
        *({"step": "gaussian", "sigma_mm": share * mm} for share in (0.5, 0.7, 1.0)),
        *({"step": "median", "radius_mm": share * mm} for share in (1.0, 1.5)),
        *(
            {"step": "refine", "radius_mm": radius * mm, "edge": edge}
            for radius in (1.0, 2.0)
            for edge in (0.05, 0.1, 0.2)
        ),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("paths", type=Path, nargs="+", help="a dataset; with --coarse a scan and its labels")
    parser.add_argument("-m", "--model", default="hippocampus")
    parser.add_argument("--every", type=int, default=5)
    parser.add_argument("--cases", type=int, help="only the first so many")
    parser.add_argument("--coarse", type=int, help="every n-th voxel of true labels, in place of a model")
    args = parser.parse_args()
    if args.coarse is None:
        pairs = segmented(args.paths[0], args.model, args.every, args.cases)
    else:
        pairs = iter([coarse(*args.paths, args.coarse)])
    report(pairs)


def segmented(dataset: Path, name: str, every: int, cases: int | None) -> Iterator[Pair]:
    model = open_model(name, device="cpu")
    _, held_back = set_aside(read_dataset(dataset).cases, every)
    for case in held_back[:cases]:
        volume, reference = scan_of(case, model.bundle.plan)
        yield volume, medseg.infer(volume, model, device="cpu", postprocess="none").labels, reference


def coarse(scan: Path, labels: Path, every: int) -> Pair:
    volume, true = medseg.read(scan), medseg.read_labels(labels)
    if volume.source.modality == "CT" or volume.data.min() < -500:
        volume = replace(volume, data=np.clip(volume.data, -200, 300))  # else air and metal are the range
    small = true.data[(slice(every // 2, None, every),) * 3]
    index = [
        np.minimum(np.arange(n) // every, m - 1) for n, m in zip(true.data.shape, small.shape, strict=True)
    ]
    return volume, replace(true, data=small[np.ix_(*index)]), true


def report(pairs: Iterator[Pair]) -> None:
    before: list[float] = []
    after: list[list[float]] = []
    seconds: list[float] = []
    steps: tuple[PostprocessStep, ...] = ()
    for volume, labels, true in pairs:
        if not steps:
            values = steps_of_size(min(volume.geometry.spacing))
            steps = TypeAdapter(tuple[PostprocessStep, ...]).validate_python(values)
            after, seconds = [[] for _ in steps], [0.0] * len(steps)
        before.append(mean_dice(labels, true))
        for number, step in enumerate(steps):
            started = time.perf_counter()
            cleaned = apply_steps(labels, (step,), volume.data)
            seconds[number] += time.perf_counter() - started
            after[number].append(mean_dice(cleaned, true))
    print(f"{len(before)} cases, without post-processing: Dice {np.mean(before):.5f}")
    for number, step in enumerate(steps_as_plain(steps)):
        change = np.array(after[number]) - before
        error = change.std(ddof=1) / np.sqrt(len(change)) if len(change) > 1 else np.nan
        words = ", ".join(str(value) if key == "step" else f"{key} {value}" for key, value in step.items())
        print(
            f"{words:<45} {np.mean(after[number]):.5f}  {change.mean():+.5f} (SE {error:.5f})  "
            f"gain {np.count_nonzero(change > 0)}, lose {np.count_nonzero(change < 0)}  "
            f"{1000 * seconds[number] / len(change):.1f} ms"
        )


def mean_dice(predicted: LabelMap, true: LabelMap) -> float:
    scores = dice_per_label(predicted.data, true.data, true.labels.ids).values()
    return float(np.mean([score for score in scores if score is not None]))


if __name__ == "__main__":
    main()
