"""Labels taken together as one structure, what removed voxels become, and sizes of holes."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from medseg.postprocess import fill_holes, keep_largest, remove_small
from tests.postprocess.label_data import SPACING, blobs, label_map

VOXEL_MM3 = float(np.prod(SPACING))


@pytest.mark.parametrize(("connectivity", "rank"), [("faces", 1), ("corners", 3)])
def test_a_structure_of_several_labels_keeps_the_component_that_scipy_finds_largest(
    connectivity: str, rank: int
) -> None:
    data = blobs(4, (17, 13, 9), blur=0.8)
    neighbours = ndimage.generate_binary_structure(3, rank)
    components, count = ndimage.label(np.isin(data, (2, 200)), structure=neighbours)
    sizes = np.bincount(components.ravel())[1:]
    assert count > 1
    found = keep_largest(label_map(data), (2, 200), together=True, becomes=3, connectivity=connectivity).data
    gone = (components > 0) & (components != 1 + sizes.argmax())
    np.testing.assert_array_equal(found, np.where(gone, 3, data))


def test_small_components_of_a_structure_become_what_surrounds_them() -> None:
    data = blobs(5, (17, 13, 9), blur=0.8)
    components, _ = ndimage.label(np.isin(data, (3, 200)), structure=np.ones((3, 3, 3)))
    sizes = np.append(0, np.bincount(components.ravel())[1:])
    limit = int(np.median(sizes[1:])) + 1
    found = remove_small(label_map(data), limit * VOXEL_MM3, (3, 200), together=True, becomes=2).data
    gone = (components > 0) & (sizes[components] < limit)
    assert gone.any()
    np.testing.assert_array_equal(found, np.where(gone, 2, data))


def test_a_hole_between_labels_of_a_structure_gets_the_nearest_of_them_in_millimetres() -> None:
    data = np.zeros((15, 11, 9), np.uint16)
    data[1:14, 1:10, 1:8] = 2
    data[7:14, 1:10, 1:8] = 3
    data[4:11, 4:8, 3:6] = 0  # between the two
    data[7, 4:7, 3:5] = 200  # of another structure, inside, also between a hole's voxel and its wall
    assert np.array_equal(fill_holes(label_map(data), (2, 3)).data, data)  # neither encloses it alone
    found = fill_holes(label_map(data), (2, 3), together=True).data
    shell = np.argwhere(np.isin(data, (2, 3)))
    for voxel in np.argwhere((data == 0) & (found > 0)):
        distances = np.linalg.norm((shell - voxel) * SPACING, axis=1)
        nearest = shell[distances <= distances.min() * (1 + 1e-9)]
        assert found[tuple(voxel)] in data[tuple(nearest.T)]
    np.testing.assert_array_equal(found > 0, ndimage.binary_fill_holes(data > 0))
    assert (found[data == 200] == 200).all()


def test_holes_up_to_a_size_are_filled_and_larger_ones_stay() -> None:
    data = np.zeros((16, 12, 9), np.uint16)
    data[1:15, 1:11, 1:8] = 3
    data[3, 3, 3:5] = 0  # two voxels
    data[8:11, 4, 4] = 0  # three
    found = fill_holes(label_map(data), largest_mm3=2 * VOXEL_MM3).data
    assert (found[3, 3, 3:5] == 3).all()
    assert (found[8:11, 4, 4] == 0).all()
