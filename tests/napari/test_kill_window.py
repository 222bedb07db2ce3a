"""A real window is killed while it corrects: the widget of the next window offers everything back."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from napari_medseg.recovery.sessions import unfinished_sessions

pytestmark = [
    pytest.mark.filterwarnings("ignore:`json_encoders` is deprecated"),
    pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL on Windows"),
]

_WAIT_S = 120.0


def test_a_killed_window_is_recovered_with_every_edit_and_undo_to_its_start(
    viewer, qtbot, tmp_path, monkeypatch
):
    monkeypatch.setenv("MEDSEG_SESSIONS", str(tmp_path / "sessions"))
    script = Path(__file__).with_name("painting_window.py")
    process = subprocess.Popen([sys.executable, "-W", "ignore", str(script), str(tmp_path)])
    until = time.monotonic() + _WAIT_S
    while not (tmp_path / "ready").exists():
        assert process.poll() is None, "the window ended by itself"
        assert time.monotonic() < until, "the window did not get ready"
        qtbot.wait(50)
    assert unfinished_sessions() == []  # while it is open, it is not offered
    process.send_signal(signal.SIGKILL)
    process.wait()
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
