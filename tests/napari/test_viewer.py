"""The manifest, and real files in a real napari window."""

from __future__ import annotations

import warnings

import nibabel as nib
import numpy as np
import pytest
from napari_medseg.layers import LayerGrid

import medseg

# napari's own models speak to pydantic in a way that pydantic will drop.
pytestmark = pytest.mark.filterwarnings("ignore:`json_encoders` is deprecated")

_OBLIQUE = np.array(((0.78, -0.29, 0, 5), (0.2, 1.1, 0.9, -7), (-0.09, -0.35, 2.9, 11), (0, 0, 0, 1)))
_Q, _ = np.linalg.qr(_OBLIQUE[:3, :3])
_OBLIQUE[:3, :3] = _Q * np.sign(np.diag(_Q)) * (0.8, 1.2, 3.0)


def test_the_manifest_is_valid_and_its_commands_exist():
    from .conftest import MANIFEST

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # npe2's own models warn of pydantic
        npe2 = pytest.importorskip("npe2", reason="npe2 comes with napari")
    manifest = npe2.PluginManifest.from_file(MANIFEST)
    manifest.validate_imports()
    assert manifest.name == "medseg"
    assert [reader.command for reader in manifest.contributions.readers] == ["medseg.read"]


@pytest.fixture
def case(tmp_path):
    """A scan and its segmentation, oblique, anisotropic, non-cubic, one voxel marked."""
    data = np.random.default_rng(0).normal(100, 5, (14, 11, 7)).astype(np.float32)
    labels = np.zeros(data.shape, np.uint8)
    data[10, 3, 5], labels[10, 3, 5] = 500, 2
    grid = medseg.Geometry(data.shape, _OBLIQUE)
    names = medseg.LabelSet.from_names({2: "the mark"})
    medseg.write(medseg.Volume(data[None], grid), tmp_path / "x.nii.gz")
    medseg.write(medseg.LabelMap(labels, grid, names), tmp_path / "x_seg.nii.gz")
    return tmp_path


def test_a_scan_and_its_segmentation_overlay_in_a_real_window(viewer, case):
    viewer.open([str(case / "x.nii.gz"), str(case / "x_seg.nii.gz")], plugin="medseg")
    image, labels = viewer.layers
    assert (image.name, labels.name) == ("x", "x_seg")
    np.testing.assert_allclose(image.extent.world, labels.extent.world)
    world = nib.affines.apply_affine(nib.load(case / "x.nii.gz").affine, (10, 3, 5))
    place = LayerGrid(image.metadata["medseg"]["geometry"]).from_patient(world)
    viewer.dims.set_point(0, place[0])
    assert image.get_value(place, world=True) == pytest.approx(500)
    assert labels.get_value(place, world=True) == 2
    assert viewer.dims.axis_labels == ("axial", "coronal", "sagittal")
    status = labels.get_status(place, world=True)
    assert "the mark" in str(status)
    np.testing.assert_allclose(
        labels.get_color(2)[:3], np.array(labels.metadata["medseg"]["labels"][2].colour) / 255
    )


def test_the_window_shows_the_patients_right_on_its_left(viewer, qtbot, tmp_path):
    """Seen as pixels: only the half of the patient's right side is bright."""
    affine = np.array(((-1.0, 0, 0, 20), (0, 1, 0, -20), (0, 0, 2, 0), (0, 0, 0, 1)))  # LAS
    data = np.zeros((40, 41, 9), np.float32)
    data[:18] = 1000  # i runs to the left: the first half is the right side
    medseg.write(medseg.Volume(data[None], medseg.Geometry(data.shape, affine)), tmp_path / "half.nii.gz")
    viewer.open(str(tmp_path / "half.nii.gz"), plugin="medseg")

    def white_and_black():
        """Columns of the window's middle row that are pure white and pure black, as only the image is."""
        picture = viewer.screenshot(canvas_only=False, flash=False)[..., :3].sum(axis=-1, dtype=int)
        row = picture[picture.shape[0] // 2]
        return np.flatnonzero(row == 3 * 255), np.flatnonzero(row == 0)

    qtbot.waitUntil(lambda: white_and_black()[0].size > 100)  # the first frame may come late
    white, black = white_and_black()
    assert black.size > 100
    assert white.max() < black.min()


def test_a_real_crop_opens_with_its_labels(viewer, real_data):
    folder = real_data / "hippocampus"
    name = "hippocampus_001.nii.gz"
    viewer.open([str(folder / "imagesTr" / name), str(folder / "labelsTr" / name)], plugin="medseg")
    assert [layer.as_layer_data_tuple()[2] for layer in viewer.layers] == ["image", "labels"]
    np.testing.assert_allclose(viewer.layers[0].extent.world, viewer.layers[1].extent.world)
