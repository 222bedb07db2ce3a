"""Layers lie where the scan lies in the patient: pure tests, no viewer, no napari."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from napari_medseg.layers import LayerGrid, image_layers, labelmap_of, labels_layer

from medseg import Geometry, LabelMap, LabelSet, Volume
from medseg.volume import Source

_SHAPE = (9, 7, 5)
_MARK = (6, 2, 1)  # voxel, off the middle of every axis


def _turn(degrees, axis):
    a, b = [n for n in range(3) if n != axis]
    turn = np.eye(4)
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    turn[a, a], turn[b, b], turn[a, b], turn[b, a] = c, c, -s, s
    return turn


def _affine(*columns, origin=(0.0, 0.0, 0.0)):
    affine = np.eye(4)
    affine[:3, :3] = np.array(columns, float).T
    affine[:3, 3] = origin
    return affine


_ANISOTROPIC = _affine((0.8, 0, 0), (0, 1.5, 0), (0, 0, 4), origin=(-20.0, 7.0, 31.0))
_AFFINES = {
    "identity": np.eye(4),
    "anisotropic": _ANISOTROPIC,
    "LAS": _affine((-0.8, 0, 0), (0, 1.5, 0), (0, 0, 4), origin=(12.0, -3.0, 5.0)),
    "RPI": _affine((0.8, 0, 0), (0, -1.5, 0), (0, 0, -4), origin=(12.0, -3.0, 5.0)),
    "PIR": _affine((0, -0.8, 0), (0, 0, -1.5), (4, 0, 0), origin=(1.0, 2.0, 3.0)),
    "oblique": _turn(21, 2) @ _turn(-13, 0) @ _ANISOTROPIC,
    "sheared": _affine((0.8, 0, 0), (0, 1.5, 0), (0, 1.3, 4), origin=(-20.0, 7.0, 31.0)),
}
_ALONG_THE_PATIENT = ("identity", "anisotropic", "LAS", "RPI", "PIR")


@pytest.fixture(params=list(_AFFINES))
def geometry(request):
    return Geometry(_SHAPE, _AFFINES[request.param])


def _along(name):
    return Geometry(_SHAPE, _AFFINES[name])


def _marked(geometry, dtype=np.float32):
    data = np.zeros(geometry.shape, dtype)
    data[_MARK if not geometry.is_2d else (*_MARK[:2], 0)] = 1
    return data


def _mark_in_layer(data, options):
    (index,) = np.argwhere(np.asarray(data))
    return index * options["scale"] + options["translate"]


def _world(geometry, index=_MARK):
    """World point by nibabel's rule, not by ours."""
    import nibabel as nib

    return nib.affines.apply_affine(geometry.affine, index)


def test_a_marked_voxel_of_a_layer_is_at_its_point_of_the_patient(geometry):
    (layer,) = image_layers(Volume(_marked(geometry)[None], geometry), "scan")
    point = _mark_in_layer(*layer[:2])
    np.testing.assert_allclose(LayerGrid(geometry).to_patient(point), _world(geometry), atol=1e-9)
    np.testing.assert_allclose(LayerGrid(geometry).from_patient(_world(geometry)), point, atol=1e-9)


@pytest.mark.parametrize("name", _ALONG_THE_PATIENT)
def test_layer_coordinates_run_to_the_feet_the_back_and_the_left(name):
    geometry = _along(name)
    (layer,) = image_layers(Volume(_marked(geometry)[None], geometry), "scan")
    right, anterior, superior = _world(geometry)
    np.testing.assert_allclose(_mark_in_layer(*layer[:2]), (-superior, -anterior, -right), atol=1e-9)


def test_the_first_axis_leafs_through_axial_slices_in_radiological_convention(geometry):
    """Moving on along a layer axis goes mainly inferior, posterior, left."""
    grid = LayerGrid(geometry)
    start = np.array(grid.translate)
    for axis, world in enumerate((2, 1, 0)):
        step = np.zeros(3)
        step[axis] = grid.scale[axis]
        moved = grid.to_patient(start + step) - grid.to_patient(start)
        assert np.argmax(np.abs(moved)) == world
        assert moved[world] < 0
        assert np.linalg.norm(moved) == pytest.approx(grid.scale[axis])


def test_two_grids_of_one_patient_lie_on_each_other():
    """A point of the patient has one place in the viewer, whichever scan along the axes shows it."""
    point = np.array((3.0, -2.0, 11.0))
    places = [LayerGrid(_along(name)).from_patient(point) for name in _ALONG_THE_PATIENT]
    for place in places:
        np.testing.assert_allclose(place, places[0], atol=1e-9)


def test_an_oblique_grid_keeps_its_centre():
    geometry = _along("oblique")
    centre = _world(geometry, (np.array(_SHAPE) - 1) / 2)
    np.testing.assert_allclose(LayerGrid(geometry).from_patient(centre), -centre[::-1], atol=1e-9)


def test_image_and_labels_of_one_grid_have_one_place(geometry):
    labels = LabelMap(_marked(geometry, np.uint8), geometry, LabelSet.from_names({1: "mark"}))
    (image,) = image_layers(Volume(_marked(geometry)[None], geometry), "scan")
    segmentation = labels_layer(labels, "seg")
    for option in ("scale", "translate", "axis_labels", "units"):
        assert image[1][option] == segmentation[1][option]
    np.testing.assert_array_equal(np.asarray(image[0]) > 0, np.asarray(segmentation[0]) > 0)


def test_painting_on_the_layer_paints_the_label_map_and_comes_back(geometry):
    labelmap = LabelMap(np.zeros(_SHAPE, np.uint8), geometry, LabelSet.from_names({4: "mark"}))
    data, options, kind = labels_layer(labelmap, "seg")
    assert kind == "labels"
    place = LayerGrid(geometry).from_patient(_world(geometry))
    painted = tuple(np.rint((place - options["translate"]) / options["scale"]).astype(int))
    data[painted] = 4
    assert labelmap.data[_MARK] == 4
    back = labelmap_of(data, options["metadata"])
    assert (back.geometry, back.labels) == (geometry, labelmap.labels)
    np.testing.assert_array_equal(np.argwhere(back.data), [_MARK])


def test_to_array_undoes_to_layer(geometry):
    array = np.random.default_rng(0).integers(0, 255, _SHAPE)
    grid = LayerGrid(geometry)
    np.testing.assert_array_equal(grid.to_array(grid.to_layer(array)), array)
    assert np.shares_memory(grid.to_layer(array), array)


def test_a_picture_is_two_axes_as_it_is_stored():
    stored = np.arange(12, dtype=np.uint8).reshape(3, 4)  # rows, columns
    geometry = Geometry((4, 3, 1), np.diag((-1.0, -1.0, 1.0, 1.0)), is_2d=True, spacing_known=False)
    (layer,) = image_layers(Volume(stored.T[None, :, :, None], geometry, Source(format="image")), "picture")
    np.testing.assert_array_equal(layer[0], stored)
    assert (layer[1]["scale"], layer[1]["translate"]) == ((1.0, 1.0), (0.0, 0.0))
    assert layer[1]["units"] == ("pixel", "pixel")
    grid = LayerGrid(geometry)
    np.testing.assert_array_equal(grid.to_array(np.asarray(layer[0]))[:, :, 0], stored.T)
    np.testing.assert_allclose(grid.to_patient((1, 3)), geometry.index_to_world((3, 1, 0)), atol=1e-12)


def test_a_colour_picture_is_one_layer_of_colours():
    geometry = Geometry((4, 3, 1), np.diag((-1.0, -1.0, 1.0, 1.0)), is_2d=True, spacing_known=False)
    data = np.arange(36, dtype=np.uint8).reshape(3, 4, 3, 1)
    (layer,) = image_layers(Volume(data, geometry, Source(format="image")), "photo")
    assert layer[1]["rgb"] is True
    assert layer[0].shape == (3, 4, 3)
    np.testing.assert_array_equal(layer[0][..., 1], data[1, :, :, 0].T)


def test_each_channel_of_a_scan_is_a_layer():
    geometry = _along("LAS")
    data = np.stack([_marked(geometry), 2 * _marked(geometry)])
    layers = image_layers(Volume(data, geometry), "case")
    assert [layer[1]["name"] for layer in layers] == ["case [0]", "case [1]"]
    assert [np.asarray(layer[0]).max() for layer in layers] == [1, 2]


def test_labels_carry_names_and_colours():
    labels = LabelSet.from_names({0: "membrane", 3: "cell", 255: "nucleus"})
    geometry = _along("anisotropic")
    options = labels_layer(LabelMap(np.zeros(_SHAPE, np.uint8), geometry, labels), "seg")[1]
    assert options["features"] == {"index": [0, 3, 255], "name": ["membrane", "cell", "nucleus"]}
    assert options["colormap"][255][:3] == tuple(c / 255 for c in labels[255].colour)
    assert options["colormap"][0][3] == 0.0


def test_ct_opens_in_a_soft_tissue_window():
    geometry = _along("LAS")
    volume = Volume(_marked(geometry)[None], geometry, Source(modality="CT"))
    assert image_layers(volume, "ct")[0][1]["contrast_limits"] == (-160.0, 240.0)


def test_layers_import_no_viewer_and_no_network_library():
    code = (
        "import sys, napari_medseg.layers, napari_medseg._reader\n"
        "print(sorted({'napari', 'qtpy', 'torch', 'monai', 'matplotlib'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
