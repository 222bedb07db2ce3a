"""The pictures of docs/napari.md: every dock in a real window of 1280 x 800, with the built-in sample alone.

On Linux without a screen::

    xvfb-run -a -s "-screen 0 1280x800x24" .venv/bin/python scripts/napari_screenshots.py

Nothing of the user's is read or written: napari's settings, sessions and cases lie in a temporary folder.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from argparse import ArgumentParser
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
from PIL import Image

import medseg
from medseg import Geometry, LabelMap, Volume

DOCS = Path(__file__).parents[1] / "docs" / "napari"
SIZE = (1280, 800)
CASES = {"case-01": (0.87, 0.91), "case-02": (0.42, 0.66), "case-03": (0.79, 0.83), "case-04": (0.9, 0.92)}
LONGEST_WAIT_S = 300
MIDDLE = 18  # an axial slice in which both structures are seen
Shot = Callable[[Any], None]


def main() -> None:
    """Make all pictures, or those that are named."""
    shots: dict[str, Shot] = {
        "start": start, "segment": segment, "window": window, "correct": correct, "slices": slices,
        "scribbles": scribbles, "recover": recover, "review": review,
    }  # fmt: skip
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help=f"of {', '.join(shots)}; all if none is named")
    chosen = parser.parse_args().names or list(shots)
    DOCS.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        os.environ["NAPARI_CONFIG"] = f"{folder}/settings.yaml"
        os.environ["MEDSEG_SESSIONS"] = f"{folder}/sessions"
        os.environ["XDG_CONFIG_HOME"] = folder
        os.environ["TZ"] = "UTC"
        time.tzset()
        for name in chosen:
            picture(DOCS / f"{name}.png", shots[name])


def picture(path: Path, arrange: Shot) -> None:
    """Open a window, arrange it, and keep what it looks like in 256 colours."""
    import napari
    from qtpy.QtWidgets import QApplication

    viewer = napari.Viewer(show=False)
    frame = viewer.window._qt_window
    frame.resize(*SIZE)
    frame.show()
    arrange(viewer)
    frame.resize(*SIZE)
    settle(1.5)
    viewer.status, viewer.help = "Ready", ""
    QApplication.processEvents()
    shown = Image.fromarray(viewer.window.screenshot(flash=False, canvas_only=False)[..., :3])
    # By coverage: a small swatch keeps its colour beside many shades of grey.
    shown = shown.quantize(256, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
    shown.save(path, optimize=True)
    sys.stdout.write(f"{path.name}: {shown.width} x {shown.height}, {path.stat().st_size / 1000:.0f} kB\n")
    with patch("napari_medseg._qt.correct_widget.ask_unsaved", return_value="discard"):
        viewer.window.remove_dock_widget("all")
        viewer.close()
    settle(0.2)


def start(viewer: Any) -> None:
    """The first steps, after "Open the sample"."""
    dock(viewer, "Start here").open_sample.click()


def segment(viewer: Any) -> None:
    """The sample, segmented."""
    open_sample(viewer)
    widget = dock(viewer, "Segment")
    widget.models.list.setCurrentIndex(widget.models.list.findText("hippocampus (built-in)"))
    widget.run_button.click()
    wait(lambda: not widget.running and widget.volumes.table.rowCount() > 0)


def window(viewer: Any) -> None:
    """Intensity windows of a CT, and the point of the patient under the cursor."""
    from napari_medseg._sample_data import make_scan
    from napari_medseg.layers import image_layers

    from medseg.volume import Source

    scan, _ = make_scan()
    as_ct = Volume(scan.data.astype(np.int16) * 3 - 150, scan.geometry, Source(modality="CT"))
    ((data, options, _),) = image_layers(as_ct, "sample shown as CT")
    layer = viewer.add_image(data, **options)
    widget = dock(viewer, "Window and position")
    middle(viewer)
    viewer.cursor.position = tuple(layer.data_to_world((MIDDLE, 22, 17)))
    widget.show_position()


def correct(viewer: Any) -> None:
    """Correcting, with the tools for shape and pieces open."""
    widget = correction(viewer)
    widget.tools.groups["Shape and pieces"].expand(animate=False)
    viewer.layers[-1].mode = "paint"


def slices(viewer: Any) -> None:
    """Every fourth slice annotated, then interpolated."""
    widget = correction(viewer)
    layer = viewer.layers[-1]
    layer.selected_label = 2
    kept = layer.data == 2
    kept[::4] = False
    layer.data[kept] = 0
    layer.refresh()
    widget.tools.groups["Slices"].expand(animate=False)
    widget.tools.slices.interpolate.click()
    wait(lambda: not widget.tools.is_busy)


def scribbles(viewer: Any) -> None:
    """Strokes inside and outside, and the answer."""
    from napari_medseg._sample_data import make_scan

    open_sample(viewer)
    scan, truth = make_scan()
    empty = LabelMap(np.zeros_like(truth.data), scan.geometry, truth.labels)
    widget = correction(viewer, empty)
    panel = widget.tools.scribbles
    widget.tools.groups["Scribble to segment"].expand(animate=False)
    panel.begin_drawing()
    grid = widget.link.correction.grid
    wanted = grid.to_layer(truth.data)[MIDDLE]
    for value, place in ((panel.strokes[1].value, wanted == 1), (panel.strokes[2].value, wanted == 2)):
        rows, columns = np.nonzero(place)
        row = int(np.median(rows))
        inside = columns[rows == row]
        panel.layer.data[MIDDLE, row - 1 : row + 1, inside.min() + 1 : inside.max()] = value
    panel.layer.data[MIDDLE, 4:6, 6:30] = panel.layer.data[MIDDLE, 44:46, 6:30] = panel.strokes[0].value
    panel.layer.data[MIDDLE, 8:42, 3:5] = panel.strokes[0].value
    panel.layer.refresh()
    panel.start_segmenting()
    wait(lambda: panel.answer is not None and panel.answer.is_final and not panel.running)
    middle(viewer)


def recover(viewer: Any) -> None:
    """What the correction widget offers after a crash."""
    from napari_medseg.recovery.sessions import UnfinishedSession

    open_sample(viewer)
    widget = dock(viewer, "Correct")
    settle(1)
    at = 1_790_000_000.0
    lost = UnfinishedSession(Path("x"), "sample hippocampus structures", (), None, at, at + 600, 1234, None)
    widget.unfinished.offer([lost])
    middle(viewer)


def review(viewer: Any) -> None:
    """A queue of four cases: one is corrected, one accepted, the third is open."""
    folder = Path(tempfile.mkdtemp(dir=os.environ["XDG_CONFIG_HOME"])) / "results"
    make_cases(folder)
    widget = dock(viewer, "Review queue")
    widget.who.setText("A. Reader")
    widget.open_queue(folder)
    wait(lambda: not widget.busy)
    for step in ("save", "accepted", None):
        widget.next_button.click()
        wait(lambda: not widget.busy)
        middle(viewer)
        if step == "save":
            widget.save_button.click()
            wait(lambda: not widget.busy)
        elif step is not None:
            widget.decisions[step].click()


def correction(viewer: Any, labels: LabelMap | None = None) -> Any:
    """The correction widget at work on the sample's structures, or on other labels."""
    from napari_medseg.layers import labels_layer

    if labels is None:
        viewer.open_sample("medseg", "segmented_hippocampus")
    else:
        data, options, _ = labels_layer(labels, "new labels")
        viewer.add_labels(data, **options)
    middle(viewer)
    widget = dock(viewer, "Correct")
    widget.chooser.button.click()
    wait(lambda: widget.link is not None)
    viewer.layers[-1].selected_label = 1
    return widget


def make_cases(folder: Path) -> None:
    """Four scans and what a model might have made of them, with how good it thinks that is."""
    from napari_medseg._sample_data import make_scan

    scan, truth = make_scan()
    folder.mkdir()
    for n, (case, quality) in enumerate(CASES.items()):
        low = (n, 2 * n, 0)
        shape = (scan.geometry.shape[0] - n, scan.geometry.shape[1] - 2 * n, scan.geometry.shape[2])
        grid: Geometry = scan.geometry.cropped(low, shape)
        box = tuple(slice(a, a + b) for a, b in zip(low, shape, strict=True))
        medseg.write(Volume(scan.data[:, *box], grid, scan.source), folder / f"{case}.nii.gz")
        medseg.write(LabelMap(truth.data[box], grid, truth.labels), folder / f"{case}_seg.nii.gz")
        labels = [
            {"id": one.id, "name": one.name, "quality": value}
            for one, value in zip(truth.labels, quality, strict=True)
        ]
        sidecar = {"format_version": 1, "input": f"{case}.nii.gz", "verdict": "ok", "labels": labels}
        (folder / f"{case}_seg.json").write_text(json.dumps(sidecar))


def open_sample(viewer: Any) -> None:
    """The made scan, at a slice that shows something."""
    viewer.open_sample("medseg", "hippocampus")
    middle(viewer)


def middle(viewer: Any) -> None:
    """Show the slice in which both structures are seen."""
    viewer.dims.set_current_step(0, MIDDLE)


def dock(viewer: Any, name: str) -> Any:
    """One of medseg's docks, on the right."""
    _, widget = viewer.window.add_plugin_dock_widget("medseg", name)
    return widget


def wait(until: Callable[[], bool]) -> None:
    """Let the window work until something is so."""
    end = time.monotonic() + LONGEST_WAIT_S
    while not until():
        if time.monotonic() > end:
            raise TimeoutError(f"the window was not ready within {LONGEST_WAIT_S} s")
        settle(0.1)


def settle(seconds: float) -> None:
    """Let the window work for a while."""
    from qtpy.QtWidgets import QApplication

    end = time.monotonic() + seconds
    while time.monotonic() < end:
        QApplication.processEvents()
        time.sleep(0.01)


if __name__ == "__main__":
    main()
