"""Dice of a whole-head model on made scans of label maps that were kept out of its training.

Each held-back map (every fifth of the sorted folder) is seen in five contrast families (T1-, T2-, FLAIR-,
PD- and CT-like) and three resolutions (1 mm; axial slices of 3 and of 5 mm), and segmented on its own grid.
Results are appended to a file as they come, so that a run that was stopped goes on. --degraded adds a few
scans that are bad on purpose (noise, a half head, a header upside down), which show a quality score what
failure looks like; --orientations adds the first head in coronal and sagittal slices of 3 mm in all
contrasts, for the coefficient of variation of each volume.

    python benchmarks/brain_scores.py ../shared/data/brain_labels scores.jsonl [-m MODEL] [--degraded]
    python benchmarks/brain_scores.py --report scores.jsonl
"""

from __future__ import annotations

import argparse
import itertools
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

import medseg
from medseg.geometry import Geometry
from medseg.inference import Member, open_backend, segment
from medseg.measure import measure
from medseg.models import Scope
from medseg.postprocess import keep_largest_piece
from medseg.quality import check_anatomy, check_scope
from medseg.training.synthesis import synthetic_scan
from medseg.volume import LabelMap, Volume

CONTRASTS = ("t1", "t2", "flair", "pd", "ct")
VOXELS = ((1.0, 1.0, 1.0), (1.0, 1.0, 3.0), (1.0, 1.0, 5.0))
OTHER_SLICES = {"coronal": (1.0, 3.0, 1.0), "sagittal": (3.0, 1.0, 1.0)}
DEGRADED = ("noise", "half", "upside-down", "low")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("dataset", type=Path, nargs="?")
    parser.add_argument("results", type=Path, help="JSON lines, appended to")
    parser.add_argument("-m", "--model", default="brain")
    parser.add_argument("--maps", type=int, help="only so many of the held-back maps")
    parser.add_argument("--degraded", action="store_true")
    parser.add_argument("--orientations", action="store_true")
    parser.add_argument("--report", action="store_true", help="only print what the results say")
    args = parser.parse_args()
    if not args.report:
        if args.dataset is None:
            parser.error("a dataset of label maps is needed, or --report")
        run(args.dataset, args.results, args.model, args.maps, args.degraded, args.orientations)
    report(args.results)


def run(
    dataset: Path, results: Path, model: str, maps: int | None, degraded: bool, orientations: bool
) -> None:
    """Segment every scan that the results do not hold yet."""
    bundle = medseg.load_model(model)
    backend = open_backend(bundle)
    done = (
        {json.loads(line)["case"] for line in results.read_text().splitlines()} if results.exists() else set()
    )
    held_back = [path for n, path in enumerate(sorted(dataset.glob("*.nii.gz")), start=1) if n % 5 == 0][
        :maps
    ]
    for path, contrast, voxel, how in scans(held_back, degraded, orientations):
        slices = next((name for name, sizes in OTHER_SLICES.items() if sizes == voxel), "axial")
        case = f"{path.name.removesuffix('.nii.gz')}-{contrast}-{slices}-{max(voxel):g}mm{how and '-' + how}"
        if case in done:
            continue
        seed = (
            1000 * held_back.index(path)
            + 10 * CONTRASTS.index(contrast)
            + (VOXELS.index(voxel) if voxel in VOXELS else 3)
        )
        volume, truth = synthetic_scan(
            medseg.read_labels(path), bundle.plan, seed=seed, contrast=contrast, voxel_mm=voxel, deform=False
        )
        volume, truth = worsened(volume, truth, how, seed)
        started = time.perf_counter()
        found = segment(volume, [Member(bundle.plan, backend)], confidence=True)
        labels = LabelMap(found.ids, truth.geometry, truth.labels)
        if bundle.plan.inference.largest_piece:
            labels = keep_largest_piece(labels)
        row = {
            "case": case,
            "map": path.name,
            "contrast": contrast,
            "slices": slices,
            "slices_mm": max(voxel),
            "degraded": how or None,
            "seconds": round(time.perf_counter() - started, 2),
            "volume_ml": {m.id: m.volume_ml for m in measure(labels)},
            "dice": dice(labels.data, truth.data, bundle.label_set.ids),
            "confidence": None if found.confidence is None else found.confidence.soft_dice(),
            "reasons": reasons(volume, labels, bundle.scope),
        }
        with results.open("a") as stream:
            stream.write(json.dumps(row) + "\n")
        mean = np.mean([value for value in row["dice"].values() if value is not None])
        print(f"{case}: {mean:.3f} in {row['seconds']:.0f} s", flush=True)


def scans(
    held_back: list[Path], degraded: bool, orientations: bool
) -> Iterator[tuple[Path, str, tuple[float, float, float], str]]:
    """Map, contrast, voxel size, and what is wrong with the scan (nothing: an empty text)."""
    for path, voxel, contrast in itertools.product(held_back, VOXELS, CONTRASTS):
        yield path, contrast, voxel, ""
    if orientations:
        for voxel, contrast in itertools.product(OTHER_SLICES.values(), CONTRASTS):
            yield held_back[0], contrast, voxel, ""
    if degraded:
        for path, (n, how) in itertools.product(held_back, enumerate(DEGRADED)):
            yield path, CONTRASTS[n % len(CONTRASTS)], VOXELS[0], how


def worsened(volume: Volume, truth: LabelMap, how: str, seed: int) -> tuple[Volume, LabelMap]:
    """The scan with a fault, and the truth on its grid."""
    data, ids = volume.data, truth.data
    generator = np.random.default_rng(seed)
    if how == "noise":
        data = np.abs(data + generator.normal(0, 60, data.shape)).astype(np.float32)
    elif how == "low":
        data = np.abs(data + generator.normal(0, 25, data.shape)).astype(np.float32)
    elif how == "half":
        data = data.copy()
        data[:, : data.shape[1] // 2 + 8] = 0
        ids = ids.copy()
        ids[: ids.shape[0] // 2 + 8] = 0
    elif how == "upside-down":
        data, ids = data[:, :, :, ::-1].copy(), ids[:, :, ::-1].copy()
    geometry: Geometry = volume.geometry
    return Volume(data, geometry, volume.source), LabelMap(ids, geometry, truth.labels)


def reasons(volume: Volume, labels: LabelMap, scope: Scope) -> list[str]:
    """The codes of what the model's scope says of a scan and of its segmentation; none where all is well."""
    found = list(check_scope(volume, scope).reasons)
    if scope.anatomy is not None:
        found += check_anatomy(labels, scope.anatomy).reasons
    return [reason.code for reason in found]


def dice(found: Any, truth: Any, ids: tuple[int, ...]) -> dict[int, float | None]:
    """Dice of each label; None where neither has it."""
    most = max(ids) + 1
    both = np.bincount(truth[found == truth].ravel(), minlength=most)
    sizes = np.bincount(found.ravel(), minlength=most) + np.bincount(truth.ravel(), minlength=most)
    return {i: round(float(2 * both[i] / sizes[i]), 5) if sizes[i] else None for i in ids}


def report(results: Path) -> None:
    """Print mean Dice over structures by contrast and resolution, and by structure."""
    rows = [json.loads(line) for line in results.read_text().splitlines()]
    ordinary = [row for row in rows if row["degraded"] is None and row["slices"] == "axial"]
    maps = len({row["map"] for row in ordinary})
    means = {row["case"]: np.mean([v for v in row["dice"].values() if v is not None]) for row in rows}
    print("| contrast | " + " | ".join(f"{v[2]:g} mm" for v in VOXELS) + " | all |")
    print("| --- |" + " ---: |" * (len(VOXELS) + 1))
    for contrast in CONTRASTS:
        line = [
            [means[r["case"]] for r in ordinary if r["contrast"] == contrast and r["slices_mm"] == v[2]]
            for v in VOXELS
        ]
        figures = [*line, [value for part in line for value in part]]
        print(f"| {contrast} | " + " | ".join(f"{np.mean(f):.3f}" if f else "" for f in figures) + " |")
    print(
        f"\n{len(ordinary)} scans of {maps} maps, mean over structures and scans: "
        f"{np.mean([means[r['case']] for r in ordinary]):.4f}\n"
    )
    for label in ordinary[0]["dice"]:
        found = [row["dice"][label] for row in ordinary if row["dice"][label] is not None]
        print(f"label {label}: {np.mean(found):.3f} (lowest {np.min(found):.3f})")
    head = [r for r in rows if r["map"] == rows[0]["map"] and not r["degraded"] and r["slices_mm"] <= 3]
    print(f"\nCoefficient of variation of each volume over {len(head)} scans of one head")
    for label in head[0]["volume_ml"]:
        volumes = [row["volume_ml"][label] for row in head]
        variation = np.std(volumes, ddof=1) / np.mean(volumes)
        print(f"label {label}: {variation:.3f} (mean {np.mean(volumes):.2f} mL)")
    totals = [sum(row["volume_ml"].values()) for row in head]
    print(f"intracranial: {np.std(totals, ddof=1) / np.mean(totals):.4f} (mean {np.mean(totals):.0f} mL)\n")
    said = [row for row in rows if row.get("reasons") is not None]
    alarms = [row["case"] for row in said if row["reasons"] and not row["degraded"]]
    print(f"False alarms of the scope: {len(alarms)} of {sum(not row['degraded'] for row in said)} {alarms}")
    for row in rows:
        if row["degraded"]:
            print(f"{row['case']}: {means[row['case']]:.3f} {', '.join(row.get('reasons', []))}")


if __name__ == "__main__":
    main()
