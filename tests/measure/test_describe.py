"""`describe` against closed forms, brute force, SimpleITK's filters, and figures of pyradiomics."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest
import SimpleITK as sitk
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial.distance import pdist

from medseg.geometry import Geometry
from medseg.labels import LabelSet
from medseg.measure import describe
from medseg.volume import LabelMap, Volume
from tests.measure.structures import (
    OBLIQUE,
    SHEARED,
    SPACING,
    TURN,
    Mask,
    ball,
    bean,
    centres,
    described,
    scatter,
    surface_corners,
    voxel_corners,
)

TILTED_PLANE = np.indices((11, 9, 13)).sum(axis=0) == 15
ROW = np.zeros((7, 9, 5), np.bool_)
ROW[1:6, 4, 2] = True
DIAGONAL = np.zeros((7, 9, 5), np.bool_)
DIAGONAL[range(5), range(2, 7), range(5)] = True
SLICE = np.zeros((9, 8, 5), np.bool_)
SLICE[:, :, 2] = ball((9, 8, 1), 3.6)[..., 0]
VOXEL = np.zeros((5, 6, 7), np.bool_)
VOXEL[2, 3, 4] = True
MASKS = {
    "round": ball((27, 25, 29), 11.7),  # so many corners that pairs are chosen by the hull
    "bean": bean(),
    "dust": scatter((9, 14, 6), 0.03, 1),
    "dense": scatter((9, 14, 6), 0.6, 2),
    "tilted plane": TILTED_PLANE,
    "slice": SLICE,
    "row": ROW,
    "diagonal": DIAGONAL,
    "voxel": VOXEL,
}


@pytest.mark.parametrize("affine", [OBLIQUE, SHEARED], ids=["oblique", "sheared"])
@pytest.mark.parametrize("mask", MASKS.values(), ids=MASKS)
def test_place_reach_and_pieces_agree_with_brute_force(mask: Mask, affine: NDArray[np.float64]) -> None:
    values = described(mask, affine).values
    assert values["max_diameter_mm"] == pytest.approx(pdist(surface_corners(mask, affine)).max(), rel=1e-12)
    corners = voxel_corners(mask, affine)
    points = centres(mask, affine)
    for axis, long, middle in zip("ras", np.ptp(corners, axis=0), points.mean(axis=0), strict=True):
        assert values[f"extent_{axis}_mm"] == pytest.approx(long, rel=1e-12)
        assert values[f"centroid_{axis}_mm"] == pytest.approx(middle, rel=1e-12)
    for axis, places in zip("ijk", np.argwhere(mask).T, strict=True):
        assert (values[f"box_{axis}_first"], values[f"box_{axis}_last"]) == (places.min(), places.max())
    pieces, count = ndimage.label(mask, np.ones((3, 3, 3)))
    assert values["components"] == count
    assert values["largest_share"] == np.bincount(pieces.ravel())[1:].max() / mask.sum()


@pytest.mark.parametrize("affine", [OBLIQUE, SHEARED], ids=["oblique", "sheared"])
@pytest.mark.parametrize("size", [(5, 3, 4), (1, 1, 1), (6, 1, 2)])
def test_surface_and_mesh_volume_of_a_box_are_those_of_a_box_with_bevelled_edges(
    size: tuple[int, int, int], affine: NDArray[np.float64]
) -> None:
    mask = np.zeros((9, 8, 7), np.bool_)
    mask[1 : 1 + size[0], 2 : 2 + size[1], 3 : 3 + size[2]] = True
    steps = affine[:3, :3].T
    whole = [n - 1 for n in size]
    area = 0.0
    for a, b, c in ((0, 1, 2), (1, 2, 0), (2, 0, 1)):
        area += 2 * whole[a] * whole[b] * np.linalg.norm(np.cross(steps[a], steps[b]))
        for sign in (-1, 1):
            bevel = (steps[b] + sign * steps[c]) / 2
            area += 2 * whole[a] * np.linalg.norm(np.cross(steps[a], bevel))
    for signs in product((-0.5, 0.5), repeat=3):
        x, y, z = steps * np.array(signs)[:, None]
        area += np.linalg.norm(np.cross(y - x, z - x)) / 2
    # In voxels: off each edge goes a prism of 1/8 across, off each corner an eighth but for a tetrahedron.
    volume = math.prod(size) - 4 * sum(whole) / 8 - 8 * (1 / 8 - 1 / 48)

    values = described(mask, affine).values
    volume_mm3 = volume * abs(np.linalg.det(affine[:3, :3]))
    assert values["surface_mm2"] == pytest.approx(area, rel=1e-12)
    assert values["mesh_volume_ml"] == pytest.approx(volume_mm3 / 1000, rel=1e-12)
    assert values["surface_to_volume_per_mm"] == pytest.approx(area / volume_mm3, rel=1e-12)
    sphere = 4 * math.pi * (3 * volume_mm3 / (4 * math.pi)) ** (2 / 3)
    assert values["sphericity"] == pytest.approx(sphere / area, rel=1e-12)


@pytest.mark.parametrize("affine", [OBLIQUE, SHEARED], ids=["oblique", "sheared"])
def test_an_ellipsoid_has_the_axes_of_its_closed_form(affine: NDArray[np.float64]) -> None:
    half_axes, middle = np.array((24.0, 15.0, 9.0)), np.array((11.0, -20.0, 42.0))
    shape = (74, 52, 34)
    start = affine.copy()
    start[:3, 3] = middle - affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    points = np.indices(shape).reshape(3, -1).T @ start[:3, :3].T + start[:3, 3]
    directions = np.linalg.qr(np.array([[1.0, 2, 0], [1, 0, 1], [0, 1, 3]]))[0]
    mask = ((((points - middle) @ directions / half_axes) ** 2).sum(axis=1) < 1).reshape(shape)

    values = described(mask, start).values
    assert values["touches_border"] is False
    axes = [values[f"{name}_axis_mm"] for name in ("major", "minor", "least")]
    assert axes == pytest.approx(4 * half_axes / math.sqrt(5), rel=0.006)
    assert values["elongation"] == pytest.approx(15 / 24, rel=0.01)
    assert values["flatness"] == pytest.approx(9 / 24, rel=0.01)
    assert values["max_diameter_mm"] == pytest.approx(48, rel=0.03)
    assert values["mesh_volume_ml"] == pytest.approx(4 / 3 * math.pi * half_axes.prod() / 1000, rel=0.01)
    reaches = 2 * np.sqrt(((directions * half_axes) ** 2).sum(axis=1))
    for axis, centre, reach in zip("ras", middle, reaches, strict=True):
        assert values[f"centroid_{axis}_mm"] == pytest.approx(centre, abs=0.05)
        assert values[f"extent_{axis}_mm"] == pytest.approx(reach, abs=2 * SPACING.max())


def test_a_bean_has_the_numbers_that_pyradiomics_gives_it() -> None:
    # pyradiomics 3.0.1 with numpy 2.4.6, spacing (0.7, 1.3, 2) mm: RadiomicsShape, RadiomicsFirstOrder.
    i, j, k = np.indices((24, 20, 16))
    scan = (3 * i - 2 * j + k * k) % 37
    values = described(bean(), np.diag((-0.7, 1.3, 2.0, 1.0)), scan.astype(np.int16)).values
    exactly = {
        "volume_ml": 2.5843999999999996,  # VoxelVolume
        "major_axis_mm": 22.027677355842744,
        "minor_axis_mm": 17.322641277432034,
        "least_axis_mm": 11.445509911989413,
        "elongation": 0.7864034413431826,
        "flatness": 0.5195967657912669,
        "max_diameter_mm": 24.374576919405186,
        "intensity_mean": 17.81619718309859,
        "intensity_sd": math.sqrt(111.90635736956952),
        "intensity_median": 18.0,
        "intensity_min": 0.0,
        "intensity_max": 36.0,
    }
    for name, value in exactly.items():
        assert values[name] == pytest.approx(value, rel=1e-12), name
    assert values["intensity_p75"] - values["intensity_p25"] == 18.0
    # Where voxels touch by edges, its marching cubes join them otherwise.
    assert values["surface_mm2"] == pytest.approx(1364.0798869150099, rel=0.002)
    assert values["mesh_volume_ml"] == pytest.approx(2.5577066666666615, rel=0.001)
    assert values["surface_to_volume_per_mm"] == pytest.approx(0.5333214729790539, rel=0.001)
    assert values["sphericity"] == pytest.approx(0.6630477557433357, rel=0.001)


def test_simpleitk_gives_the_same_boxes_centroids_moments_and_intensities_on_an_oblique_grid() -> None:
    rng = np.random.default_rng(3)
    data = np.zeros((31, 24, 17), np.uint16)
    smooth = ndimage.gaussian_filter(rng.normal(size=data.shape), 2)
    data[smooth > 0.03], data[smooth < -0.05] = 7, 300
    scan = rng.normal(80, 25, data.shape)
    image, intensities = (sitk.GetImageFromArray(array.transpose(2, 1, 0)) for array in (data, scan))
    for one in (image, intensities):
        one.SetSpacing(SPACING.tolist())
        one.SetOrigin((np.array((-1, -1, 1)) * OBLIQUE[:3, 3]).tolist())
        one.SetDirection((np.diag((-1, -1, 1)) @ TURN @ np.diag((-1, 1, 1))).ravel().tolist())
    shapes, statistics = sitk.LabelShapeStatisticsImageFilter(), sitk.LabelIntensityStatisticsImageFilter()
    shapes.Execute(image)
    statistics.Execute(image, intensities)

    geometry = Geometry(data.shape, OBLIQUE)
    labelmap = LabelMap(data, geometry, LabelSet.from_names({7: "a", 300: "b"}))
    for one in describe(labelmap, Volume(scan[None], geometry)):
        (label,), values = one.labels, one.values
        start, size = np.split(np.array(shapes.GetBoundingBox(label)), 2)
        assert [values[f"box_{axis}_first"] for axis in "ijk"] == start.tolist()
        assert [values[f"box_{axis}_last"] for axis in "ijk"] == (start + size - 1).tolist()
        centroid = np.array((-1, -1, 1)) * shapes.GetCentroid(label)
        assert [values[f"centroid_{axis}_mm"] for axis in "ras"] == pytest.approx(centroid, rel=1e-9)
        assert values["voxels"] == shapes.GetNumberOfPixels(label)
        assert values["touches_border"] is (shapes.GetNumberOfPixelsOnBorder(label) > 0)
        axes = [values[f"{name}_axis_mm"] for name in ("least", "minor", "major")]
        assert axes == pytest.approx(4 * np.sqrt(shapes.GetPrincipalMoments(label)), rel=1e-9)
        assert values["intensity_mean"] == pytest.approx(statistics.GetMean(label), rel=1e-12)
        assert (values["intensity_min"], values["intensity_max"]) == (
            statistics.GetMinimum(label),
            statistics.GetMaximum(label),
        )
        over_one_less = math.sqrt(values["voxels"] / (values["voxels"] - 1))  # ITK's ddof is 1
        assert values["intensity_sd"] * over_one_less == pytest.approx(
            statistics.GetStandardDeviation(label), rel=1e-9
        )
