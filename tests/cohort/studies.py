"""Small cohorts on the disk, with an answer that numpy can compute."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from medseg.cohort.records import CaseResult, CaseTask, LostCase, WorkerSetup
from medseg.cohort.workers.case_worker import CaseWorker
from tests.threshold_model import expected_classes

# Oblique and anisotropic, the first axis from right to left.
_TURN = Rotation.from_euler("zx", (8, -5), degrees=True).as_matrix()
AFFINE = np.eye(4)
AFFINE[:3] = np.column_stack([_TURN * (-0.8, 1.1, 2.0), (12.0, -7.0, 31.0)])
SHAPE = (20, 17, 11)
IDS = np.array([0, 7, 255])


def save_scan(path: Path, seed: int) -> Path:
    """A scan whose labels `expected_labels` knows."""
    path.parent.mkdir(parents=True, exist_ok=True)
    scan = np.random.default_rng(seed).normal(100, 30, SHAPE).astype(np.float32)
    nibabel.save(nibabel.Nifti1Image(scan, AFFINE), path)
    return path


def expected_labels(path: Path) -> NDArray[np.int64]:
    """What the threshold model makes of a scan."""
    return IDS[expected_classes(np.asarray(nibabel.load(path).dataobj))]


def voxel_ml() -> float:
    """The volume of a voxel."""
    return abs(float(np.linalg.det(AFFINE[:3, :3]))) / 1000


def write_manifest(path: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    """A CSV of these rows."""
    columns = list(dict.fromkeys(column for row in rows for column in row))
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, columns)
        table.writeheader()
        table.writerows(rows)
    return path


class InProcess:
    """An executor that does its cases in the process of the test: quicker than a process for each run."""

    capacity = 2
    crowded = False

    def __init__(self, setup: WorkerSetup, *_: object) -> None:
        self._worker = CaseWorker(setup)
        self._given: list[CaseTask] = []

    def submit(self, task: CaseTask) -> None:
        self._given.append(task)

    def wait(self, seconds: float) -> list[CaseResult | LostCase]:
        return [self._worker.run(self._given.pop(0))]

    def close(self) -> None: ...
