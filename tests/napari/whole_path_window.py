"""A napari window that opens a scan, segments and corrects it until it is killed. For `test_whole_path`.

    python -W ignore tests/napari/whole_path_window.py FOLDER SCAN MODEL

What the labels were as segmented, painted and grown goes to FOLDER, and ``ready`` says so.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from painting_window import events, open_window, say_ready

_PAINTED = 9
_CENTRE = (10, 60, 60)  # row and column of a corner of the slice: air, beside the patient


def main() -> None:
    """Open, segment, correct, and wait."""
    folder, scan, model = map(Path, sys.argv[1:])
    viewer = open_window()
    viewer.open(str(scan), plugin="medseg")
    _, segment = viewer.window.add_plugin_dock_widget("medseg", "Segment")
    segment.models.open(str(model))
    segment.run_button.click()
    while segment.running:
        events(0.05)
    layer = viewer.layers[-1]
    np.save(folder / "segmented.npy", layer.data)

    _, correct = viewer.window.add_plugin_dock_widget("medseg", "Correct")
    correct.chooser.button.click()
    layer.mode, layer.selected_label, layer.brush_size = "paint", _PAINTED, 21
    viewer.dims.set_current_step(0, _CENTRE[0])
    layer.paint(_CENTRE, _PAINTED)
    events(0.1)
    np.save(folder / "painted.npy", layer.data)
    correct.tools.shape_tools.grow.click()
    while correct.tools.is_busy:
        events(0.05)
    np.save(folder / "grown.npy", layer.data)
    events(1.0)  # what is promised to be on the disk by now
    say_ready(folder, layer)


if __name__ == "__main__":
    main()
