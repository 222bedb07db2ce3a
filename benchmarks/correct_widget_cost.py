"""What the Correct widget of the napari plugin adds to a stroke on a large scan, on the window's thread.

    xvfb-run -a python benchmarks/correct_widget_cost.py [--shape 512 512 300] [--strokes 100]

A real window, and strokes of ten dabs through napari's own mouse callbacks. Timed is all that the plugin does
in a stroke, summed: its begin, the announcement of each dab, the threshold brush's dabs, its end with the
limits and what follows in the panel. Once without limits, once with a label and a range, once with a brush of
40 voxels, once with the threshold brush. No two strokes go the same way. Beside it stand the whole stroke,
napari's own work included, and what of that the plugin has napari paint: dabs of the threshold brush, and
what the limits took back. Processor time is that of the window's thread: on a busy machine the wall time
also holds what others took. The last line is JSON.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import statistics
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "napari_plugin"))
import napari
import numpy as np
from napari.utils._test_utils import read_only_mouse_event
from napari.utils.interactions import mouse_move_callbacks, mouse_press_callbacks, mouse_release_callbacks
from napari_medseg._qt.click_modes import CanvasMode
from napari_medseg._qt.correct_widget import CorrectWidget
from napari_medseg._qt.layer_link import LayerLink
from napari_medseg._qt.watched_layer import WatchedLayer
from napari_medseg.layers import image_layers, labels_layer
from numpy.typing import NDArray
from qtpy.QtWidgets import QApplication

from medseg import Geometry, LabelMap, LabelSet, Volume

_DABS = 10


class Clock:
    """Adds up the time of calls by whose they are; of calls within calls, each has its own time alone."""

    def __init__(self) -> None:
        self.wall: Counter[str] = Counter()  # in ms
        self.processor: Counter[str] = Counter()
        self._whose: list[str] = []
        self._last = (0.0, 0.0)

    def around(self, whose: str, call: Callable[..., Any]) -> Callable[..., Any]:
        """The same call, timed."""

        @functools.wraps(call)
        def timed(*arguments: Any, **named: Any) -> Any:
            self._charge()
            self._whose.append(whose)
            try:
                return call(*arguments, **named)
            finally:
                self._charge()
                self._whose.pop()

        return timed

    def _charge(self) -> None:
        now = time.perf_counter() * 1e3, time.thread_time() * 1e3
        if self._whose:
            self.wall[self._whose[-1]] += now[0] - self._last[0]
            self.processor[self._whose[-1]] += now[1] - self._last[1]
        self._last = now


def case(shape: tuple[int, int, int]) -> tuple[Volume, LabelMap]:
    """Noise with a ball as the label, as NIfTI lies in memory."""
    rng = np.random.default_rng(0)
    scan = np.empty(shape, np.int16, order="F")
    labels = np.zeros(shape, np.uint8, order="F")
    i, j = np.ogrid[: shape[0], : shape[1]]
    for k in range(shape[2]):  # plane by plane, so that the peak of memory is the arrays' own
        scan[..., k] = rng.integers(0, 200, shape[:2])
        x, y, z = (n / 2 for n in shape)
        labels[..., k] = (i - x) ** 2 + (j - y) ** 2 + (k - z) ** 2 < (min(shape) / 3) ** 2
    geometry = Geometry(shape, np.diag((0.8, 0.8, 1.5, 1.0)))
    return Volume(scan[None], geometry), LabelMap(labels, geometry, LabelSet.from_names({1: "ball"}))


def stroke(layer: Any, places: NDArray[Any], pace_s: float) -> None:
    """Dabs at places (N, 3) of the layer's data, in a slice, at the pace of a hand."""

    def event(kind: str, n: int) -> Any:
        point = tuple(np.array(layer.translate) + places[n] * layer.scale)
        return read_only_mouse_event(
            type=kind,
            is_dragging=kind == "mouse_move",
            position=point,
            view_direction=None,
            dims_displayed=[1, 2],
        )

    mouse_press_callbacks(layer, event("mouse_press", 0))
    for n in range(1, _DABS):
        time.sleep(pace_s)
        mouse_move_callbacks(layer, event("mouse_move", n))
    mouse_release_callbacks(layer, event("mouse_release", _DABS - 1))
    QApplication.processEvents()


def summary(milliseconds: list[float]) -> dict[str, float]:
    """Median and 95th percentile."""
    ordered = sorted(milliseconds)
    return {
        "median_ms": round(statistics.median(ordered), 3),
        "p95_ms": round(ordered[int(0.95 * (len(ordered) - 1))], 3),
    }


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--shape", type=int, nargs=3, default=(512, 512, 300))
    parser.add_argument("--strokes", type=int, default=100)
    parser.add_argument("--pace", type=float, default=0.004, help="seconds between dabs")
    options = parser.parse_args()
    os.environ["MEDSEG_SESSIONS"] = tempfile.mkdtemp()
    clock = Clock()
    # All that the plugin does in a stroke goes through these, and through the session's `begin_step`.
    for owner, names in (
        (WatchedLayer, ("_stroke_ended",)),
        (LayerLink, ("_finish",)),
        (CanvasMode, ("_taken_up", "_dab")),
    ):
        for name in names:
            setattr(owner, name, clock.around("plugin", getattr(owner, name)))
    viewer = napari.Viewer(show=True)
    scan, labels = case(tuple(options.shape))
    ((data, shown, _),) = image_layers(scan, "scan")
    viewer.add_image(data, **shown)
    data, shown, _ = labels_layer(labels, "labels")
    layer = viewer.add_labels(data, **shown)
    widget = CorrectWidget(viewer)
    viewer.window.add_dock_widget(widget)
    start = time.perf_counter()
    widget.start()
    results: dict[str, Any] = {"shape": options.shape, "start_s": round(time.perf_counter() - start, 2)}
    link = widget.link
    if link is None:
        raise SystemExit(widget.banner.text())
    layer.data_setitem = clock.around("napari", layer.data_setitem)
    layer.refresh = clock.around("napari", layer.refresh)
    link.correction.session.begin_step = clock.around("plugin", link.correction.session.begin_step)
    draw = np.random.default_rng(1)
    layer.mode = "paint"

    def measure(name: str, *, size: int) -> None:
        layer.brush_size = size
        taken: dict[str, list[float]] = defaultdict(list)
        for n in range(options.strokes):
            layer.selected_label = 2 + n % 7
            row, column = (int(draw.integers(size // 4, side - 60)) for side in data.shape[1:])
            places = np.full((_DABS, 3), (viewer.dims.current_step[0], row, column))
            places[:, 1:] += np.cumsum(draw.integers(-2, 5, (_DABS, 2)), axis=0)
            clock.wall.clear()
            clock.processor.clear()
            begun = time.perf_counter()
            stroke(layer, places, options.pace)
            taken["whole stroke, wall"].append(
                (time.perf_counter() - begun) * 1e3 - (_DABS - 1) * options.pace * 1e3
            )
            taken["the plugin's part, wall"].append(clock.wall["plugin"])
            taken["the plugin's part, processor"].append(clock.processor["plugin"])
            taken["napari's painting for it, processor"].append(clock.processor["napari"])
        for what, milliseconds in taken.items():
            results[f"{name}, {what}"] = summary(milliseconds)

    measure("brush of 20", size=20)
    measure("brush of 40", size=40)
    limits = widget.tools.limits
    limits.over.setChecked(True)
    limits.low.setValue(20)
    limits.high.setValue(150)
    limits.in_range.setChecked(True)
    limits.in_label.setChecked(True)
    limits.label.setValue(1)
    measure("brush of 40 within a label and a range", size=40)
    limits.in_label.setChecked(False)
    widget.tools.threshold.setChecked(True)
    measure("threshold brush of 40", size=40)
    widget.tools.threshold.setChecked(False)
    results["undo"] = summary([_timed(link.undo) for _ in range(20)])
    link.correction.session.close(discard=True)
    for name, value in results.items():
        print(f"{name:60s} {value}")
    print(json.dumps(results))
    os._exit(0)  # the window has nothing to ask


def _timed(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return (time.perf_counter() - start) * 1e3


if __name__ == "__main__":
    main()
