"""A real napari viewer, where napari, Qt and a display (Xvfb will do) are there."""

from __future__ import annotations

import os
import subprocess
import sys
import warnings
from contextlib import contextmanager
from pathlib import Path

import napari_medseg
import pytest

MANIFEST = Path(napari_medseg.__file__).parent / "napari.yaml"


@pytest.fixture(scope="session")
def napari():
    """napari itself. Its import warns of what its own dependencies will drop; ours must not."""
    if sys.platform == "linux" and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        pytest.skip("no display: run under xvfb-run")
    # Without its system libraries Qt ends the whole process, so another one tries first.
    probe = "from qtpy.QtWidgets import QApplication; QApplication([])"
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"Qt opens no window here: {(done.stderr.strip().splitlines() or ['no message'])[-1]}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pytest.importorskip("npe2", reason="npe2 comes with napari")  # which imports it late, with warnings
        return pytest.importorskip("napari", reason="napari is not installed: pip install medseg[napari]")


@pytest.fixture
def viewer(napari, request):
    """A window of its own, closed afterwards."""
    request.getfixturevalue("qtbot")  # only now: it starts Qt
    with new_window(napari) as window:
        yield window


@contextmanager
def new_window(napari):
    """A window, closed at the end, with medseg's manifest registered as an install would."""
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


def in_the_window(qtbot, do):
    """Do something as a click would: while Qt's event loop runs. An error of it is raised here."""
    from qtpy.QtCore import QTimer

    done = []

    def run():
        try:
            do()
            done.append(None)
        except Exception as error:  # noqa: BLE001 - raised again in the test
            done.append(error)

    QTimer.singleShot(0, run)
    qtbot.waitUntil(lambda: bool(done), timeout=30_000)
    if done[0] is not None:
        raise done[0]
