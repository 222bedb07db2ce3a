"""The threshold model, and no model of the user's own."""

from __future__ import annotations

from pathlib import Path

import pytest

from medseg.models import ModelBundle
from tests.threshold_model import save_threshold_model


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> ModelBundle:
    """A bundle that finds label 7 (outer) and label 255 (inner) by intensity alone."""
    return save_threshold_model(tmp_path_factory.mktemp("models") / "threshold")


@pytest.fixture(autouse=True)
def _no_default_model(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("MEDSEG_MODEL", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "no config"))
