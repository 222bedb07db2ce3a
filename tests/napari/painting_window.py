"""A napari window that corrects the sample until it is killed. For `test_kill_window`.

    python -W ignore tests/napari/painting_window.py FOLDER

Brush, a tool, direct writes, undo; then the array and the start go to FOLDER, and ``ready`` says so.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import NoReturn

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "napari_plugin"))
import napari
import napari_medseg
import npe2
import numpy as np
from napari.layers import Labels
from qtpy.QtWidgets import QApplication


def main() -> None:
    """Paint, say so, and wait."""
    folder, viewer = Path(sys.argv[1]), open_window()
    viewer.open_sample("medseg", "segmented_hippocampus")
    _, widget = viewer.window.add_plugin_dock_widget("medseg", "Correct")
    layer = viewer.layers[-1]
    np.save(folder / "start.npy", layer.data)
    widget.chooser.button.click()
    layer.selected_label = 2
    for n in range(6):
        layer.paint((10 + n, 20 + n, 12), 5)
        events(0.05)
    widget.undo.click()
    widget.tools.shape_tools.grow.click()
    while widget.tools.is_busy:
        events(0.05)
    layer.undo()  # napari's own, which tells nobody
    layer.data[4:6, 4:6, 4:6] = 9
    events(1.0)  # what is promised to be on the disk by now
    np.save(folder / "painted.npy", layer.data)
    say_ready(folder, layer)


def open_window() -> napari.Viewer:
    """A window that knows medseg, installed or not."""
    manifest = npe2.PluginManifest.from_file(Path(napari_medseg.__file__).parent / "napari.yaml")
    if manifest.name not in npe2.PluginManager.instance():
        npe2.PluginManager.instance().register(manifest)
    return napari.Viewer(show=True)


def say_ready(folder: Path, layer: Labels) -> NoReturn:
    """Tell whoever waits, and go on drawing until the end."""
    (folder / "ready").touch()
    while True:
        layer.refresh()
        events(1.0)


def events(seconds: float) -> None:
    """Let the window live for a while."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        QApplication.processEvents()
        time.sleep(0.005)


if __name__ == "__main__":
    main()
