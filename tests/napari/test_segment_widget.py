"""Segmenting: the plain parts without a viewer, then real runs in a real window."""

from __future__ import annotations

from threading import Event

import numpy as np
import pytest
from napari_medseg._sample_data import make_scan
from napari_medseg.layers import METADATA_KEY, image_layers, labels_layer, volume_of
from napari_medseg.panels.verdicts import banner
from napari_medseg.panels.volumes import volume_rows
from napari_medseg.run_options import RunOptions
from napari_medseg.segmenting import (
    Cancelled,
    channels_at_first,
    devices,
    failure,
    model_choices,
    opened_choice,
    run,
)

import medseg
from medseg.volume import Source

pytestmark = pytest.mark.filterwarnings("ignore:`json_encoders` is deprecated")

_WAIT_MS = 60_000
_SHEARED = np.array(((-0.8, 0, 0, 9), (0, 1.5, 0, -3), (0, 1.3, 4, 2), (0, 0, 0, 1)))


def _two_channels(tmp_path):
    data = np.random.default_rng(0).normal(size=(2, 9, 7, 5)).astype(np.float32)
    source = Source(paths=(tmp_path / "case.nii.gz",), format="nifti", modality="MR")
    doubt = medseg.Verdict.of("warning", "odd", "something is odd")
    return medseg.Volume(data, medseg.Geometry((9, 7, 5), _SHEARED), source, doubt)


def _large_scan():
    """The sample mirrored at its borders: many windows for the network, where the sample is one."""
    scan, _ = make_scan()
    data = np.pad(scan.data, ((0, 0), (0, 30), (0, 20), (0, 30)), mode="symmetric")
    return medseg.Volume(data, medseg.Geometry(data.shape[1:], scan.geometry.affine), scan.source)


def _kept(layers):
    return [options["metadata"][METADATA_KEY] for _, options, _ in layers]


def test_the_channels_of_a_file_come_together_again_as_they_were(tmp_path):
    volume = _two_channels(tmp_path)
    layers = image_layers(volume, "case")
    back = volume_of([(data, options["metadata"]) for data, options, _ in layers])
    np.testing.assert_array_equal(back.data, volume.data)
    assert back.geometry == volume.geometry
    assert back.source is volume.source
    assert back.verdict == volume.verdict
    (data, options, _) = layers[1]
    alone = volume_of([(data, options["metadata"])])
    assert np.shares_memory(alone.data, volume.data)
    np.testing.assert_array_equal(alone.data[0], volume.data[1])


def test_channels_of_two_grids_are_refused(tmp_path):
    volume = _two_channels(tmp_path)
    moved = medseg.Volume(volume.data, volume.geometry.cropped((1, 0, 0), (9, 7, 5)))
    pair = [image_layers(one, "case")[0] for one in (volume, moved)]
    with pytest.raises(medseg.InputRefused, match="channels must share one grid"):
        volume_of([(data, options["metadata"]) for data, options, _ in pair])


def test_a_files_channels_are_proposed_in_their_order_and_other_files_after_the_selected_one(tmp_path):
    two = _kept(image_layers(_two_channels(tmp_path), "case"))
    other = [{"source": Source(paths=(tmp_path / "flair.nii.gz",))}]
    assert channels_at_first(("t1", "flair"), 2, [*other, *reversed(two)]) == [2, 1]
    assert channels_at_first(("t1", "flair"), 0, [*other, *two]) == [0, 1]
    assert channels_at_first(("t1",), 1, [*other, *two]) == [1]


def test_volumes_follow_the_determinant_and_new_ids_get_a_row():
    ids = np.random.default_rng(1).choice(np.array((0, 1, 4), np.uint8), (9, 7, 5))
    geometry = medseg.Geometry((9, 7, 5), _SHEARED)
    names = medseg.LabelSet.from_names({1: "liver", 2: "spleen", 4: "kidney"})
    data, options, _ = labels_layer(medseg.LabelMap(ids, geometry, names), "seg")
    ids[0, 0, 0] = 9
    rows = volume_rows(data, options["metadata"])
    assert [(row.id, row.name) for row in rows] == [
        (1, "liver"),
        (2, "spleen"),
        (4, "kidney"),
        (9, "label 9"),
    ]
    for row in rows:
        assert row.voxels == np.sum(ids == row.id)
        assert row.volume_ml == pytest.approx(row.voxels * 0.8 * 1.5 * 4 / 1000)


def test_a_picture_has_no_volume_and_says_why():
    geometry = medseg.Geometry((4, 3, 1), np.diag((-1.0, -1.0, 1.0, 1.0)), is_2d=True, spacing_known=False)
    labelmap = medseg.LabelMap(
        np.ones((4, 3, 1), np.uint8), geometry, medseg.LabelSet.from_names({1: "cell"})
    )
    data, options, _ = labels_layer(labelmap, "seg")
    (row,) = volume_rows(data, options["metadata"])
    assert (row.voxels, row.volume_ml, row.text) == (12, None, "-")
    assert row.reason


def test_models_are_listed_with_scope_card_and_channels():
    automatic, *named = model_choices()
    assert (automatic.bundle, automatic.channels) == (None, ("",))
    by_name = {choice.bundle.name: choice for choice in named}
    assert by_name["hippocampus"].channels == ("MRI",)
    assert "T1-weighted" in by_name["hippocampus"].scope
    assert by_name["hippocampus"].card.startswith("# hippocampus")
    assert opened_choice(by_name["hippocampus"].bundle.path).bundle.hash == by_name["hippocampus"].bundle.hash


def test_devices_are_auto_and_cpu_and_cuda_only_with_a_driver(monkeypatch):
    monkeypatch.setattr("napari_medseg.segmenting.nvidia_driver_present", lambda: False)
    assert devices() == ("auto", "cpu")


def test_a_run_ends_at_the_first_window_after_cancel_and_tells_how_far_it_is():
    told, cancelled = [], Event()

    def tell(stage, done, total):
        told.append((stage, done, total))
        cancelled.set()

    choice = next(choice for choice in model_choices() if choice.title.startswith("hippocampus"))
    with pytest.raises(Cancelled):
        run(_large_scan(), choice, RunOptions(device="cpu", overlap=0.8), tell, cancelled)
    ((stage, done, total),) = told
    assert stage == "predict"
    assert 0 < done < total


def test_where_the_scan_decides_on_no_model_or_several_the_window_asks_to_choose_one(monkeypatch, tmp_path):
    scan, _ = make_scan()
    automatic, _, hippocampus = model_choices()

    def said(volume):
        with pytest.raises(medseg.InputRefused) as caught:
            run(volume, automatic, RunOptions(device="cpu"), lambda *_: None, Event())
        return caught.value.code, failure(caught.value)[0].reasons[0].message.split("\n")

    code, (_, *models, cure) = said(_two_channels(tmp_path))
    assert (code, models) == ("no-model", ["brain (built-in)", "hippocampus (built-in)"])
    assert cure == "If you know better, choose one above."
    for place in ("medseg.pipeline.models", "napari_medseg.segmenting"):
        monkeypatch.setattr(f"{place}.candidates", lambda: [hippocampus.bundle] * 2)
    code, (_, *models, cure) = said(scan)
    assert (code, models) == ("several-models", ["hippocampus (built-in)"] * 2)
    assert cure == "Choose a model above."


def test_every_verdict_is_readable_and_names_its_reasons():
    def luminance(colour):  # WCAG 2.2, relative luminance
        channels = np.array([int(colour[n : n + 2], 16) for n in (1, 3, 5)]) / 255
        linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
        return float(linear @ (0.2126, 0.7152, 0.0722))

    for status in ("ok", "repaired", "warning", "refused", "failed"):
        reasons = () if status == "ok" else (medseg.Reason("a", "one reason"), medseg.Reason("b", "another"))
        shown = banner(medseg.Verdict(status, reasons))
        assert all(reason.message in shown.text for reason in reasons)
        dark, bright = sorted(luminance(c) for c in (shown.background, shown.foreground))
        assert (bright + 0.05) / (dark + 0.05) >= 4.5


def test_a_refusal_is_shown_as_one_and_a_bug_is_named_as_a_bug():
    refused, is_bug = failure(
        medseg.InputRefused("a.nii: 2D, expected 3D: give the whole scan", code="not-3d")
    )
    assert (refused.status, refused.codes, is_bug) == ("refused", ("not-3d",), False)
    broken, is_bug = failure(KeyError("x"))
    assert (broken.status, is_bug) == ("failed", True)
    assert "report" in broken.reasons[0].message


@pytest.fixture
def widget(viewer):
    """The segment widget in its dock, with the sample open."""
    viewer.open_sample("medseg", "hippocampus")
    _, made = viewer.window.add_plugin_dock_widget("medseg", "Segment")
    made.models.list.setCurrentIndex(made.models.list.findText("hippocampus (built-in)"))
    return made


def _volumes(widget):
    table = widget.volumes.table
    return {table.item(n, 0).text(): int(table.item(n, 2).text()) for n in range(table.rowCount())}


def test_a_run_gives_a_labels_layer_a_verdict_and_volumes_that_follow_edits(viewer, qtbot, widget):
    scan, truth = make_scan()
    widget.run_button.click()
    assert widget.cancel_button.isEnabled()
    inputs = (widget.run_button, widget.models.list, widget.models.folder, widget.channels.lists[0])
    assert not any(part.isEnabled() for part in (*inputs, widget.options.tta, widget.options.largest))
    qtbot.waitUntil(lambda: not widget.running, timeout=_WAIT_MS)
    layer = viewer.layers[-1]
    assert layer.name == "sample hippocampus hippocampus"
    assert widget.banner.text().endswith("OK: nothing speaks against the scan, the model or the result.")
    expected = medseg.infer(scan, "hippocampus").labels
    data, _, _ = labels_layer(expected, "x")
    np.testing.assert_array_equal(layer.data, data)
    assert layer.metadata[METADATA_KEY]["geometry"] == truth.geometry
    assert layer.metadata[METADATA_KEY]["provenance"]

    def counted(layer):
        counts = {"Anterior": int(np.sum(layer.data == 1)), "Posterior": int(np.sum(layer.data == 2))}
        return counts | ({"label 7": int(np.sum(layer.data == 7))} if (layer.data == 7).any() else {})

    qtbot.waitUntil(lambda: _volumes(widget) == counted(layer), timeout=5000)
    layer.selected_label, layer.brush_size = 7, 5
    layer.paint((16, 20, 20), 7)
    assert "label 7" in counted(layer)
    qtbot.waitUntil(lambda: _volumes(widget) == counted(layer), timeout=5000)
    layer.undo()
    assert "label 7" not in counted(layer)
    qtbot.waitUntil(lambda: _volumes(widget) == counted(layer), timeout=5000)
    viewer.layers.remove(layer)
    assert widget.volumes.table.rowCount() == 0


def test_cancel_leaves_no_layer_and_the_widget_ready(viewer, qtbot, widget):
    ((data, options, _),) = image_layers(_large_scan(), "large")
    viewer.add_image(data, **options)
    assert widget.channels.layers[0].name == "large"  # the layer that is selected
    widget.options.overlap.setValue(0.8)
    widget.run_button.click()
    qtbot.waitUntil(lambda: "Segmenting" in widget.stage.text(), timeout=_WAIT_MS)
    assert 0 < widget.bar.value() < widget.bar.maximum()
    widget.cancel_button.click()
    qtbot.waitUntil(lambda: not widget.running, timeout=_WAIT_MS)
    assert [layer.name for layer in viewer.layers] == ["sample hippocampus", "large"]
    assert widget.run_button.isEnabled()
    assert not widget.banner.isVisibleTo(widget)


def test_what_is_wrong_is_said_in_the_widget_with_the_cure(viewer, qtbot, widget, tmp_path):
    (tmp_path / "broken").mkdir()
    widget.models.open(str(tmp_path / "broken"))
    assert "this is not a model bundle" in widget.banner.text()
    geometry = medseg.Geometry((40, 30, 1), np.diag((-1.0, -1.0, 1.0, 1.0)), is_2d=True, spacing_known=False)
    picture = medseg.Volume(np.ones((1, 40, 30, 1), np.uint8), geometry, Source(format="image"))
    ((data, options, _),) = image_layers(picture, "picture")
    viewer.add_image(data, **options)
    widget.channels.lists[0].setCurrentIndex(1)
    widget.run_button.click()
    qtbot.waitUntil(lambda: not widget.running, timeout=_WAIT_MS)
    assert widget.banner.text().startswith("Refused: ")
    assert "3D" in widget.banner.text()


def test_without_a_scan_the_widget_says_how_to_open_one(viewer, widget):
    viewer.layers.clear()
    assert not widget.run_button.isEnabled()
    assert "Open one with medseg" in widget.channels.hint.text()
    viewer.add_image(np.zeros((4, 5, 6)))
    assert not widget.run_button.isEnabled()
    assert "not opened by medseg" in widget.channels.hint.text()


def test_a_closed_dock_is_not_called_again(viewer, qtbot, widget):
    from qtpy.QtCore import QEvent
    from qtpy.QtWidgets import QApplication

    data, options, _ = labels_layer(make_scan()[1], "labels")
    layer = viewer.add_labels(data, **options)
    viewer.window.remove_dock_widget("all")
    widget.deleteLater()
    for _ in range(3):
        QApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete.value)
        QApplication.processEvents()
    layer.paint((16, 20, 20), 2)
    viewer.layers.clear()
    viewer.open_sample("medseg", "hippocampus")


def test_the_first_steps_lead_from_an_empty_window_to_segmenting_and_correcting(viewer, qtbot, tmp_path):
    _, start = viewer.window.add_plugin_dock_widget("medseg", "Start here")
    start.open_sample.click()
    assert [layer.name for layer in viewer.layers] == ["sample hippocampus"]
    start.segment.click()
    start.correct.click()
    assert {"Segment (medseg)", "Correct (medseg)"} <= set(viewer.window.dock_widgets)
    (tmp_path / "cut.nii").write_bytes(b"\x5c\x01\0\0" + b"\0" * 100)
    start.open(str(tmp_path / "cut.nii"))
    assert start.banner.text().startswith("Refused: cut.nii")
