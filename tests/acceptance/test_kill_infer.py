"""SIGKILL `medseg infer` at random instants: final names bear whole files, and a repeat does the rest.

Outside CI: a few minutes. MEDSEG_KILLS sets the number of kills (default 60).
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import nibabel
import numpy as np
import pytest
import zarr

from tests.threshold_model import expected_classes, save_threshold_model, threshold_plan

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL on Windows")

ROOT = Path(__file__).resolve().parents[2]
KILLS = int(os.environ.get("MEDSEG_KILLS", "60"))
IDS = np.array([0, 7, 255])
AFFINE = np.diag([-0.8, -1.1, 2.0, 1.0])
SHAPE = (90, 80, 60)  # large enough that writing takes a good share of a case


def test_killed_at_random_instants_leaves_only_whole_files(tmp_path: Path) -> None:
    scans = [_save_scan(tmp_path / "in" / f"scan{n}.nii.gz", n) for n in range(6)]
    expected = {scan.name.removesuffix(".nii.gz"): _expected(scan) for scan in scans}
    model = save_threshold_model(tmp_path / "model", threshold_plan(patch=(48, 40, 32)))
    command = [
        sys.executable,
        "-m",
        "medseg.cli.app",
        "infer",
        *map(str, scans),
        "-m",
        str(model.path),
        "--quiet",
    ]
    command += ["--format", "nii.gz,nrrd", "--entropy", "-o"]

    start = time.perf_counter()
    _run([*command, str(tmp_path / "whole")])
    duration = time.perf_counter() - start
    assert _check(tmp_path / "whole", expected) == len(scans)

    draw = random.Random(20)
    states = set()
    for number in range(KILLS):
        out = tmp_path / f"out{number}"
        process = subprocess.Popen(
            [*command, str(out)], cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        if number % 2 and _wait_for_a_temporary_file(out, process):
            time.sleep(draw.uniform(0, 0.05))  # in the middle of a write
        else:
            time.sleep(draw.uniform(0, duration))
        process.send_signal(signal.SIGKILL)
        process.wait()
        done = _check(out, expected)
        states.add((done, bool(_temporary(out))))

        if number % 5 == 0:
            # Without --overwrite: what is whole is kept, what was interrupted is done again.
            _run([*command, str(out)])
            assert _check(out, expected) == len(scans)
            assert _temporary(out) == []
    # The kills have hit what they were meant to hit: some before, some within, some while a file was open.
    assert any(0 < done < len(scans) for done, _ in states), states
    assert any(writing for _, writing in states), states


def _save_scan(path: Path, seed: int) -> Path:
    path.parent.mkdir(exist_ok=True)
    data = np.random.default_rng(seed).gamma(2.0, 100.0, size=SHAPE).astype(np.int16)
    nibabel.save(nibabel.Nifti1Image(data, AFFINE), path)
    return path


def _expected(scan: Path) -> np.ndarray:
    return IDS[expected_classes(np.asanyarray(nibabel.load(scan).dataobj))]


def _run(command: list[str]) -> None:
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def _temporary(out: Path) -> list[str]:
    return [path.name for path in out.glob(".*")] if out.is_dir() else []


def _wait_for_a_temporary_file(out: Path, process: subprocess.Popen[bytes]) -> bool:
    while process.poll() is None:
        if any(".nii.gz" in name for name in _temporary(out)):
            return True
        time.sleep(0.001)
    return False


def _check(out: Path, expected: dict[str, np.ndarray]) -> int:
    """Every file under a final name is whole and right; returns how many cases are done."""
    done = 0
    names = [path.name for path in out.iterdir() if not path.name.startswith(".")] if out.is_dir() else []
    for stem, labels in expected.items():
        for name in (f"{stem}_seg.nii.gz", f"{stem}_seg.nrrd"):
            if name in names:
                np.testing.assert_array_equal(_read(out / name), labels)
        if f"{stem}_seg_maps.zarr" in names:
            entropy = np.asarray(zarr.open_array(out / f"{stem}_seg_maps.zarr" / "entropy", mode="r"))
            assert entropy.shape == SHAPE
            assert 0.3 < entropy.astype(np.float32).max() < 1.1  # of three classes: at most 1.0986
            assert (entropy > 0).mean() > 0.9
        if f"{stem}_seg.json" in names:
            case = json.loads((out / f"{stem}_seg.json").read_text())
            if case["verdict"] == "ok":
                assert {f"{stem}_seg{end}" for end in (".nii.gz", ".nrrd", "_maps.zarr")} <= set(names)
                assert [label["voxels"] for label in case["labels"]] == [
                    (labels == i).sum() for i in (7, 255)
                ]
                done += 1
            else:
                assert case["segmentation"] is None
                assert case["reasons"][0]["code"] == "interrupted"
    return done


def _read(path: Path) -> np.ndarray:
    if path.suffix == ".gz":
        return np.asanyarray(nibabel.load(path).dataobj)
    import SimpleITK as sitk

    return sitk.GetArrayFromImage(sitk.ReadImage(str(path))).transpose(2, 1, 0)
