"""A real napari viewer, where napari, Qt and a display (Xvfb will do) are there."""

from __future__ import annotations

import os
import sys
import warnings
from pathlib import Path

import napari_medseg
import pytest

MANIFEST = Path(napari_medseg.__file__).parent / "napari.yaml"


@pytest.fixture(scope="session")
def napari():
    """napari itself. Its import warns of what its own dependencies will drop; ours must not."""
    if sys.platform == "linux" and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        pytest.skip("no display: run under xvfb-run")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip("napari", reason="napari is not installed: pip install medseg[napari]")


@pytest.fixture
def viewer(napari, qtbot):
    """A window of its own, closed afterwards, with medseg's manifest registered as an install would."""
    import npe2

    manager = npe2.PluginManager.instance()
    manifest = npe2.PluginManifest.from_file(MANIFEST)
    installed = manifest.name in manager
    if not installed:
        manager.register(manifest)
    window = napari.Viewer(show=False)
    yield window
    window.close()
    if not installed:
        manager.unregister(manifest.name)
