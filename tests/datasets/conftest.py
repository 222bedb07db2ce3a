"""A small sound dataset."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.ball_data import write_decathlon


@pytest.fixture(scope="session")
def decathlon(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten cases in the Decathlon's layout, labels 1 and 4."""
    return write_decathlon(tmp_path_factory.mktemp("data") / "Task99_Balls")
