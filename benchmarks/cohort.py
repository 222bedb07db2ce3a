"""How fast a cohort runs, and what a large one takes.

    python benchmarks/cohort.py throughput ../shared/data/hippocampus
    python benchmarks/cohort.py scale

The first runs 200 scans and 10 poisoned ones against a loop of bare forward passes; the second starts,
resumes and reports on a study of 100,000 cases.
Each measured part has a process of its own, so that its peak memory is its own. ``--cases N`` takes fewer.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from statistics import median
from typing import Any

import nibabel
import numpy as np
import psutil

import medseg
from medseg.cohort.columns import ROW_COLUMNS
from medseg.cohort.folder import StudyFolder
from medseg.cohort.ledger import Ledger
from medseg.cohort.manifest import Manifest, ManifestCase
from medseg.cohort.records import CaseResult
from medseg.cohort.resume import identity, output_stamp
from medseg.cohort.stamps import stamp
from medseg.pipeline.models import open_model
from medseg.pipeline.options import InferOptions

MODEL = "hippocampus"
LABELS = 8  # of a case of the large study
_made = {"number": float, "count": lambda value: int(1000 * abs(value)), "truth": bool, "text": str}


def main() -> None:
    """Parse and run one of the two, or the part of one that a child process does."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("what", choices=["throughput", "scale", *_PARTS])
    parser.add_argument("folder", nargs="?", type=Path, help="the Decathlon folder, or a part's own folder")
    parser.add_argument("--cases", type=int)
    parser.add_argument("--rounds", type=int, default=3, help="of throughput; medians are printed")
    arguments = parser.parse_args()
    if arguments.what in _PARTS:
        print(json.dumps(_PARTS[arguments.what](arguments.folder)))
    elif arguments.what == "throughput":
        throughput(arguments.folder, arguments.cases or 200, arguments.rounds)
    else:
        scale(arguments.cases or 100_000)


def throughput(data: Path, count: int, rounds: int) -> None:
    """Cases per second of `medseg cohort run`, beside bare forward passes of the same windows in turn."""
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        scans = sorted((data / "imagesTr").glob("[!.]*.nii.gz"))[:count]
        rows = [{"case_id": scan.name[:-7], "image": scan} for scan in scans]
        poison = poisoned(scans, folder / "poison")
        for place, (name, path) in enumerate(poison.items()):
            rows.insert(place * len(rows) // len(poison), {"case_id": name, "image": path})
        manifest = folder / "cases.csv"
        with manifest.open("w", newline="") as file:
            table = csv.DictWriter(file, ["case_id", "image"])
            table.writeheader()
            table.writerows(rows)
        found: list[dict[str, float]] = []
        for number in range(rounds):
            study = folder / f"study{number}"
            seconds, peaks = _run_cohort(manifest, study)
            (folder / "windows.json").write_text(json.dumps(_windows(study)))
            bare = _child("forward", folder)
            found.append({"bare_s": bare["seconds"], "cohort_s": seconds, **peaks})
            print(json.dumps(found[-1]), file=sys.stderr)
        _print_throughput(found, len(scans), medseg.open_study(study))


def _print_throughput(found: list[dict[str, float]], count: int, study: medseg.Study) -> None:
    middle = {key: median(one[key] for one in found) for key in found[0]}
    shares = [one["bare_s"] / one["cohort_s"] for one in found]
    counts = study.counts
    print(f"\n{count} scans, {counts['total'] - count} poisoned; medians of {len(found)} rounds\n")
    print("| | s | cases/s |\n| --- | ---: | ---: |")
    for what, key in (("bare forward passes", "bare_s"), ("medseg cohort run, start to table", "cohort_s")):
        print(f"| {what} | {middle[key]:.1f} | {count / middle[key]:.2f} |")
    print(
        f"\nshare of the bare throughput: {median(shares):.0%} ({', '.join(f'{one:.0%}' for one in shares)})"
    )
    print(
        f"worker: {middle['early_mb']:.0f} MB after a fifth of the time, {middle['late_mb']:.0f} at the end; "
        f"coordinator: {middle['coordinator_mb']:.0f} MB"
    )
    print(f"done {counts['done']}, failed {counts['failed']}:")
    for case in study.failures:
        print(f"  {case.case_id}: {case.verdict.codes[0]}")


def poisoned(scans: list[Path], folder: Path) -> dict[str, Path]:
    """Ten files that no cohort should stumble over, by what is wrong with them."""
    folder.mkdir()
    good = nibabel.load(scans[0])
    voxels, affine = np.asarray(good.dataobj), good.affine

    def saved(name: str, data: np.ndarray, to: np.ndarray = affine) -> Path:
        nibabel.save(nibabel.Nifti1Image(data, to), folder / f"{name}.nii.gz")
        return folder / f"{name}.nii.gz"

    def written(name: str, content: bytes) -> Path:
        (folder / f"{name}.nii.gz").write_bytes(content)
        return folder / f"{name}.nii.gz"

    holed = voxels.astype(np.float32)
    holed[3, 4, 5] = np.nan
    bomb = bytearray(nibabel.Nifti1Image(voxels[:2, :2, :2], affine).to_bytes())
    bomb[42:48] = np.array([30000] * 3, "<i2").tobytes()  # 27 terabytes by its header
    sheared = affine @ np.array([[1, 0.3, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    return {
        "truncated": written("truncated", scans[1].read_bytes()[:9000]),
        "not-an-image": written("not-an-image", b"no image " * 500),
        "nan": saved("nan", holed),
        "flat": saved("flat", voxels[:, :, 0]),
        "in-time": saved("in-time", np.stack([voxels] * 3, -1)),
        "bomb": written("bomb", bytes(bomb)),
        "duplicate": Path(shutil.copy(scans[2], folder / "duplicate.nii.gz")),
        "missing": folder / "missing.nii.gz",
        "sheared": saved("sheared", voxels, sheared),
        "empty": written("empty", b""),
    }


def _run_cohort(manifest: Path, study: Path) -> tuple[float, dict[str, float]]:
    """Wall time of the command, and memory of its worker early and late."""
    command = [sys.executable, "-m", "medseg", "cohort", "run", str(manifest), "-m", MODEL, "-o", str(study)]
    start = time.perf_counter()
    process = subprocess.Popen([*command, "--quiet"], stdout=subprocess.DEVNULL)
    seen: list[tuple[int, int]] = []
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(0.5):
            try:
                coordinator = psutil.Process(process.pid)
                worker = max((child.memory_info().rss for child in coordinator.children()), default=0)
                seen.append((worker, coordinator.memory_info().rss))
            except psutil.NoSuchProcess:
                return

    thread = threading.Thread(target=watch)
    thread.start()
    code = process.wait()
    seconds = time.perf_counter() - start
    ended.set()
    thread.join()
    if code != 4:
        raise SystemExit(f"medseg cohort run ended with {code}, expected 4 for the poisoned cases")
    working = [worker for worker, _ in seen if worker]
    return seconds, {
        "early_mb": working[len(working) // 5] / 1e6,
        "late_mb": max(working[-5:]) / 1e6,
        "coordinator_mb": max(own for _, own in seen) / 1e6,
    }


def _windows(study: Path) -> int:
    """Windows that the scans of a study took, as their sidecars say."""
    sidecars = [json.loads(path.read_text()) for path in (study / "segmentations").glob("*.json")]
    return sum(one["provenance"]["execution"]["windows"]["total"] for one in sidecars)


def _forward(folder: Path) -> dict[str, float]:
    """Bare forward passes on all processors, one window after another, as many as the scans took."""
    windows = json.loads((folder / "windows.json").read_text())
    model = open_model(MODEL, precision="f32")
    patch = np.random.default_rng(0).normal(size=(1, 1, *model.bundle.plan.patch)).astype(np.float32)
    model.backend(patch)
    start = time.perf_counter()
    for _ in range(windows):
        model.backend(patch)
    return {"seconds": time.perf_counter() - start}


def scale(count: int) -> None:
    """Start-up and resume scan of a study with so many cases, its tables and its report."""
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        (folder / "count").write_text(str(count))
        for part, what in (
            ("make", "make the study (not measured of medseg)"),
            ("resume", "start-up and resume scan, nothing to do, tables written"),
            ("report", "report"),
        ):
            found = _child(part, folder)
            told = ", ".join(f"{key} {value:.1f}" for key, value in found.items())
            print(f"{what}: {told}")
        report = StudyFolder(folder / "study").report
        print(f"report.html: {report.stat().st_size / 1e6:.1f} MB")


def _make(folder: Path) -> dict[str, float]:
    """A study as a run leaves it: every column of 8 labels a case, tiny files for scans and results."""
    count = int((folder / "count").read_text())
    start = time.perf_counter()
    scans, study = folder / "scans", StudyFolder(folder / "study")
    for made in (scans, study.segmentations, study.pictures):
        made.mkdir(parents=True)
    draw = np.random.default_rng(0)
    names = [f"structure {number}" for number in range(LABELS)]
    options = InferOptions(precision="f32", threads=2)
    bundle = medseg.load_model(MODEL)
    wanted = identity(bundle.hash, options)
    cases, results = [], []
    for number in range(count):
        case_id, scan = f"case-{number:06}", scans / f"{number}.nii.gz"
        scan.write_text(str(number))
        outputs = study.outputs(case_id)
        outputs.segmentations[0].write_text(case_id)
        outputs.sidecar.write_text("{}")
        cases.append(
            ManifestCase(case_id, (("", scan),), None, {"group": "ab"[number % 2], "age": number % 90.0})
        )
        numbers = draw.normal(4, 1, (len(names), len(ROW_COLUMNS))).round(4).tolist()
        rows = tuple(
            {
                column.name: _made[column.kind](value)
                for column, value in zip(ROW_COLUMNS, values, strict=True)
            }
            | {"kind": "label", "label_id": n + 1, "label": name, "missing": ""}
            for n, (name, values) in enumerate(zip(names, numbers, strict=True))
        )
        results.append(
            CaseResult(
                case_id, "done", input_sha256=f"{number:064x}", input_stamp=stamp([scan]),
                output_stamp=output_stamp(study, case_id), rows=rows,
            )
        )  # fmt: skip
        if len(results) == 5000 or number + 1 == count:
            with Ledger(study.ledger, writing=True) as ledger:
                ledger.register(
                    Manifest(tuple(cases), ("group", "age")),
                    {"threads": 2, "model": MODEL, "model_sha256": bundle.hash},
                    wanted,
                )
                ledger.record(results, wanted)
            results = []
    with (folder / "cases.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(("case_id", "image", "group", "age"))
        rows.writerows((c.case_id, c.images[0][1], *c.columns.values()) for c in cases)
    return {"s": time.perf_counter() - start, "ledger MB": study.ledger.stat().st_size / 1e6}


def _resume(folder: Path) -> dict[str, float]:
    moments: list[float] = []
    start = time.perf_counter()
    study = medseg.run_cohort(
        folder / "cases.csv", MODEL, folder / "study", progress=lambda *_: moments.append(time.perf_counter())
    )
    scanned, whole = moments[0] - start, time.perf_counter() - start
    if study.counts["done"] != int((folder / "count").read_text()):
        raise SystemExit(f"expected every case to be kept, got {study.counts}")
    return {"scan s": scanned, "tables s": whole - scanned, "peak MB": _peak_mb()}


def _report(folder: Path) -> dict[str, float]:
    start = time.perf_counter()
    medseg.open_study(folder / "study").report(group="group", covariates=["age"])
    return {"s": time.perf_counter() - start, "peak MB": _peak_mb()}


_PARTS = {"forward": _forward, "make": _make, "resume": _resume, "report": _report}


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000


def _child(part: str, folder: Path) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, __file__, part, str(folder)], capture_output=True, text=True, env={**os.environ}
    )
    if done.returncode:
        raise SystemExit(f"{part}: {done.stderr}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


if __name__ == "__main__":
    main()
