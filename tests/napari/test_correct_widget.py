"""Correcting in a real window: strokes, every tool, undo to the start, save, and unsaved edits."""

from __future__ import annotations

import json

import numpy as np
import pytest
from napari_medseg._sample_data import make_scan
from napari_medseg.recovery.sessions import unfinished_sessions
from scipy import ndimage

import medseg

from .conftest import new_window

pytestmark = pytest.mark.filterwarnings("ignore:`json_encoders` is deprecated")

_WAIT_MS = 20_000
_ANTERIOR, _POSTERIOR = 1, 2


@pytest.fixture(autouse=True)
def sessions(tmp_path, monkeypatch):
    """Sessions lie in a folder of the test."""
    monkeypatch.setenv("MEDSEG_SESSIONS", str(tmp_path / "sessions"))
    return tmp_path / "sessions"


@pytest.fixture(scope="module")
def window(napari, qapp):
    """One window for all tests here: to open one takes seconds."""
    with new_window(napari) as made:
        yield made


@pytest.fixture
def viewer(window, qtbot):
    """That window, empty."""
    yield window
    window.window.remove_dock_widget("all")
    window.layers.clear()


@pytest.fixture
def answers(monkeypatch, viewer):
    """Answers to the dialogs, by name; a question without an answer fails."""
    from napari_medseg._qt import correct_widget, unfinished_list

    given = {"asked": []}

    def ask(parent, case, *, may_cancel):
        given["asked"].append((case, may_cancel))
        return given["unsaved"]

    monkeypatch.setattr(correct_widget, "ask_unsaved", ask)
    monkeypatch.setattr(correct_widget, "ask_path", lambda parent, suggested: given["path"])
    monkeypatch.setattr(unfinished_list, "ask_discard", lambda *_: given["discard"])
    return given


@pytest.fixture
def widget(viewer, qtbot, answers):
    """The widget in its dock on the sample with its structures, correcting; left without a question."""
    viewer.open_sample("medseg", "segmented_hippocampus")
    _, made = viewer.window.add_plugin_dock_widget("medseg", "Correct")
    made.chooser.button.click()
    assert made.session is not None, made.banner.text()
    yield made
    answers["unsaved"] = "discard"
    made.leave(may_cancel=False)


def _wait(qtbot, widget):
    qtbot.waitUntil(lambda: not widget.tools.is_busy, timeout=_WAIT_MS)
    assert not widget.banner.isVisibleTo(widget), widget.banner.text()


def _press(qtbot, widget, button):
    button.click()
    _wait(qtbot, widget)


def _drag(layer, points):
    """A drag through layer coordinates, as napari's canvas makes one."""
    from napari.utils._test_utils import read_only_mouse_event
    from napari.utils.interactions import mouse_move_callbacks, mouse_press_callbacks, mouse_release_callbacks

    def event(kind, point):
        return read_only_mouse_event(
            type=kind, is_dragging=kind == "mouse_move", position=tuple(point), view_direction=None,
            dims_displayed=[1, 2],
        )  # fmt: skip

    mouse_press_callbacks(layer, event("mouse_press", points[0]))
    for point in points[1:]:
        mouse_move_callbacks(layer, event("mouse_move", point))
    mouse_release_callbacks(layer, event("mouse_release", points[-1]))


def _at(layer, index):
    return np.array(layer.translate) + np.array(index) * layer.scale


def _undo_all(widget):
    widget.session.sync(everything=True)
    while widget.session.can_undo:
        widget.link.undo()


def test_strokes_are_steps_and_undo_leads_back_to_the_start(viewer, qtbot, widget):
    layer, start = widget.link.layer, widget.link.layer.data.copy()
    viewer.dims.set_point(0, _at(layer, (15, 0, 0))[0])
    layer.mode, layer.brush_size, layer.selected_label = "paint", 4, _POSTERIOR
    states = [start]
    for row in (10, 20, 30):
        _drag(layer, [_at(layer, (15, row, column)) for column in (5, 9, 14)])
        qtbot.wait(1)
        states.append(layer.data.copy())
        assert (states[-1] != states[-2]).any()
    layer.data[3, 3, 3] = 7  # nobody tells of it
    widget.session.sync(everything=True)
    for state in reversed(states):
        assert not np.array_equal(layer.data, state)
        widget.undo.setEnabled(True)
        widget.undo.click()
        np.testing.assert_array_equal(layer.data, state)
    assert not widget.session.can_undo
    widget.link.redo()
    np.testing.assert_array_equal(layer.data, states[1])
    _undo_all(widget)
    np.testing.assert_array_equal(layer.data, start)


def test_napari_brush_keeps_to_the_limits(viewer, qtbot, widget):
    layer, start = widget.link.layer, widget.link.layer.data.copy()
    limits = widget.tools.limits
    limits.in_label.setChecked(True)
    limits.label.setValue(_ANTERIOR)
    where = np.argwhere(start == _ANTERIOR)[0]
    layer.selected_label, layer.brush_size = 9, 15
    layer.paint(where, 9)
    qtbot.wait(1)
    assert 0 < np.sum(layer.data == 9) == np.sum((layer.data == 9) & (start == _ANTERIOR))
    _undo_all(widget)
    np.testing.assert_array_equal(layer.data, start)


def test_every_tool_changes_the_selected_label_as_one_step(viewer, qtbot, widget):
    layer, tools = widget.link.layer, widget.tools
    start, spacing = layer.data.copy(), np.array(layer.scale)
    layer.selected_label = _ANTERIOR
    tools.shape_tools.mm.setValue(1.2)
    anterior = start == _ANTERIOR
    _press(qtbot, widget, tools.shape_tools.grow)
    away = ndimage.distance_transform_edt(~anterior, spacing)
    np.testing.assert_array_equal(layer.data == _ANTERIOR, anterior | ((away <= 1.2) & (start == 0)))
    widget.link.undo()
    np.testing.assert_array_equal(layer.data, start)
    tools.limits.over.setChecked(True)
    layer.data[12:14, 20:22, 10:12] = np.where(start[12:14, 20:22, 10:12] == 1, 0, 1)
    widget.session.sync(everything=True)
    before = layer.data.copy()
    hole = tuple(np.argwhere(ndimage.binary_erosion(before[20:] == _ANTERIOR))[0] + (20, 0, 0))
    other = tools.labels
    other.other.setValue(_POSTERIOR)
    for button in (
        tools.shape_tools.smooth, tools.shape_tools.shrink, tools.shape_tools.fill_holes,
        tools.slices.interpolate, other.merge, other.swap,
    ):  # fmt: skip
        layer.data[:] = before
        layer.data[16:18] = 0  # a gap to interpolate
        layer.data[hole] = 0
        widget.session.sync(everything=True)
        widget.session.end_step()
        here = layer.data.copy()
        _press(qtbot, widget, button)
        assert (layer.data != here).any(), button.text()
        assert layer.editable
        widget.link.undo()
        np.testing.assert_array_equal(layer.data, here, err_msg=button.text())
    _undo_all(widget)
    np.testing.assert_array_equal(layer.data, start)


def test_copying_goes_to_the_neighbour_and_the_next_slice_of_interest_was_not_seen(viewer, qtbot, widget):
    layer, slices = widget.link.layer, widget.tools.slices
    held = np.flatnonzero((layer.data == _ANTERIOR).any(axis=(1, 2)))
    viewer.dims.set_point(0, _at(layer, (held[-1], 0, 0))[0])
    layer.selected_label = _ANTERIOR
    source = layer.data[held[-1]] == _ANTERIOR
    assert not (layer.data[held[-1] + 1] == _ANTERIOR).any()
    _press(qtbot, widget, slices.copy_next)
    np.testing.assert_array_equal(layer.data[held[-1] + 1] == _ANTERIOR, source)
    assert viewer.dims.point[0] == pytest.approx(_at(layer, (held[-1] + 1, 0, 0))[0])
    _press(qtbot, widget, slices.copy_previous)
    assert viewer.dims.point[0] == pytest.approx(_at(layer, (held[-1], 0, 0))[0])
    seen = {round(viewer.dims.point[0], 3)}
    for _ in range(4):
        slices.next_slice.click()
        here = round(viewer.dims.point[0], 3)
        assert here not in seen
        seen.add(here)
    doubt = np.zeros(layer.data.shape, np.float32)
    doubt[2] = 1  # far from all labels
    kept = viewer.layers[0].metadata
    viewer.add_image(doubt, name="entropy", scale=layer.scale, translate=layer.translate, metadata=kept)
    slices.maps.setCurrentIndex(1)
    slices.next_slice.click()
    assert viewer.dims.point[0] == pytest.approx(_at(layer, (2, 0, 0))[0])


def test_a_click_keeps_removes_or_splits_a_piece(viewer, qtbot, widget):
    layer, shape = widget.link.layer, widget.tools.shape_tools
    layer.data[2:4, 2:5, 2:5] = _ANTERIOR
    layer.data[2:4, 40:43, 2:5] = _ANTERIOR
    widget.session.sync(everything=True)
    widget.session.end_step()
    here = layer.data.copy()
    pieces, _ = ndimage.label(here == _ANTERIOR, np.ones((3, 3, 3)))
    clicked = pieces == pieces[2, 3, 3]
    for button, expected in (
        (shape.remove, np.where(clicked, 0, here)),
        (shape.split, np.where(clicked, 3, here)),
        (shape.keep, np.where((here == _ANTERIOR) & ~clicked, 0, here)),
    ):
        button.click()
        assert button.isChecked()
        _drag(layer, [_at(layer, (2, 3, 3))])
        _wait(qtbot, widget)
        assert not button.isChecked()
        np.testing.assert_array_equal(layer.data, expected, err_msg=button.text())
        widget.link.undo()
        np.testing.assert_array_equal(layer.data, here)


def test_the_threshold_brush_paints_only_in_its_range_and_gives_the_mouse_back(viewer, qtbot, widget):
    layer, start = widget.link.layer, widget.link.layer.data.copy()
    scan, limits = viewer.layers[0].data, widget.tools.limits
    limits.low.setValue(40)
    limits.high.setValue(60)
    layer.selected_label, layer.brush_size = 5, 9
    widget.tools.threshold.click()
    viewer.dims.set_point(0, _at(layer, (15, 0, 0))[0])
    _drag(layer, [_at(layer, (15, 20, 10)), _at(layer, (15, 30, 20))])
    painted = layer.data == 5
    assert painted.sum() > 20
    assert painted[15].sum() == painted.sum()
    assert ((scan[painted] >= 40) & (scan[painted] <= 60)).all()
    layer.mode = "erase"
    assert not widget.tools.threshold.isChecked()
    qtbot.wait(1)
    widget.link.undo()
    np.testing.assert_array_equal(layer.data, start)


def test_scribbles_show_an_answer_that_is_accepted_as_one_step_or_dropped(viewer, qtbot, widget):
    layer, panel = widget.link.layer, widget.tools.scribbles
    truth = layer.data.copy()
    layer.data[:] = 0
    widget.session.sync(everything=True)
    widget.session.end_step()
    layer.selected_label = _POSTERIOR
    panel.draw.click()
    strokes = viewer.layers["Scribbles"]
    assert viewer.layers.selection.active is strokes
    assert strokes.selected_label == _POSTERIOR
    z, y, x = (int(np.median(n)) for n in np.nonzero(truth == _POSTERIOR))
    strokes.data[z, y - 1 : y + 2, x] = _POSTERIOR
    for accepted in (False, True):
        if accepted:
            outside = panel.strokes[0].value
            strokes.data[z, 2, 2:9] = strokes.data[z, -2, 2:9] = outside
        panel.segment.click()
        qtbot.waitUntil(lambda: not panel.running and panel.answer is not None, timeout=_WAIT_MS)
        assert "Scribble preview" in viewer.layers
        assert not layer.data.any()
        assert "No stroke is outside" in panel.warning.text()
        assert panel.warning.isVisibleTo(panel) != accepted
        (panel.accept if accepted else panel.cancel).click()
        _wait(qtbot, widget)
        assert "Scribble preview" not in viewer.layers
        assert set(np.unique(layer.data)) == ({0, _POSTERIOR} if accepted else {0})
    assert not strokes.visible
    assert viewer.layers.selection.active is layer
    found, expected = layer.data == _POSTERIOR, truth == _POSTERIOR
    assert 2 * np.sum(found & expected) / (found.sum() + expected.sum()) > 0.5
    widget.undo.click()
    assert not layer.data.any()
    assert not strokes.visible
    assert "Draw scribbles shows them again" in panel.status.text()
    panel.draw.click()
    assert strokes.visible
    assert "hidden" not in panel.status.text()


def test_what_is_saved_is_what_is_opened_again(viewer, qtbot, widget, answers, tmp_path):
    layer = widget.link.layer
    layer.paint((15, 20, 20), 9)
    widget.who.setText("a reader")
    answers["path"] = tmp_path / "scan_seg.nii.gz"
    widget.save_button.click()
    qtbot.waitUntil(lambda: "Saved" in widget.said.text(), timeout=_WAIT_MS)
    assert f"Saved {tmp_path / 'scan_seg.nii.gz'}\n" in widget.said.text()  # as it is, to be copied
    again = medseg.read_labels(tmp_path / "scan_seg.nii.gz")
    np.testing.assert_array_equal(again.data, widget.session.array)
    np.testing.assert_allclose(again.geometry.affine, make_scan()[1].geometry.affine, atol=1e-4)
    told = json.loads((tmp_path / "scan_seg.provenance.json").read_text(encoding="utf-8"))
    assert told["who"] == "a reader"
    assert told["edits"] == 1
    widget.chooser.button.click()
    assert widget.session is None
    assert not answers["asked"]
    assert unfinished_sessions() == []


@pytest.mark.parametrize("how", ["dock", "window"])
def test_unsaved_edits_are_asked_about_and_kept_for_later(viewer, qtbot, widget, answers, how):
    layer = widget.link.layer
    layer.paint((15, 20, 20), 9)
    edited, changed = widget.session.array.copy(), int(np.sum(layer.data == 9))
    if how == "window":
        answers["unsaved"] = "cancel"
        widget.window().close()
        assert widget.session is not None
    answers["unsaved"] = "keep"
    if how == "dock":
        viewer.window.remove_dock_widget(widget)
    else:
        assert widget.leave(may_cancel=True)
    assert widget.session is None
    assert answers["asked"][-1] == ("sample hippocampus structures", how == "window")
    (unfinished,) = unfinished_sessions()
    assert unfinished.changed_voxels == changed
    if how == "dock":
        _, again = viewer.window.add_plugin_dock_widget("medseg", "Correct")
        qtbot.waitUntil(lambda: again.unfinished.isVisibleTo(again), timeout=_WAIT_MS)
        assert f"{changed:,} voxels changed" in again.unfinished.list.item(0).text()
        again.unfinished.recover.click()
        qtbot.waitUntil(lambda: again.session is not None, timeout=_WAIT_MS)
        np.testing.assert_array_equal(again.link.layer.data, again.link.correction.grid.to_layer(edited))
        answers["unsaved"] = "discard"
        again.leave(may_cancel=False)
        assert unfinished_sessions() == []


def test_other_data_of_the_layer_is_taken_or_refused_without_loss(viewer, qtbot, widget):
    layer, start = widget.link.layer, widget.link.layer.data.copy()
    layer.data = np.where(start == _ANTERIOR, 4, start).astype(start.dtype)
    widget.session.sync(everything=True)
    widget.link.undo()
    np.testing.assert_array_equal(layer.data, start)
    layer.data = np.zeros((4, 5, 6), np.uint8)
    np.testing.assert_array_equal(layer.data, start)
    assert "not taken" in widget.banner.text()


def test_interpolating_between_neighbours_says_what_it_needs(viewer, qtbot, widget):
    layer = widget.link.layer
    layer.data[[12, 13], 20, 20] = layer.selected_label = 7
    _press(qtbot, widget, widget.tools.slices.interpolate)
    assert widget.said.text() == (
        "Interpolated: no change. Needs two or more axial slices with label 7 and empty ones between; found "
        "slices 12, 13."
    )


def test_errors_are_said_and_leave_the_layer_usable(viewer, qtbot, widget):
    layer = widget.link.layer
    layer.selected_label = 0
    widget.tools.shape_tools.smooth.click()
    qtbot.waitUntil(lambda: not widget.tools.is_busy, timeout=_WAIT_MS)
    assert "select the structure" in widget.banner.text()
    assert layer.editable
    widget.tools.limits.in_region.setChecked(True)
    assert "no other labels layer" in widget.banner.text()


def test_no_shortcut_is_taken_from_napari_but_undo_and_redo(viewer, widget):
    from app_model.types import KeyBinding
    from napari_medseg._qt.shortcuts import SHORTCUTS

    def keys(keymap):
        return {str(KeyBinding.validate(key)) for key in keymap}

    providers = (*type(widget.link.layer).__mro__, *type(viewer).__mro__)
    taken = set().union(*(keys(vars(one).get("class_keymap", {})) for one in providers))
    assert {"P", "V", "Ctrl+Z"} <= taken
    ours = {one.action: str(KeyBinding.validate(one.binding)) for one in SHORTCUTS}
    assert {name for name, key in ours.items() if key in taken} == {"undo", "redo"}
    assert keys(widget.link.layer.keymap) == set(ours.values())


def test_a_layer_that_was_left_for_later_goes_on_in_its_session(widget, viewer, answers):
    labels = widget.link.layer
    start = np.array(labels.data)
    labels.paint((16, 20, 20), 2)
    answers["unsaved"] = "keep"
    widget.chooser.button.click()
    assert widget.session is None
    labels.paint((10, 12, 12), 1)  # while nobody watches
    widget.chooser.button.click()
    assert widget.session is not None, widget.banner.text()
    widget.session.sync(everything=True)
    while widget.session.can_undo:
        widget.session.undo()
    np.testing.assert_array_equal(labels.data, start)
    assert not [one for one in unfinished_sessions() if one.folder != widget.session.folder]


@pytest.mark.parametrize("on_top", [True, False])
def test_clearing_the_window_keeps_the_edits_and_offers_them_again(viewer, qtbot, widget, answers, on_top):
    layer = widget.link.layer
    layer.paint((15, 20, 20), 9)
    edited, case = widget.session.array.copy(), widget.session.facts.case
    if not on_top:  # then it is the last to go, and the window's axes go before it
        viewer.layers.move(viewer.layers.index(layer), 0)
    viewer.dims.set_point(0, _at(layer, (15, 0, 0))[0])
    viewer.layers.clear()
    assert widget.session is None
    assert not answers["asked"]  # a dialog in the midst of the clearing would stop it half-way
    assert case in widget.said.text()
    assert "Unfinished sessions" in widget.said.text()
    qtbot.waitUntil(lambda: widget.unfinished.isVisibleTo(widget), timeout=_WAIT_MS)
    widget.unfinished.recover.click()
    qtbot.waitUntil(lambda: widget.session is not None, timeout=_WAIT_MS)
    np.testing.assert_array_equal(widget.session.array, edited)
    assert widget.session.can_undo


def test_after_the_stop_the_selected_labels_are_next(viewer, widget):
    first = widget.link.layer
    other = viewer.add_labels(np.zeros_like(first.data), name="other", scale=first.scale)
    assert viewer.layers.selection.active is other
    assert widget.chooser.labels.layer is first
    widget.chooser.button.click()
    assert widget.chooser.labels.layer is other
