"""The review queue in the window: what carries over from case to case, then real cases in a real window."""

from __future__ import annotations

import json
import shutil

import nibabel as nib
import numpy as np
import pytest
from napari_medseg._sample_data import make_scan
from napari_medseg.layers import LayerGrid
from napari_medseg.reviewing.case_loading import load_case
from napari_medseg.reviewing.kept_places import same_place, same_window
from napari_medseg.reviewing.review import ReviewQueue
from napari_medseg.reviewing.review_rows import (
    STATUS_COLOURS,
    counts_text,
    doubt_text,
    review_rows,
    time_text,
)

import medseg
from medseg import Geometry, InputRefused, LabelMap, Volume
from medseg.errors import NotFound

from .conftest import new_window

pytestmark = pytest.mark.filterwarnings("ignore:`json_encoders` is deprecated")

_WAIT_MS = 20_000
_QUALITY = {"a": 0.9, "b": 0.4, "c": 0.7}


def _case(folder, case, quality, *, crop=0):
    """A scan and what ``medseg infer`` leaves of it, on a smaller grid where ``crop`` voxels are cut off."""
    scan, truth = make_scan()
    shape = (36 - crop, 50, 32)
    grid = scan.geometry.cropped((0, 0, 0), shape)
    labels = np.where(truth.data[: shape[0]] == 1, 1, 0).astype(np.uint8)  # the posterior part was missed
    medseg.write(Volume(scan.data[:, : shape[0]], grid, scan.source), folder / f"{case}.nii.gz")
    medseg.write(LabelMap(labels, grid, truth.labels), folder / f"{case}_seg.nii.gz")
    names = [{"id": one.id, "name": one.name, "quality": quality} for one in truth.labels]
    sidecar = {"format_version": 1, "input": f"{case}.nii.gz", "verdict": "ok", "labels": names}
    (folder / f"{case}_seg.json").write_text(json.dumps(sidecar))


@pytest.fixture
def cohort(tmp_path, monkeypatch):
    """Three cases, the most doubtful one on a smaller grid."""
    monkeypatch.setenv("MEDSEG_SESSIONS", str(tmp_path / "sessions"))
    folder = tmp_path / "out"
    folder.mkdir()
    for case, quality in _QUALITY.items():
        _case(folder, case, quality, crop=6 if case == "b" else 0)
    return folder


def _grid(shape, spacing, turn=0.0):
    c, s = np.cos(turn), np.sin(turn)
    affine = np.eye(4)
    affine[:3, :3] = np.array(((-c, s, 0), (s, c, 0), (0, 0, 1))) * spacing
    affine[:3, 3] = (40, -30, 7)
    return LayerGrid(Geometry(shape, affine))


def test_a_place_stays_on_the_same_grid_and_is_the_same_share_of_another():
    first, other = _grid((40, 31, 9), (0.8, 1.1, 3.0), 0.3), _grid((20, 50, 17), (2.0, 0.5, 1.5))
    way = np.array((2.5, 7.0, 11.0))
    point = first.translate + way
    np.testing.assert_array_equal(same_place(point, first, _grid((40, 31, 9), (0.8, 1.1, 3.0), 0.3)), point)
    shares = way / (8 * 3.0, 30 * 1.1, 39 * 0.8)
    expected = np.array(other.translate) + shares * (16 * 1.5, 49 * 0.5, 19 * 2.0)
    np.testing.assert_allclose(same_place(point, first, other), expected)
    flat = _grid((40, 31, 1), (0.8, 1.1, 3.0))
    assert same_place(flat.translate, flat, other)[0] == pytest.approx(other.translate[0] + 8 * 1.5)


def test_a_window_of_ct_stays_in_hu_and_one_of_mr_follows_the_scan():
    opens = (-160.0, 240.0)
    assert same_window((-1350.0, 150.0), opens, opens) == pytest.approx((-1350.0, 150.0))
    assert same_window((100.0, 500.0), (0.0, 1000.0), (20.0, 220.0)) == pytest.approx((40.0, 120.0))
    assert same_window((3.0, 4.0), (5.0, 5.0), (0.0, 9.0)) == (0.0, 9.0)


def test_doubt_and_time_are_said_in_words(cohort):
    assert [doubt_text(doubt) for doubt in (None, 0.125, 1.0, 1.3, 3.0)] == [
        "-",
        "0.12",
        "warning, 0.00",
        "warning, 0.30",
        "no result",
    ]
    assert [time_text(s) for s in (0, 5, 59.4, 59.6, 3540, 3600, 7500)] == [
        "-",
        "5 s",
        "59 s",
        "1 min",
        "59 min",
        "1 h 00 min",
        "2 h 05 min",
    ]
    queue = ReviewQueue(cohort)
    queue.set_status("a", "rejected", who="B. Reader")
    assert counts_text(queue) == "3 cases: 2 to do, 1 rejected"
    rows = review_rows(queue)
    assert [row.cells for row in rows][-1] == ("a", "rejected", "0.10", "-", "B. Reader")
    assert [row.id for row in sorted(rows, key=lambda row: row.keys[2], reverse=True)] == ["b", "c", "a"]


def test_white_words_are_readable_on_the_colour_of_every_status():
    for colour in STATUS_COLOURS.values():  # WCAG 2.2: contrast of at least 4.5 to 1
        channels = np.array([int(colour[n : n + 2], 16) for n in (1, 3, 5)]) / 255
        linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
        assert 1.05 / (linear @ (0.2126, 0.7152, 0.0722) + 0.05) >= 4.5


def test_a_case_without_labels_begins_empty_with_the_numbers_of_the_others(cohort):
    (cohort / "b_seg.nii.gz").unlink()
    queue = ReviewQueue(cohort)
    loaded = load_case(queue, "b")
    labels = loaded.session.label_map()
    assert labels.labels.names == ("Anterior", "Posterior")
    assert not labels.data.any()
    assert labels.geometry == loaded.scan.geometry
    loaded.session.close()


def test_edits_that_were_not_saved_come_back_with_the_case_unless_it_was_saved_since(cohort):
    queue = ReviewQueue(cohort)
    first = load_case(queue, "b")
    with first.session.step():
        first.session.array[5:9, 7:20, 3:11] = 2
    edited = first.session.array.copy()
    first.session.close()
    again = load_case(queue, "b")
    np.testing.assert_array_equal(again.session.array, edited)
    assert again.session.can_undo
    assert "were not saved: here they are again" in again.notices[0]
    again.session.close()
    (cohort / "corrected" / "labelsTr").mkdir(parents=True)
    shutil.copy(cohort / "b_seg.nii.gz", cohort / "corrected" / "labelsTr" / "b.nii.gz")
    later = load_case(queue, "b")
    assert not later.notices
    assert (later.session.array != edited).any()
    later.session.close()


def test_labels_of_another_grid_and_a_case_without_anything_are_refused_with_the_cure(cohort, tmp_path):
    listed = tmp_path / "list.csv"
    listed.write_text("image,labels\nout/a.nii.gz,out/b_seg.nii.gz\n")
    with pytest.raises(InputRefused, match=r"\(30, 50, 32\) voxels and the scan \(36, 50, 32\)"):
        load_case(ReviewQueue(listed), "a")
    for name in ("b.nii.gz", "b_seg.nii.gz"):
        (cohort / name).unlink()
    queue = ReviewQueue(cohort)
    with pytest.raises(NotFound, match=r'case \'b\': its scan was not found.*press "Scans …"'):
        load_case(queue, "b")


@pytest.fixture
def panel(viewer, tmp_path):
    """The dock, with settings of its own."""
    from qtpy.QtCore import QSettings

    QSettings.setPath(QSettings.Format.IniFormat, QSettings.Scope.UserScope, str(tmp_path / "settings"))
    _, made = viewer.window.add_plugin_dock_widget("medseg", "Review queue")
    return made


def _wait(qtbot, panel):
    qtbot.waitUntil(lambda: not panel.busy, timeout=_WAIT_MS)


def _statuses(panel):
    table = panel.table
    return {table.item(n, 0).text(): table.item(n, 1).text() for n in range(table.rowCount())}


def test_a_queue_is_corrected_case_by_case_and_is_a_training_dataset(
    viewer, qtbot, panel, cohort, monkeypatch
):
    from napari_medseg._qt import review_widget
    from napari_medseg._qt.kept_view import camera_of
    from napari_medseg._qt.layer_sessions import session_of

    from medseg.datasets import read_dataset

    panel.who.setText("B. Reader")
    panel.who.editingFinished.emit()
    panel.open_queue(cohort)
    _wait(qtbot, panel)
    assert list(_statuses(panel)) == ["b", "c", "a"]
    assert panel.heading.text() == "No case is open"
    panel.next_button.click()
    assert "Opening b" in panel.state.text()
    assert not panel.next_button.isEnabled()
    _wait(qtbot, panel)
    assert [layer.name for layer in viewer.layers] == ["b", "b labels"]
    assert _statuses(panel)["b"] == "in progress"

    labels = viewer.layers["b labels"]
    assert viewer.layers.selection.active is labels
    before = labels.data.copy()
    labels.selected_label, labels.brush_size = 2, 4
    labels.paint((20, 30, 12), 2)
    painted = labels.data.copy()
    assert (painted != before).any()
    camera_of(viewer).zoom = 7.5
    viewer.dims.set_point(0, viewer.layers["b"].extent.world[0][0] + 3 * 1.15)
    viewer.layers["b"].contrast_limits = (0, 60)
    panel.save_button.click()
    _wait(qtbot, panel)
    assert _statuses(panel) == {"b": "corrected", "c": "to do", "a": "to do"}

    left = []  # an empty window between two cases has ended in a crash of the canvas
    viewer.layers.events.removed.connect(lambda: left.append(len(viewer.layers)))
    panel.next_button.click()  # nothing is unsaved, so nothing is asked
    _wait(qtbot, panel)
    assert left == [3, 2]
    assert [layer.name for layer in viewer.layers] == ["c", "c labels"]
    assert camera_of(viewer).zoom == pytest.approx(7.5)
    assert viewer.dims.current_step[0] == 3
    opened = panel.case.loaded.layers[0][1]["contrast_limits"]
    assert viewer.layers["c"].contrast_limits[1] < opened[1]

    answers = ["cancel", "save"]
    monkeypatch.setattr(review_widget, "ask_unsaved", lambda *_, **__: answers.pop(0))
    viewer.layers["c labels"].paint((20, 30, 12), 2)
    panel.next_button.click()
    assert [layer.name for layer in viewer.layers] == ["c", "c labels"]
    panel.next_button.click()
    qtbot.waitUntil(lambda: "a" in viewer.layers and not panel.busy, timeout=_WAIT_MS)
    panel.decisions["accepted"].click()
    _, correct = viewer.window.add_plugin_dock_widget("medseg", "Correct")
    for _ in range(2):  # started, stopped and started again, it works on the case's own session
        correct.start()
        assert correct.session is panel.case.session
        correct.leave(may_cancel=False)
    assert session_of(viewer.layers["a labels"]) is panel.case.session
    panel.filter.setCurrentText("corrected")
    assert [panel.table.item(n, 0).text() for n in range(3) if not panel.table.isRowHidden(n)] == ["b", "c"]
    viewer.window.remove_dock_widget("all")
    panel.deleteLater()

    _, again = viewer.window.add_plugin_dock_widget("medseg", "Review queue")
    assert again.who.text() == "B. Reader"
    again.open_queue(cohort)
    _wait(qtbot, again)
    assert _statuses(again) == {"b": "corrected", "c": "corrected", "a": "accepted"}
    case, _ = read_dataset(cohort / "corrected").cases
    saved = nib.load(case.label)
    grid = LayerGrid(medseg.read(cohort / "b.nii.gz").geometry)
    np.testing.assert_array_equal(np.asanyarray(saved.dataobj), grid.to_array(painted))
    np.testing.assert_array_equal(saved.affine, nib.load(cohort / "b.nii.gz").affine)
    provenance = json.loads((cohort / "corrected" / "labelsTr" / "b.provenance.json").read_text())
    assert (provenance["who"], provenance["case"]) == ("B. Reader", "b")
    changed = {one["name"]: (one["added"], one["removed"]) for one in provenance["labels"]}
    assert changed["Posterior"] == (int((painted == 2).sum()), 0)


def test_a_window_that_closes_while_a_case_is_read_lets_go_of_the_case(napari, qtbot, cohort, monkeypatch):
    import threading

    from napari_medseg._qt import open_case

    reading, go_on, loaded = threading.Event(), threading.Event(), []

    def slow(queue, case_id):
        reading.set()
        assert go_on.wait(20)
        loaded.append(load_case(queue, case_id))
        return loaded[0]

    monkeypatch.setattr(open_case, "load_case", slow)
    with new_window(napari) as viewer:
        _, panel = viewer.window.add_plugin_dock_widget("medseg", "Review queue")
        panel.open_queue(cohort)
        _wait(qtbot, panel)
        panel.next_button.click()
        assert reading.wait(20)
        assert not panel.table.isEnabled()
        assert panel.bar.isVisibleTo(panel)
    go_on.set()
    qtbot.waitUntil(lambda: bool(loaded) and not loaded[0].session.folder.exists(), timeout=_WAIT_MS)


def test_who_decides_is_asked_once_and_a_decision_waits_for_no_name(
    viewer, qtbot, panel, cohort, monkeypatch
):
    from napari_medseg._qt import who_field

    asked, answers = [], [("", False), ("A. Reader ", True)]

    def answer(*_):
        asked.append(1)
        return answers.pop(0)

    monkeypatch.setattr(who_field.QInputDialog, "getText", answer)
    panel.open_queue(cohort)
    _wait(qtbot, panel)
    panel.next_button.click()
    _wait(qtbot, panel)
    for status in ("accepted", "rejected"):
        panel.decisions[status].click()
        assert panel.queue["b"].status == status
    assert (len(asked), panel.queue["b"].who) == (1, None)
    _, other = viewer.window.add_plugin_dock_widget("medseg", "Start here")  # another window would ask anew
    field = who_field.WhoField(other)
    field.ask_once()
    assert (field.name, who_field.WhoField(other).name) == ("A. Reader", "A. Reader")
    field.ask_once()
    assert len(asked) == 2
