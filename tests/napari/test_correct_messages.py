"""What the panel "Correct" says: of an answer before it is accepted, of slices, of what was saved."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from napari_medseg.recovery.sessions import UnfinishedSession

pytestmark = pytest.mark.filterwarnings("ignore:`json_encoders` is deprecated")

_WAIT_MS = 20_000
_POSTERIOR = 2


@pytest.fixture
def widget(viewer, tmp_path, monkeypatch):
    """The widget on the sample with its structures, correcting."""
    monkeypatch.setenv("MEDSEG_SESSIONS", str(tmp_path / "sessions"))
    viewer.open_sample("medseg", "segmented_hippocampus")
    _, made = viewer.window.add_plugin_dock_widget("medseg", "Correct")
    made.chooser.button.click()
    assert made.session is not None, made.banner.text()
    yield made
    monkeypatch.setattr("napari_medseg._qt.correct_widget.ask_unsaved", lambda *_, **__: "discard")
    made.leave(may_cancel=False)


def test_before_accept_the_panel_says_what_becomes_of_each_structure(viewer, qtbot, widget):
    layer, panel = widget.link.layer, widget.tools.scribbles
    layer.selected_label = _POSTERIOR
    panel.draw.click()
    z, y, x = (int(np.median(n)) for n in np.nonzero(layer.data == _POSTERIOR))
    viewer.layers["Scribbles"].data[z, y - 1 : y + 2, x] = _POSTERIOR
    viewer.layers["Scribbles"].data[z, 2, 2:9] = panel.strokes[0].value
    assert not panel.effect.isVisibleTo(panel)
    panel.segment.click()
    qtbot.waitUntil(lambda: not panel.running and panel.answer is not None, timeout=_WAIT_MS)
    first = panel.effect.text()
    layer.paint((2, 2, 2), _POSTERIOR)  # what is said follows edits of the labels
    qtbot.waitUntil(lambda: panel.effect.text() != first, timeout=_WAIT_MS)
    for over in (True, False):
        widget.tools.limits.over.setChecked(over)
        said, before = panel.effect.text(), np.array(layer.data)
        assert panel.effect.isVisibleTo(panel)
    panel.accept.click()
    qtbot.waitUntil(lambda: not widget.tools.is_busy, timeout=_WAIT_MS)
    was, now = (np.sum(data == _POSTERIOR) for data in (before, layer.data))
    assert was != now
    name = widget.session.labels[_POSTERIOR].name
    assert said.startswith(f"Accept: {name} {was:,} to {now:,} voxels. The answer takes the place")
    assert not panel.effect.isVisibleTo(panel)


def test_the_next_slice_of_interest_is_named_with_the_reason(viewer, widget):
    layer, slices = widget.link.layer, widget.tools.slices
    widget.said.setText("Interpolated: no change.")
    slices.next_slice.click()
    assert widget.said.text() == f"Slice {viewer.dims.current_step[0]}: not seen yet."
    doubt = np.zeros(layer.data.shape, np.float32)
    doubt[2, 5, 5:9] = 0.25
    kept = viewer.layers[0].metadata
    viewer.add_image(doubt, name="entropy", scale=layer.scale, translate=layer.translate, metadata=kept)
    slices.maps.setCurrentIndex(1)
    slices.next_slice.click()
    assert widget.said.text() == "Slice 2: doubt 1 summed over it, the most of those not seen yet."


def test_what_was_saved_is_said_until_there_are_unsaved_edits(qtbot, widget, tmp_path):
    widget.link.layer.paint((15, 20, 20), _POSTERIOR)
    widget.save(tmp_path / "a.nii.gz")
    qtbot.waitUntil(lambda: widget.said.text().startswith("Saved "), timeout=_WAIT_MS)
    qtbot.waitUntil(lambda: widget.state.text() == "No unsaved edits", timeout=_WAIT_MS)
    assert widget.said.text().startswith("Saved ")
    widget.link.layer.paint((10, 20, 20), _POSTERIOR)
    qtbot.waitUntil(lambda: not widget.said.text(), timeout=_WAIT_MS)
    assert widget.state.text().startswith("Unsaved")


def test_unfinished_sessions_take_one_line_while_a_case_is_corrected(viewer, monkeypatch, widget):
    def session(n):
        return UnfinishedSession(Path(f"s{n}"), f"case {n}", (), None, 0.0, 1.0, 12, None)

    unfinished = widget.unfinished
    unfinished.offer([session(n) for n in range(3)])
    line = unfinished.sizeHint().height()
    assert not unfinished.isExpanded()
    assert unfinished.text() == "Unfinished sessions: 3"
    monkeypatch.setattr("napari_medseg._qt.correct_widget.ask_unsaved", lambda *_, **__: "discard")
    widget.chooser.button.click()
    assert unfinished.isExpanded()
    assert unfinished.sizeHint().height() > 3 * line
    assert unfinished.list.height() <= unfinished.content().maximumHeight()
