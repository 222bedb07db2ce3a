"""A model and a cohort of five scans."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cohort.studies import save_scan, write_manifest
from tests.threshold_model import save_threshold_model


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle whose answer is known."""
    return save_threshold_model(tmp_path_factory.mktemp("model") / "threshold").path


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    """Five good cases, ``c0`` to ``c4``, with a group and an age."""
    rows = [
        {
            "case_id": f"c{n}",
            "image": save_scan(tmp_path / "scans" / f"scan{n}.nii.gz", n).relative_to(tmp_path),
            "group": "ab"[n % 2],
            "age": 40 + n,
        }
        for n in range(5)
    ]
    return write_manifest(tmp_path / "cases.csv", rows)
