"""A napari window that corrects the sample until it is killed. For `test_kill_window`.

    python -W ignore tests/napari/painting_window.py FOLDER

Brush, a tool, direct writes, undo; then the array and the start go to FOLDER, and ``ready`` says so.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "napari_plugin"))
import napari
import napari_medseg
import npe2
import numpy as np
from qtpy.QtWidgets import QApplication


def main() -> None:
    """Paint, say so, and wait."""
    folder = Path(sys.argv[1])
    manifest = npe2.PluginManifest.from_file(Path(napari_medseg.__file__).parent / "napari.yaml")
    if manifest.name not in npe2.PluginManager.instance():
        npe2.PluginManager.instance().register(manifest)
    viewer = napari.Viewer(show=True)
    viewer.open_sample("medseg", "segmented_hippocampus")
    _, widget = viewer.window.add_plugin_dock_widget("medseg", "Correct")
    layer = viewer.layers[-1]
    np.save(folder / "start.npy", layer.data)
    widget.chooser.button.click()
    layer.selected_label = 2
    for n in range(6):
        layer.paint((10 + n, 20 + n, 12), 5)
        _events(0.05)
    widget.undo.click()
    widget.tools.shape_tools.grow.click()
    while widget.tools.is_busy:
        _events(0.05)
    layer.undo()  # napari's own, which tells nobody
    layer.data[4:6, 4:6, 4:6] = 9
    _events(1.0)  # what is promised to be on the disk by now
    np.save(folder / "painted.npy", layer.data)
    (folder / "ready").touch()
    while True:
        layer.refresh()
        _events(1.0)


def _events(seconds: float) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        QApplication.processEvents()
        time.sleep(0.005)


if __name__ == "__main__":
    main()
