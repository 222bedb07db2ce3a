"""Scans on an awkward grid, for models whose answer numpy can compute."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import nibabel
import numpy as np
from numpy.typing import NDArray

# Turned by 12 degrees about z, LPS-like, anisotropic, off centre.
_COS, _SIN = np.cos(np.deg2rad(12)), np.sin(np.deg2rad(12))
AFFINE = np.array(
    [
        [-0.9 * _COS, 1.2 * _SIN, 0.0, 41.0],
        [-0.9 * _SIN, -1.2 * _COS, 0.0, 33.0],
        [0.0, 0.0, 2.5, -70.25],
        [0.0, 0.0, 0.0, 1.0],
    ]
)
# Of the threshold model's classes.
IDS = np.array([0, 7, 255])


def save_scan(path: Path, seed: int = 0, shape: tuple[int, int, int] = (21, 17, 9)) -> NDArray[np.int16]:
    """Write a scan with two codes of its own; returns its voxels."""
    path.parent.mkdir(parents=True, exist_ok=True)
    data = np.random.default_rng(seed).gamma(2.0, 100.0, size=shape).astype(np.int16)
    image = nibabel.Nifti1Image(data, AFFINE)
    image.set_sform(AFFINE, code=2)
    image.set_qform(AFFINE, code=3)
    nibabel.save(image, path)
    return data


def names(folder: Path) -> list[str]:
    """Names of all files and folders in a folder, hidden ones too."""
    return sorted(path.name for path in folder.iterdir())


def ends(thread_name: str, patience_s: float = 5.0) -> bool:
    """Whether threads of that name are gone, or soon will be."""
    last = time.monotonic() + patience_s
    while any(thread.name == thread_name for thread in threading.enumerate()):
        if time.monotonic() > last:
            return False
        time.sleep(0.01)
    return True
