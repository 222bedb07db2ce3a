"""A second view in the window, on the same memory as the layer that is corrected; and writes by others."""

from __future__ import annotations

import numpy as np
import pytest

from .conftest import new_window

pytestmark = pytest.mark.filterwarnings("ignore:`json_encoders` is deprecated")

_WAIT_MS = 20_000
_ANTERIOR = 1


@pytest.fixture(scope="module")
def window(napari, qapp):
    """One window for all tests here: to open one takes seconds."""
    with new_window(napari) as made:
        yield made


@pytest.fixture
def link(window, qtbot, tmp_path, monkeypatch):
    """The sample with its structures while it is corrected; only the anterior part may change."""
    from napari_medseg._qt import correct_widget

    monkeypatch.setenv("MEDSEG_SESSIONS", str(tmp_path / "sessions"))
    monkeypatch.setattr(correct_widget, "ask_unsaved", lambda *_, **__: "discard")
    window.open_sample("medseg", "segmented_hippocampus")
    _, widget = window.window.add_plugin_dock_widget("medseg", "Correct")
    widget.chooser.button.click()
    limits = widget.tools.limits
    limits.label.setValue(_ANTERIOR)
    limits.in_label.setChecked(True)
    widget.session.sync(everything=True)
    yield widget.link
    widget.leave(may_cancel=False)
    window.window.remove_dock_widget("all")
    window.layers.clear()


@pytest.fixture
def sagittal(link, qtbot):
    """A layer in a view of its own beside the window's, made as plugins with several views make it."""
    from napari.components import ViewerModel
    from napari.layers import Labels
    from napari.qt import QtViewer

    view = ViewerModel(order=(2, 0, 1))
    layer = view.add_layer(Labels(link.layer.data, scale=link.layer.scale, translate=link.layer.translate))
    canvas = QtViewer(view)
    napari_own = list(layer.mouse_drag_callbacks)
    qtbot.waitUntil(lambda: len(layer.mouse_drag_callbacks) > len(napari_own), timeout=_WAIT_MS)
    yield layer
    canvas.close()


def _drag(layer, places):
    """A drag through voxels of a sagittal slice of a layer, as napari's canvas makes one."""
    from napari.utils._test_utils import read_only_mouse_event
    from napari.utils.interactions import mouse_move_callbacks, mouse_press_callbacks, mouse_release_callbacks

    def event(kind, place):
        point = np.array(layer.translate) + np.array(place) * layer.scale
        return read_only_mouse_event(
            type=kind, is_dragging=kind == "mouse_move", position=tuple(point), view_direction=None,
            dims_displayed=[0, 1],
        )  # fmt: skip

    mouse_press_callbacks(layer, event("mouse_press", places[0]))
    for place in places[1:]:
        mouse_move_callbacks(layer, event("mouse_move", place))
    mouse_release_callbacks(layer, event("mouse_release", places[-1]))


def test_a_stroke_in_another_view_keeps_to_the_limits_and_is_one_step(link, sagittal, qtbot):
    session, start = link.correction.session, link.layer.data.copy()
    z, y, x = np.median(np.argwhere(start == _ANTERIOR), axis=0).astype(int)
    sagittal.mode, sagittal.brush_size, sagittal.selected_label = "paint", 9, 9
    for _ in range(2):
        with qtbot.waitSignal(link.edited, timeout=_WAIT_MS):
            _drag(sagittal, [(z + n, y, x) for n in range(-9, 10, 3)])
        painted = link.layer.data == 9
        assert 20 < painted.sum() == (painted & (start == _ANTERIOR)).sum()
        assert set(np.nonzero(painted)[2]) == {x}
        np.testing.assert_array_equal(np.where(painted, _ANTERIOR, link.layer.data), start)
        next(key for name, key in sagittal.keymap.items() if str(name) == "Ctrl+Z")(sagittal)
        np.testing.assert_array_equal(link.layer.data, start)
        assert not session.can_undo


def test_another_view_has_its_own_keys_and_strokes_again_once_the_correction_ends(link, sagittal):
    watched = len(sagittal.mouse_drag_callbacks)
    assert {str(key) for key in sagittal.keymap} == {"Ctrl+Z", "Ctrl+Shift+Z"}
    link.end()
    assert not sagittal.keymap
    assert len(sagittal.mouse_drag_callbacks) == watched - 1


def test_what_others_write_is_cut_back_and_the_picture_shows_it(link, qtbot):
    layer, start = link.layer, link.layer.data.copy()
    with qtbot.waitSignal(link.edited, timeout=_WAIT_MS):
        layer.data[:] = 9
        layer.refresh()
    expected = np.where(start == _ANTERIOR, 9, start)
    np.testing.assert_array_equal(layer.data, expected)
    here = int(link.layer.world_to_data(link._viewer.dims.point)[0])
    np.testing.assert_array_equal(np.asarray(layer._slice.image.view), expected[here])
    link.undo()
    np.testing.assert_array_equal(layer.data, start)
    assert not link.correction.session.can_undo
