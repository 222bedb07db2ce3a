"""The whole way in real windows: a DICOM folder, segmented, corrected, killed, recovered, saved, reopened."""

from __future__ import annotations

import itertools
import sys

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from napari_medseg.layers import LayerGrid
from napari_medseg.recovery.sessions import unfinished_sessions

import medseg
from tests.threshold_model import expected_classes, save_threshold_model, threshold_plan

from .killed_window import run_and_kill

pytestmark = [
    pytest.mark.filterwarnings("ignore:`json_encoders` is deprecated"),
    pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL on Windows"),
]

_WAIT_MS = 20_000
_IDS = np.array((0, 7, 255), np.uint8)  # of the classes of the model


def _corners(image):
    """World points of the eight corner voxels, in an order that does not depend on that of the axes."""
    ends = itertools.product(*((0, size - 1) for size in image.GetSize()))
    return sorted(np.round(image.TransformIndexToPhysicalPoint(end), 2).tolist() for end in ends)


def test_a_dicom_folder_becomes_a_corrected_mask_on_its_grid_although_napari_is_killed(
    viewer, qtbot, tmp_path, monkeypatch, real_data
):
    from napari_medseg._qt import correct_widget

    folder = real_data / "dicom" / "ct_clean_j2k"
    monkeypatch.setenv("MEDSEG_SESSIONS", str(tmp_path / "sessions"))
    save_threshold_model(tmp_path / "model", threshold_plan(patch=(256, 256, 16)))
    run_and_kill(qtbot, "whole_path_window.py", tmp_path, str(folder), str(tmp_path / "model"))
    segmented, painted, grown = (
        np.load(tmp_path / f"{name}.npy") for name in ("segmented", "painted", "grown")
    )
    scan = medseg.read(folder)
    expected = LayerGrid(scan.geometry).to_layer(_IDS[expected_classes(scan.data[0])])
    assert np.mean(segmented == expected) > 0.9999  # the network computes in float32
    assert np.sum(segmented == 9) == 0 < np.sum(painted == 9) < np.sum(grown == 9)

    viewer.window.show()
    _, widget = viewer.window.add_plugin_dock_widget("medseg", "Correct")
    qtbot.waitUntil(lambda: widget.unfinished.isVisibleTo(widget), timeout=_WAIT_MS)
    widget.unfinished.recover.click()
    qtbot.waitUntil(lambda: widget.session is not None, timeout=_WAIT_MS)
    layer = widget.link.layer
    np.testing.assert_array_equal(layer.data, grown)
    for step, then in (
        (widget.link.undo, painted),
        (widget.link.undo, segmented),
        (widget.link.redo, painted),
        (widget.link.redo, grown),
    ):
        step()
        np.testing.assert_array_equal(layer.data, then)
    saved = tmp_path / "ct_seg.nii.gz"
    monkeypatch.setattr(correct_widget, "ask_path", lambda parent, suggested: saved)
    widget.save_button.click()
    qtbot.waitUntil(lambda: "Saved" in widget.said.text(), timeout=_WAIT_MS)
    assert widget.leave(may_cancel=False)
    assert unfinished_sessions() == []

    mask = nib.load(saved)
    assert mask.shape == scan.geometry.shape
    np.testing.assert_allclose(mask.affine, scan.geometry.affine, atol=1e-4)
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
    np.testing.assert_allclose(_corners(sitk.ReadImage(str(saved))), _corners(reader.Execute()), atol=0.02)
    viewer.open(str(saved), plugin="medseg")
    np.testing.assert_array_equal(viewer.layers[-1].data, grown)
