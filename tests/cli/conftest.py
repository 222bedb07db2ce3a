"""A scan on an awkward grid, and a model whose answer numpy can compute."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pytest

from tests.threshold_model import save_threshold_model

# Oblique (20 degrees about the first axis), anisotropic, and the second axis runs backwards.
AFFINE = np.array(
    [[0.9, 0.0, 0.0, -31.0], [0.0, -1.0336, -0.6840, 12.0], [0.0, -0.3762, 1.8794, 5.0], [0.0, 0.0, 0.0, 1.0]]
)


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle that finds label 7 (outer) and label 255 (inner) by intensity alone."""
    return save_threshold_model(tmp_path_factory.mktemp("models") / "threshold").path


@pytest.fixture
def scan(tmp_path: Path) -> Path:
    """A NIfTI scan of 18 x 21 x 13 voxels."""
    data = np.random.default_rng(3).normal(100, 20, (18, 21, 13)).astype(np.float32)
    path = tmp_path / "scan.nii.gz"
    nibabel.save(nibabel.Nifti1Image(data, AFFINE), path)
    return path
