"""Opening: several series, intensity windows, and the point of the patient under the cursor."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
from napari_medseg._reader import read_layers
from napari_medseg.layers import LayerGrid, Opening
from napari_medseg.opening import Questions, open_or_ask
from napari_medseg.panels.intensity import CT_WINDOWS, windows_for
from napari_medseg.panels.position import point_text
from napari_medseg.panels.series import first_choice, series_rows

import medseg
from medseg.volume import Source

from .conftest import in_the_window

_OBLIQUE = np.eye(4)
_Q, _R = np.linalg.qr(((0.78, -0.29, 0.1), (0.2, 1.1, 0.9), (-0.09, -0.35, 2.9)))
_OBLIQUE[:3, :3] = _Q * np.sign(np.diag(_R)) * (0.8, 1.2, 3.0)
_OBLIQUE[:3, 3] = (5.0, -7.0, 11.0)


def _ask(answer, agrees=True):
    """A person who takes the row of a number and agrees or not; the rows and the reasons that were shown."""
    shown, told = [], []

    def choose(name, rows):
        shown.extend(rows)
        return None if answer is None else rows[answer].id

    def consent(name, reasons):
        told.extend(reasons)
        return agrees

    return Questions(choose, consent), shown, told


def test_without_a_window_several_series_are_refused_with_the_list(real_data):
    folder = real_data / "dicom" / "repeated_positions_4d"
    with pytest.raises(medseg.InputRefused, match=r"1: MR.*2: MR"):
        read_layers(str(folder))


def test_the_chosen_series_is_read_and_no_choice_reads_nothing(real_data):
    import pydicom

    folder = real_data / "dicom" / "repeated_positions_4d"
    questions, shown, told = _ask(1)
    opened = open_or_ask(folder, medseg.read, questions)
    assert opened.opening == Opening(shown[1].id)
    assert not told
    volume = opened.item
    assert [row.cells[1:] for row in shown] == [("64 x 64 x 4", shown[0].cells[2], "ok")] * 2
    stored = {}
    for file in folder.rglob("*"):
        if file.is_file():
            stored[file.resolve()] = pydicom.dcmread(file).pixel_array
    for slices, path in zip(volume.data[0].transpose(2, 1, 0), volume.source.paths, strict=True):
        np.testing.assert_array_equal(slices, stored[path.resolve()])
    nothing, _, _ = _ask(None)
    assert open_or_ask(folder, medseg.read, nothing) is None


def test_a_series_that_is_refused_says_why_and_is_not_the_first_choice(real_data):
    rows = series_rows(medseg.inspect(real_data / "dicom" / "rtstruct_rt_utils"))
    refused = [row for row in rows if not row.may_open]
    assert refused
    assert all(row.why and row.cells[1] == "-" for row in refused)
    assert first_choice(rows) == 0
    assert first_choice([*refused, rows[0]]) == len(refused)
    assert first_choice(refused) is None


def test_one_series_is_read_without_asking(tmp_path):
    grid = medseg.Geometry((4, 5, 6), _OBLIQUE)
    medseg.write(medseg.Volume(np.ones((1, 4, 5, 6), np.int16), grid), tmp_path / "a.nii")
    questions, shown, told = _ask(0)
    opened = open_or_ask(tmp_path / "a.nii", medseg.read, questions)
    assert opened.item.data.shape == (1, 4, 5, 6)
    assert opened.opening == Opening()
    assert not shown
    assert not told


@pytest.mark.filterwarnings("ignore:`json_encoders` is deprecated")
def test_napari_asks_which_series_to_open(viewer, qtbot, real_data):
    from napari_medseg._qt.series_chooser import SeriesChooser
    from qtpy.QtCore import QTimer
    from qtpy.QtWidgets import QApplication, QDialogButtonBox

    folder = str(real_data / "dicom" / "rtstruct_rt_utils")
    viewer.window.show()
    found = {}

    def answer(press):
        dialog = next(x for x in QApplication.topLevelWidgets() if isinstance(x, SeriesChooser))
        opens = dialog.buttons.button(QDialogButtonBox.StandardButton.Open)
        dialog.table.selectRow(1)  # one that medseg refuses
        found["refused"] = (opens.isEnabled(), dialog.why.text())
        dialog.table.selectRow(2)
        found["accepted"] = opens.isEnabled()
        getattr(dialog, press)()

    def open_and(press):
        QTimer.singleShot(300, lambda: answer(press))
        in_the_window(qtbot, lambda: viewer.open(folder, plugin="medseg"))

    open_and("reject")
    assert not viewer.layers
    with pytest.warns(UserWarning, match="rtstruct_rt_utils"):
        open_and("accept")
    assert found["refused"][0] is False
    assert found["refused"][1]
    assert found["accepted"] is True
    (layer,) = viewer.layers
    assert layer.metadata["medseg"]["geometry"].shape == (100, 50, 1)


def test_the_point_under_the_cursor_is_the_patients_for_an_oblique_scan():
    geometry = medseg.Geometry((14, 11, 7), _OBLIQUE)
    grid = LayerGrid(geometry)
    x, y, z = world = nib.affines.apply_affine(_OBLIQUE, (10, 3, 5))
    place = grid.from_patient(world)
    text = point_text(place, geometry, grid.scale, grid.translate)
    assert f"RAS {x:.1f}, {y:.1f}, {z:.1f} mm" in text
    assert (
        f"{abs(x):.1f} {'right' if x > 0 else 'left'}, {abs(y):.1f} {'anterior' if y > 0 else 'posterior'}"
        in text
    )
    assert "voxel (10, 3, 5)" in text
    # The viewer may have further axes in front, of a layer of time.
    assert point_text((99, *place), geometry, grid.scale, grid.translate) == text
    outside = grid.from_patient(nib.affines.apply_affine(_OBLIQUE, (14, 3, 5)))
    assert "outside the scan" in point_text(outside, geometry, grid.scale, grid.translate)


def test_a_layer_that_was_moved_no_longer_tells_a_point_of_the_patient():
    geometry = medseg.Geometry((14, 11, 7), _OBLIQUE)
    grid = LayerGrid(geometry)
    moved = np.add(grid.translate, (0, 0.5, 0))
    text = point_text((0, 0, 0), geometry, grid.scale, moved)
    assert "moved" in text
    assert "RAS" not in text


def test_ct_offers_the_usual_windows_and_mr_the_one_of_its_own_intensities():
    geometry = medseg.Geometry((14, 11, 7), _OBLIQUE)
    values = np.random.default_rng(0).gamma(2, 90, (1, 14, 11, 7)).astype(np.float32)
    assert windows_for(medseg.Volume(values - 1024, geometry, Source(modality="CT"))) == CT_WINDOWS
    assert {w.name: w.limits for w in CT_WINDOWS}["Lung"] == (-1350, 150)
    (own,) = windows_for(medseg.Volume(values, geometry, Source(modality="MR")))
    np.testing.assert_allclose(own.limits, np.percentile(values, (0.5, 99.5)), rtol=1e-5)


@pytest.mark.filterwarnings("ignore:`json_encoders` is deprecated")
def test_a_window_button_changes_the_contrast_and_the_cursor_is_followed(viewer, qtbot, real_data):
    viewer.open(str(real_data / "dicom" / "ct_clean_j2k"), plugin="medseg")
    _, widget = viewer.window.add_plugin_dock_widget("medseg", "Window and position")
    assert [button.text() for button in widget.buttons] == ["Soft tissue", "Lung", "Bone", "Brain"]
    widget.buttons[3].click()
    assert viewer.layers[0].contrast_limits == [0, 80]
    geometry = viewer.layers[0].metadata["medseg"]["geometry"]
    viewer.cursor.position = tuple(LayerGrid(geometry).from_patient(geometry.index_to_world((100, 200, 7))))
    qtbot.waitUntil(lambda: "voxel (100, 200, 7)" in widget.position.text(), timeout=3000)
