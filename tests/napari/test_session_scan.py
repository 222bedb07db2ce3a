"""The scan of a recovered session in a real window, and which layer is corrected."""

from __future__ import annotations

import hashlib
import json
import shutil

import nibabel as nib
import numpy as np
import pytest
from napari_medseg._sample_data import make_scan
from napari_medseg.correction.correcting import known_scan, suggested_path
from napari_medseg.correction.session_scan import read_scan
from napari_medseg.layers import METADATA_KEY, Opening, image_layers, labels_layer
from napari_medseg.recovery.known_scan import NO_SCAN
from napari_medseg.recovery.sessions import open_session, recover

import medseg

from .conftest import new_window

pytestmark = pytest.mark.filterwarnings("ignore:`json_encoders` is deprecated")

_WAIT_MS = 20_000


@pytest.fixture(scope="module")
def window(napari, qapp):
    """One window for all tests here: to open one takes seconds."""
    with new_window(napari) as made:
        yield made


@pytest.fixture
def viewer(window, qtbot, tmp_path, monkeypatch):
    """That window, empty; sessions lie in a folder of the test."""
    monkeypatch.setenv("MEDSEG_SESSIONS", str(tmp_path / "sessions"))
    yield window
    window.window.remove_dock_widget("all")
    window.layers.clear()


@pytest.fixture
def widget(viewer, monkeypatch):
    """The widget in its dock; what it corrects is discarded at the end."""
    from napari_medseg._qt import correct_widget

    _, made = viewer.window.add_plugin_dock_widget("medseg", "Correct")
    monkeypatch.setattr(correct_widget, "ask_unsaved", lambda *_, **__: "discard")
    yield made
    made.leave(may_cancel=False)


@pytest.fixture
def scan_path(tmp_path):
    """The sample scan in a file."""
    scan, _ = make_scan()
    path = tmp_path / "scan.nii.gz"
    medseg.write(scan, path)
    return path


def _left_behind(viewer, widget, path):
    """A session as a killed window leaves it: begun on the opened scan, with an edit."""
    viewer.open(str(path), plugin="medseg")
    _, made = make_scan()
    truth = medseg.LabelMap(made.data, medseg.read(path).geometry, made.labels)
    data, options, _ = labels_layer(truth, "structures")
    viewer.add_labels(data, **options)
    widget.chooser.button.click()
    assert widget.session is not None, widget.banner.text()
    widget.link.layer.data[5, 5, 5] = 1
    facts = widget.session.facts
    widget.leave(may_cancel=False)
    viewer.layers.clear()
    again = open_session(truth, case=facts.case, scan=facts.scan)
    truth.data[3, 3, 3] ^= 1
    again.sync(everything=True)
    again.close()
    return recover(again.folder)


def test_a_recovered_session_opens_its_scan_again_below_the_labels(viewer, qtbot, widget, scan_path):
    session = _left_behind(viewer, widget, scan_path)
    widget.resume(session)
    qtbot.waitUntil(lambda: widget.link.correction.image is not None, timeout=_WAIT_MS)
    assert [one.name for one in viewer.layers] == ["scan", "structures"]
    assert viewer.layers.selection.active == widget.link.layer
    np.testing.assert_array_equal(widget.link.correction.image, medseg.read(scan_path).data[0])
    assert widget.chooser.scan.layer is viewer.layers[0]
    assert widget.tools.threshold.isEnabled()
    assert widget.tools.scribbles.draw.isEnabled()
    assert not widget.banner.isVisibleTo(widget), widget.banner.text()
    widget.chooser.scan.choose(None)
    assert widget.link.correction.image is None
    assert not widget.tools.threshold.isEnabled()


def test_a_scan_that_was_replaced_is_not_taken_by_itself_but_by_choice_with_a_warning(
    viewer, qtbot, widget, scan_path, monkeypatch
):
    from napari_medseg._qt import correct_widget

    session = _left_behind(viewer, widget, scan_path)
    scan, _ = make_scan()
    medseg.write(medseg.Volume(scan.data[:, ::-1].copy(), scan.geometry), scan_path, overwrite=True)
    widget.resume(session)
    qtbot.waitUntil(lambda: "does not hold the voxels any more" in widget.banner.text(), timeout=_WAIT_MS)
    assert widget.link.correction.image is None
    assert widget.chooser.open_scan.isVisibleTo(widget)
    monkeypatch.setattr(correct_widget, "ask_scan", lambda *_: scan_path)
    widget.chooser.open_scan.click()
    qtbot.waitUntil(lambda: widget.link.correction.image is not None, timeout=_WAIT_MS)
    assert "Make sure that it is the right one" in widget.banner.text()
    assert not widget.chooser.open_scan.isVisibleTo(widget)


def test_a_missing_scan_is_taken_as_soon_as_the_window_has_it(viewer, qtbot, widget, scan_path):
    session = _left_behind(viewer, widget, scan_path)
    moved = scan_path.rename(scan_path.with_name("moved.nii.gz"))
    widget.resume(session)
    qtbot.waitUntil(lambda: "press Open …" in widget.banner.text(), timeout=_WAIT_MS)
    scan, _ = make_scan()
    other = medseg.Volume(scan.data + 1, scan.geometry)
    for one, name in ((other, "another"), (medseg.read(moved), "moved")):
        ((data, options, _),) = image_layers(one, name)
        viewer.add_image(data, **options)
    qtbot.waitUntil(lambda: widget.link.correction.image is not None, timeout=_WAIT_MS)
    assert [one.name for one in viewer.layers] == ["moved", "structures", "another"]
    assert widget.chooser.scan.layer is viewer.layers["moved"]
    assert not widget.banner.isVisibleTo(widget), widget.banner.text()


def test_a_scan_chosen_later_is_told_of_and_opened_again_as_it_was_opened(viewer, qtbot, widget, tmp_path):
    scan, made = make_scan()
    affine = scan.geometry.affine.copy()
    affine[:3, 2] += 0.06 * affine[:3, 1]
    path = tmp_path / "tilted.nii.gz"
    nib.save(nib.Nifti1Image(np.stack([scan.data[0] + 1, scan.data[0]], axis=-1), affine), path)
    opening = Opening("2", ("shear",))
    chosen = medseg.read(path, series="2", allow=["shear"])
    data, options, _ = labels_layer(medseg.LabelMap(made.data, chosen.geometry, made.labels), "structures")
    viewer.add_labels(data, **options)
    widget.chooser.button.click()
    assert widget.session.scan == NO_SCAN
    ((data, options, _),) = image_layers(chosen, "tilted", opening)
    widget.chooser.scan.choose(viewer.add_image(data, **options))
    assert suggested_path(widget.session) == tmp_path / "tilted_seg.nii.gz"
    widget.link.layer.data[3, 3, 3] ^= 1
    widget.session.save(tmp_path / "out.nii.gz")
    told = json.loads((tmp_path / "out.provenance.json").read_text())["scan"]
    assert told == {
        "name": "tilted.nii.gz",
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "series": "2",
        "allow": ["shear"],
    }
    widget.link.layer.data[4, 4, 4] ^= 1
    widget.session.sync(everything=True)
    killed = shutil.copytree(widget.session.folder, tmp_path / "killed" / "case")
    widget.leave(may_cancel=False)
    viewer.layers.clear()
    widget.resume(recover(killed))
    qtbot.waitUntil(lambda: widget.link.correction.image is not None, timeout=_WAIT_MS)
    np.testing.assert_array_equal(widget.link.correction.image, chosen.data[0])
    assert viewer.layers[0].metadata[METADATA_KEY]["opening"] == opening
    assert not widget.banner.isVisibleTo(widget), widget.banner.text()


def test_a_scan_that_is_turned_against_the_labels_is_warned_of_and_not_kept(viewer, widget):
    scan, made = make_scan()
    affine, c, s = scan.geometry.affine.copy(), np.cos(0.1), np.sin(0.1)
    middle = affine @ (*(np.array(scan.geometry.shape) - 1) / 2, 1)
    affine[:3, :3] = np.array(((c, -s, 0), (s, c, 0), (0, 0, 1))) @ affine[:3, :3]
    affine[:3, 3] += (middle - affine @ np.linalg.solve(scan.geometry.affine, middle))[:3]
    data, options, _ = labels_layer(made, "structures")
    viewer.add_labels(data, **options)
    widget.chooser.button.click()
    turned = medseg.Volume(scan.data, medseg.Geometry(scan.geometry.shape, affine))
    ((data, options, _),) = image_layers(turned, "turned")
    widget.chooser.scan.choose(viewer.add_image(data, **options))
    assert "turned against each other" in widget.banner.text()
    assert widget.session.scans == ()


def test_a_file_in_the_place_of_a_repaired_scan_is_not_repaired_unasked(tmp_path):
    scan, _ = make_scan()
    affine = scan.geometry.affine.copy()
    affine[:3, 2] += 0.06 * affine[:3, 1]
    path = tmp_path / "tilted.nii.gz"
    nib.save(nib.Nifti1Image(scan.data[0], affine), path)
    own = medseg.read(path, allow=["shear"])
    known = known_scan(own, Opening(None, ("shear",)))
    assert read_scan(path, known, own.geometry).channel == 0
    nib.save(nib.Nifti1Image(scan.data[0][::-1].copy(), affine), path)
    with pytest.raises(medseg.InputRefused, match="right angles"):
        read_scan(path, known, own.geometry)


def test_the_labels_follow_the_selection_until_the_start_and_then_stay(viewer, widget):
    scan, truth = make_scan()
    ((data, options, _),) = image_layers(scan, "scan")
    viewer.add_image(data, **options)
    for name in ("first", "second"):
        data, options, _ = labels_layer(
            medseg.LabelMap(truth.data.copy(), truth.geometry, truth.labels), name
        )
        viewer.add_labels(data, **options)
    first, second = viewer.layers["first"], viewer.layers["second"]
    for chosen in (first, second, first):
        viewer.layers.selection.active = chosen
        assert widget.chooser.labels.layer is chosen
    viewer.layers.selection.active = viewer.layers["scan"]
    assert widget.chooser.labels.layer is first
    widget.chooser.button.click()
    assert widget.link.layer is first
    assert widget.chooser.hint.text() == "Correcting “first”."
    viewer.layers.selection.active = second
    assert widget.link.layer is widget.chooser.labels.layer is first
    assert "“second” is selected" in widget.chooser.hint.text()
    viewer.layers.selection.active = first
    assert widget.chooser.hint.text() == "Correcting “first”."
