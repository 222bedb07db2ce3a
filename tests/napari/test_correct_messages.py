"""What the panel "Correct" says: of an answer before it is accepted, of slices, of what was saved."""

from __future__ import annotations

import numpy as np
import pytest

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
