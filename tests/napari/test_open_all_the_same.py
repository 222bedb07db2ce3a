"""What medseg refuses, but could open repaired: the question, and that the answer is kept."""

from __future__ import annotations

from threading import Event

import nibabel as nib
import numpy as np
import pytest
from napari_medseg import _writer
from napari_medseg._reader import read_layers
from napari_medseg._sample_data import make_scan
from napari_medseg.layers import METADATA_KEY, Opening, image_layers, opening_of, volume_of
from napari_medseg.opening import Questions, open_or_ask, question
from napari_medseg.panels.series import first_choice, series_rows
from napari_medseg.run_options import RunOptions
from napari_medseg.segmenting import opened_choice, run

import medseg

from .conftest import in_the_window

_SHEAR = np.array(((-0.8, 0, 0, 9), (0, 1.5, 0.9, -3), (0, 0.1, 4, 2), (0, 0, 0, 1)))


def _never(*_):
    raise AssertionError("nothing was to be asked")


def _person(agrees=True):
    told = []

    def consent(name, reasons):
        told.append((name, reasons))
        return agrees

    return Questions(_never, consent), told


def _sheared_sample(path):
    """The made hippocampus on a tilted grid: a model takes it, `medseg.read` alone does not."""
    scan, _ = make_scan()
    affine = scan.geometry.affine.copy()
    affine[:3, 2] += 0.06 * affine[:3, 1]
    image = nib.Nifti1Image(scan.data[0], affine)
    image.set_sform(affine, code=1)
    nib.save(image, path)
    return affine


def test_a_tilted_stack_of_uneven_slices_opens_with_both_allowed_and_both_told(real_data):
    folder = real_data / "dicom" / "ct_gantry_tilt_variable_spacing"
    questions, told = _person()
    opened = open_or_ask(folder, medseg.read, questions)
    assert opened.opening == Opening(None, ("tilt", "uneven-spacing"))
    expected = medseg.read(folder, allow=["tilt", "uneven-spacing"])
    np.testing.assert_array_equal(opened.item.data, expected.data)
    assert opened.item.verdict == expected.verdict
    ((name, reasons),) = told
    text, meaning = question(name, reasons)
    assert "ct_gantry_tilt_variable_spacing" in text
    assert "1.081 to 6.999 mm apart: resampled linearly along the stack to 135 planes" in meaning
    assert "18.50 degrees" in meaning
    assert set(opened.agreed) == set(reasons) == set(expected.verdict.reasons)


def test_a_missing_slice_is_told_with_what_fills_it_and_no_opens_nothing(real_data):
    folder = real_data / "dicom" / "missing_slice"
    questions, told = _person(agrees=False)
    assert open_or_ask(folder, medseg.read, questions) is None
    ((_, (reason,)),) = told
    assert "1 of 5 slices missing: filled in by linear interpolation" in reason.message
    with pytest.raises(medseg.InputRefused, match="1 of 5 slices is missing") as refusal:
        open_or_ask(folder, medseg.read, None)
    assert refusal.value.code == "missing-slices"


def test_what_nothing_repairs_is_refused_unasked(tmp_path, real_data):
    nothing_left = nib.Nifti1Image(np.full((4, 5, 6), np.nan, np.float32), np.diag((1, 2, 3, 1)))
    nib.save(nothing_left, tmp_path / "nan.nii")
    asks_nobody = Questions(_never, _never)
    with pytest.raises(medseg.InputRefused, match="nothing is left of the scan"):
        open_or_ask(tmp_path / "nan.nii", medseg.read, asks_nobody)
    (tmp_path / "cut.nii").write_bytes((tmp_path / "nan.nii").read_bytes()[:400])
    with pytest.raises(medseg.InputRefused, match=r"cut\.nii"):
        open_or_ask(tmp_path / "cut.nii", medseg.read, asks_nobody)


def test_a_fault_that_comes_to_light_behind_another_is_asked_about_in_the_same_question(tmp_path):
    data = np.random.default_rng(0).normal(100, 9, (6, 7, 8)).astype(np.float32)
    data[2, 3, 4] = np.inf
    image = nib.Nifti1Image(data, _SHEAR)
    image.set_sform(_SHEAR, code=1)
    nib.save(image, tmp_path / "both.nii")
    questions, told = _person()
    opened = open_or_ask(tmp_path / "both.nii", medseg.read, questions)
    assert opened.opening.allow == ("non-finite", "shear")
    assert [reason.code for _, reasons in told for reason in reasons] == ["shear", "non-finite"]
    assert opened.item.data[0, 2, 3, 4] == 0
    np.testing.assert_allclose(opened.item.geometry.affine, _SHEAR, atol=1e-6)


def test_volumes_in_time_are_chosen_like_series_and_one_may_need_the_question_too(tmp_path):
    data = np.random.default_rng(0).normal(100, 9, (6, 7, 8, 3)).astype(np.float32)
    data[1, 2, 3, 1] = np.nan
    image = nib.Nifti1Image(data, np.diag((0.8, 1.5, 4, 1)))
    image.set_sform(image.affine, code=1)
    nib.save(image, tmp_path / "bold.nii.gz")
    rows = series_rows(medseg.inspect(tmp_path / "bold.nii.gz"))
    assert [row.cells[0] for row in rows] == [f"{n}: volume {n} of 3, float32, RAS" for n in (1, 2, 3)]
    assert [(row.is_refused, row.may_open) for row in rows] == [(False, True), (True, True), (False, True)]
    assert first_choice(rows[1:]) == 1
    assert first_choice(rows[1:2]) == 0
    told = []
    for n, allow in ((2, ()), (1, ("non-finite",))):
        answers = Questions(lambda name, rows, n=n: rows[n].id, lambda *asked: told.append(asked) or True)
        opened = open_or_ask(tmp_path / "bold.nii.gz", medseg.read, answers)
        assert opened.opening == Opening(str(n + 1), allow)
        np.testing.assert_array_equal(opened.item.data[0], np.nan_to_num(data[..., n]))
    assert len(told) == 1


def test_a_real_time_series_opens_the_chosen_volume(real_data):
    path = real_data / "nifti" / "nibabel" / "functional.nii"
    answers = Questions(lambda name, rows: rows[16].id, _never)
    opened = open_or_ask(path, medseg.read, answers)
    assert opened.opening == Opening("17")
    np.testing.assert_array_equal(opened.item.data[0], nib.load(path).get_fdata(dtype=np.float32)[..., 16])


def test_segmenting_it_tells_what_was_allowed_and_its_result_opens_and_saves_on_the_same_grid(tmp_path):
    affine = _sheared_sample(tmp_path / "tilted.nii.gz")
    questions, _ = _person()
    scan = open_or_ask(tmp_path / "tilted.nii.gz", medseg.read, questions)
    layers = image_layers(scan.item, "tilted", scan.opening)
    metadata = [options["metadata"] for _, options, _ in layers]
    opening = opening_of(metadata)
    assert opening == Opening(None, ("shear",))
    volume = volume_of([(data, options["metadata"]) for data, options, _ in layers])
    hippocampus = opened_choice(medseg.load_model("hippocampus").path)
    result = run(volume, hippocampus, RunOptions(), lambda *_: None, Event(), opening)
    assert result.provenance["options"]["allow"] == ["shear"]
    assert "shear" in result.verdict.codes
    expected = medseg.infer(tmp_path / "tilted.nii.gz", "hippocampus", allow=["shear"])
    assert result.provenance["options"] == dict(expected.provenance)["options"]
    np.testing.assert_array_equal(result.labels.data, expected.labels.data)

    medseg.write(result.labels, tmp_path / "tilted_seg.nii.gz")
    np.testing.assert_allclose(nib.load(tmp_path / "tilted_seg.nii.gz").affine, affine, atol=1e-5)
    with pytest.raises(medseg.InputRefused, match="right angles"):
        read_layers(str(tmp_path / "tilted_seg.nii.gz"))
    labels = open_or_ask(tmp_path / "tilted_seg.nii.gz", medseg.read_labels, questions)
    assert labels.opening.allow == ("shear",)
    (data, options, _) = layers[0]
    (saved,) = _writer.write_image_nrrd(str(tmp_path / "saved"), data, options)
    np.testing.assert_allclose(medseg.read(saved, allow=["shear"]).geometry.affine, affine, atol=1e-5)


def test_channels_that_were_opened_differently_are_one_scan_with_all_that_was_allowed():
    kept = [
        {METADATA_KEY: {"opening": one}}
        for one in (Opening("1", ("shear",)), Opening("2", ("non-finite", "shear")))
    ]
    assert opening_of(kept) == Opening(None, ("non-finite", "shear"))
    assert opening_of([{METADATA_KEY: {}}]) == Opening()


@pytest.mark.filterwarnings("ignore:`json_encoders` is deprecated")
def test_the_window_asks_a_person_and_a_script_gets_the_error(viewer, qtbot, tmp_path):
    from napari_medseg._qt.opening_questions import OPEN
    from qtpy.QtCore import QTimer
    from qtpy.QtWidgets import QApplication, QMessageBox

    _sheared_sample(tmp_path / "tilted.nii.gz")
    path = str(tmp_path / "tilted.nii.gz")
    viewer.window.show()
    with pytest.raises(medseg.InputRefused, match="allow=shear"):
        viewer.open(path, plugin="medseg")
    seen = []

    def answer(opens):
        (box,) = (x for x in QApplication.topLevelWidgets() if isinstance(x, QMessageBox) and x.isVisible())
        assert box.defaultButton() is box.button(QMessageBox.StandardButton.Cancel)
        button = next(x for x in box.buttons() if (x.text() == OPEN) is opens)
        seen.append((box.text(), box.informativeText()))
        button.click()

    for opens, count in ((False, 0), (True, 1)):
        QTimer.singleShot(500, lambda opens=opens: answer(opens))
        in_the_window(qtbot, lambda: viewer.open(path, plugin="medseg"))
        assert len(viewer.layers) == count
    assert "tilted.nii.gz" in seen[0][0]
    assert "degrees away from right angles" in seen[0][1]
    kept = viewer.layers[0].metadata[METADATA_KEY]
    assert kept["opening"] == Opening(None, ("shear",))
    assert kept["verdict"].codes == ("shear",)
    _, widget = viewer.window.add_plugin_dock_widget("medseg", "Segment")
    widget.models.list.setCurrentIndex(widget.models.list.findText("hippocampus (built-in)"))
    widget.run_button.click()
    qtbot.waitUntil(lambda: not widget.running, timeout=60_000)
    provenance = viewer.layers[-1].metadata[METADATA_KEY]["provenance"]
    assert provenance["options"]["allow"] == ["shear"]
    assert "right angles" in widget.banner.text()
