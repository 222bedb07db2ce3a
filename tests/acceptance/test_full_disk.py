"""A study on a disk that fills up: it stops with a clear word, loses nothing, and goes on when there is room.

Needs the right to mount a small file system in memory, so it runs as root on Linux and skips elsewhere.

    python -m pytest tests/acceptance/test_full_disk.py -s
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import nibabel
import numpy as np
import pytest

import medseg
from tests.cohort.studies import AFFINE, write_manifest
from tests.threshold_model import save_threshold_model

ROOT = Path(__file__).resolve().parents[2]
CASES = 30
SHAPE = (60, 50, 40)  # noise: a segmentation of some 35 kB
START_MB, LATER_MB = 33, 64  # the run stops when less than 32 MB are free


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of a few megabytes."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = sys.platform == "linux" and os.geteuid() == 0
    mounted = (
        mounted
        and not subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={START_MB}m", "tmpfs", str(folder)], capture_output=True
        ).returncode
    )
    if not mounted:
        pytest.skip("no file system can be mounted here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_study_outlives_a_full_disk(disk: Path, tmp_path: Path) -> None:
    rows = []
    for n in range(CASES):
        scan = np.random.default_rng(n).normal(100, 30, SHAPE).astype(np.float32)
        nibabel.save(nibabel.Nifti1Image(scan, AFFINE), tmp_path / f"c{n}.nii.gz")
        rows.append({"case_id": f"c{n}", "image": f"c{n}.nii.gz"})
    manifest = write_manifest(tmp_path / "cases.csv", rows)
    model = save_threshold_model(tmp_path / "model").path
    (disk / "ballast").write_bytes(b"\0" * (START_MB * 1_000_000 + 600_000))  # half a megabyte is left
    command = [sys.executable, "-m", "medseg.cli.app", "cohort", "run", str(manifest), "-m", str(model)]
    command += ["-o", str(disk / "study"), "--quiet", "--no-pictures"]

    full = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert full.returncode == 4
    assert "the disk is full" in full.stderr
    counts = medseg.open_study(disk / "study").counts
    print(counts, full.stderr.strip())
    assert 0 < counts["done"] < CASES
    assert counts["pending"] > 0

    subprocess.run(["mount", "-o", f"remount,size={LATER_MB}m", str(disk)], check=True)
    (disk / "ballast").unlink()
    whole = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert whole.returncode == 0, whole.stderr
    undisturbed = medseg.run_cohort(manifest, model, tmp_path / "undisturbed", pictures=False)
    for case in undisturbed.cases:
        assert case.segmentation is not None
        written = disk / "study" / "segmentations" / case.segmentation.name
        assert written.read_bytes() == case.segmentation.read_bytes()
    assert (disk / "study" / "table.csv").read_bytes() == (undisturbed.path / "table.csv").read_bytes()
    assert not list((disk / "study" / "segmentations").glob(".*"))
