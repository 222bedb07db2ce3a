"""Saving: on the scan's own grid, whatever its orientation, and only where that grid is known."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from napari_medseg import _writer
from napari_medseg._reader import read_layers
from napari_medseg.layers import METADATA_KEY, LayerGrid

import medseg

_SHAPE, _MARK = (9, 7, 5), (6, 2, 1)
_COLUMNS = {
    "identity": ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
    "anisotropic": ((0.8, 0, 0), (0, 1.5, 0), (0, 0, 4)),
    "LAS": ((-0.8, 0, 0), (0, 1.5, 0), (0, 0, 4)),
    "RPI": ((0.8, 0, 0), (0, -1.5, 0), (0, 0, -4)),
    "sagittal": ((0, -0.8, 0), (0, 0, -1.5), (4, 0, 0)),
    "oblique": ((0.72, -0.24, 0.24), (0.5, 1.4, -0.1), (-0.85, 0.52, 3.07)),
}


def _affine(name):
    affine = np.eye(4)
    affine[:3, :3] = np.array(_COLUMNS[name]).T
    if name == "oblique":
        turned, upper = np.linalg.qr(affine[:3, :3])
        affine[:3, :3] = turned * np.sign(np.diag(upper)) * (0.8, 1.5, 4)
    affine[:3, 3] = (-20.0, 7.0, 31.0)
    return affine


@pytest.fixture(params=list(_COLUMNS))
def scan(request, tmp_path):
    """A NIfTI scan whose sform and qform carry different codes."""
    data = np.random.default_rng(0).integers(0, 900, _SHAPE).astype(np.int16)
    image = nib.Nifti1Image(data, _affine(request.param))
    image.set_sform(image.affine, code=4)
    image.set_qform(image.affine, code=1)
    nib.save(image, tmp_path / "scan.nii.gz")
    return tmp_path / "scan.nii.gz"


def _new_labels(options, dtype=np.uint8, mark=3):
    """What napari's button 'New labels layer' makes of an image layer, with one voxel painted."""
    kept = options["metadata"][METADATA_KEY]
    grid = LayerGrid(kept["geometry"])
    data = np.zeros(grid.layer_shape, dtype)
    world = nib.affines.apply_affine(kept["geometry"].affine, _MARK)
    painted = (grid.from_patient(world) - options["translate"]) / options["scale"]
    data[tuple(np.rint(painted).astype(int))] = mark
    return data, {
        "name": "drawn",
        "scale": options["scale"],
        "translate": options["translate"],
        "metadata": {},
    }


def _assert_on_the_grid_of(path, scan):
    saved, original = nib.load(path), nib.load(scan)
    assert saved.shape == original.shape
    np.testing.assert_array_equal(saved.affine, original.affine)
    for field in ("sform_code", "qform_code", "quatern_b", "qoffset_x", "srow_x", "pixdim"):
        np.testing.assert_array_equal(saved.header[field], original.header[field])


def test_a_layer_drawn_on_a_scan_is_saved_on_the_scans_grid_bit_for_bit(scan, tmp_path, monkeypatch):
    ((_, options, _),) = read_layers(str(scan))
    monkeypatch.setattr(_writer, "scans_in_the_window", lambda: [options["metadata"][METADATA_KEY]])
    (written,) = _writer.write_labels_nifti(str(tmp_path / "drawn.nii.gz"), *_new_labels(options))
    _assert_on_the_grid_of(written, scan)
    np.testing.assert_array_equal(np.argwhere(nib.load(written).dataobj), [_MARK])


def test_what_was_not_edited_is_saved_as_it_was_read(scan, tmp_path):
    ((data, options, _),) = read_layers(str(scan))
    (written,) = _writer.write_image_nifti(str(tmp_path / "again.nii"), data, options)
    _assert_on_the_grid_of(written, scan)
    before, after = nib.load(scan), nib.load(written)
    assert after.get_data_dtype() == before.get_data_dtype()
    np.testing.assert_array_equal(np.asarray(after.dataobj), np.asarray(before.dataobj))


def test_nrrd_keeps_names_and_the_place_in_the_patient(scan, tmp_path):
    item = medseg.read(scan)
    labels = np.zeros(_SHAPE, np.uint8)
    labels[_MARK] = 2
    names = medseg.LabelSet.from_names({2: "left kidney"})
    medseg.write(medseg.LabelMap(labels, item.geometry, names, item.source), tmp_path / "x_seg.nii.gz")
    ((data, options, _),) = read_layers(str(tmp_path / "x_seg.nii.gz"))
    (written,) = _writer.write_labels_nrrd(str(tmp_path / "without extension"), data, options)
    assert written.endswith("without extension.seg.nrrd")
    image = sitk.ReadImage(written)
    assert image.GetMetaData("Segment0_Name") == "left kidney"
    (index,) = np.argwhere(sitk.GetArrayFromImage(image))
    lps = np.array(image.TransformIndexToPhysicalPoint([int(n) for n in index[::-1]]))
    expected = nib.affines.apply_affine(nib.load(scan).affine, _MARK)
    np.testing.assert_allclose(lps * (-1, -1, 1), expected, atol=1e-4)


def test_a_name_without_a_known_extension_becomes_nii_gz(tmp_path):
    grid = medseg.Geometry(_SHAPE, _affine("oblique"))
    medseg.write(medseg.Volume(np.ones((1, *_SHAPE), np.uint8), grid), tmp_path / "scan.nii.gz")
    ((data, options, _),) = read_layers(str(tmp_path / "scan.nii.gz"))
    assert _writer.write_image_nifti(str(tmp_path / "visit 1.5"), data, options) == [
        str(tmp_path / "visit 1.5.nii.gz")
    ]


def _kept(affine, shape=_SHAPE):
    from medseg.volume import Source

    grid = medseg.Geometry(shape, affine)
    return {"geometry": grid, "source": Source(), "verdict": medseg.Verdict()}


def _drawn_on(kept, **changed):
    grid = LayerGrid(kept["geometry"])
    options = {"name": "drawn", "scale": grid.scale, "translate": grid.translate, "metadata": {}}
    return np.zeros(grid.layer_shape, np.uint8), {**options, **changed}


def test_a_layer_that_lies_on_no_scan_or_on_several_is_refused_with_the_cure():
    one, other = _kept(_affine("oblique")), _kept(_affine("LAS"))
    data, options = _drawn_on(one)
    # The mirror image of a grid has the same extent in the window: nothing tells which of them was meant.
    mirrored = one["geometry"].permuted((0, 1, 2), (True, False, False))
    twin = {**one, "geometry": mirrored}
    assert _writer.labels_to_save(data, options, [one, other]).geometry == one["geometry"]
    assert _writer.labels_to_save(data, options, [one, dict(one)]).geometry == one["geometry"]
    for scans, found in (([], "no scan"), ([other], "no scan"), ([one, twin], "2 scans")):
        with pytest.raises(medseg.UsageError, match=rf"drawn: .*{found}.*New labels layer"):
            _writer.labels_to_save(data, options, scans)


@pytest.mark.parametrize(
    "changed",
    [
        {"translate": (0.0, 0.0, 0.0)},
        {"affine": np.diag((1.0, 1.0, 1.01, 1.0))},
        {"rotate": np.array(((0.0, 1, 0), (-1, 0, 0), (0, 0, 1)))},
        {"shear": np.array((0.1, 0, 0))},
    ],
    ids=lambda changed: next(iter(changed)),
)
def test_a_layer_that_was_moved_off_the_scan_is_refused(changed):
    kept = _kept(_affine("anisotropic"))
    data, options = _drawn_on(kept, **changed)
    with pytest.raises(medseg.UsageError, match="no scan"):
        _writer.labels_to_save(data, options, [kept])


def test_ids_that_were_painted_get_names_and_numbers_that_are_no_ids_are_refused():
    kept = _kept(_affine("RPI")) | {"labels": medseg.LabelSet.from_names({1: "liver"})}
    data = np.zeros(LayerGrid(kept["geometry"]).layer_shape, np.int32)
    data[0, 0, 0], data[1, 1, 1] = 1, 300
    options = {"name": "painted", "metadata": {METADATA_KEY: kept}}
    saved = _writer.labels_to_save(data, options, [])
    assert (saved.labels.ids, saved.labels.names) == ((1, 300), ("liver", "label 300"))
    data[0, 0, 0] = -1
    with pytest.raises(medseg.UsageError, match="painted: the labels run from -1 to 300"):
        _writer.labels_to_save(data, options, [])


@pytest.mark.filterwarnings("ignore:`json_encoders` is deprecated")
def test_napari_saves_new_labels_on_the_scans_grid_and_they_open_again(viewer, scan, tmp_path):
    viewer.open(str(scan), plugin="medseg")
    viewer._new_labels()  # the button
    drawn = viewer.layers[-1]
    drawn.paint((2, 3, 4), 5)
    expected = np.asarray(drawn.data)
    viewer.layers.selection = {drawn}
    (written,) = viewer.layers.save(str(tmp_path / "drawn_seg.nii.gz"), selected=True, plugin="medseg")
    _assert_on_the_grid_of(written, scan)
    viewer.open(written, plugin="medseg")
    np.testing.assert_array_equal(viewer.layers[-1].data, expected)
    assert expected.any()
    np.testing.assert_allclose(viewer.layers[-1].extent.world, drawn.extent.world)
