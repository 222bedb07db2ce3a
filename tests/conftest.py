"""Shared fixtures: where the real scans are, and why a test skips without them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

_DEFAULT = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real scans: MEDSEG_TEST_DATA, or ../shared/data beside the checkout."""
    folder = Path(os.environ.get("MEDSEG_TEST_DATA", _DEFAULT))
    if not folder.is_dir():
        pytest.skip(f"no real scans at {folder}: set MEDSEG_TEST_DATA")
    return folder
