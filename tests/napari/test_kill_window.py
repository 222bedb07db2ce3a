"""A real window is killed while it corrects: the widget of the next window offers everything back."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from napari_medseg.recovery.sessions import unfinished_sessions

from .killed_window import run_and_kill

pytestmark = [
    pytest.mark.filterwarnings("ignore:`json_encoders` is deprecated"),
    pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL on Windows"),
]


def test_a_killed_window_is_recovered_with_every_edit_and_undo_to_its_start(
    viewer, qtbot, tmp_path, monkeypatch
):
    monkeypatch.setenv("MEDSEG_SESSIONS", str(tmp_path / "sessions"))
    run_and_kill(qtbot, "painting_window.py", tmp_path)
    start, painted = np.load(tmp_path / "start.npy"), np.load(tmp_path / "painted.npy")

    _, widget = viewer.window.add_plugin_dock_widget("medseg", "Correct")
    qtbot.waitUntil(lambda: widget.unfinished.isVisibleTo(widget), timeout=20_000)
    assert f"{np.sum(start != painted):,} voxels changed" in widget.unfinished.list.item(0).text()
    widget.unfinished.recover.click()
    qtbot.waitUntil(lambda: widget.session is not None, timeout=20_000)
    layer = widget.link.layer
    assert layer.name == "sample hippocampus structures"
    np.testing.assert_array_equal(layer.data, painted)
    while widget.session.can_undo:
        widget.link.undo()
    np.testing.assert_array_equal(layer.data, start)
    assert widget.leave(may_cancel=False)
    assert unfinished_sessions() == []
