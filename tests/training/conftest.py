"""Small datasets on which a few steps of training already show."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.ball_data import write_decathlon
from tests.label_map_data import write_label_maps


@pytest.fixture(scope="session")
def decathlon(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten cases in the Decathlon's layout, labels 1 and 4."""
    return write_decathlon(tmp_path_factory.mktemp("data") / "Task99_Balls")


@pytest.fixture(scope="session")
def label_maps(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three label maps, LIA and anisotropic, with their tables."""
    return write_label_maps(tmp_path_factory.mktemp("maps") / "heads")
