"""Components, holes and specks, against scipy and brute force."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import ndimage

from medseg.geometry import Geometry
from medseg.labels import LabelSet
from medseg.postprocess import fill_holes, keep_largest, keep_largest_piece, remove_small
from medseg.volume import LabelMap

EVERY_NEIGHBOUR = np.ones((3, 3, 3))


def label_map(data: NDArray[np.uint8], *, is_2d: bool = False, spacing_known: bool = True) -> LabelMap:
    geometry = Geometry(data.shape, np.diag([0.5, 2.0, 3.0, 1.0]), is_2d=is_2d, spacing_known=spacing_known)
    return LabelMap(data, geometry, LabelSet.from_names({1: "a", 2: "b", 3: "c"}))


def random_labels(seed: int, shape: tuple[int, int, int], share: float) -> NDArray[np.uint8]:
    values = np.array([0, 1, 2], np.uint8)
    return np.random.default_rng(seed).choice(values, size=shape, p=[1 - share, share / 2, share / 2])


@pytest.mark.parametrize("shape", [(1, 7, 1), (3, 1, 1), (2, 2, 3), (5, 5, 5), (1, 9, 4)])
def test_dots_that_do_not_touch_are_components_of_their_own(shape: tuple[int, int, int]) -> None:
    data = np.zeros(shape, np.uint8)
    data[::2, ::2, ::2] = 1
    expected = np.zeros_like(data)
    expected[0, 0, 0] = 1
    np.testing.assert_array_equal(keep_largest(label_map(data)).data, expected)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**20),
    shape=st.tuples(st.integers(1, 9), st.integers(1, 7), st.integers(1, 5)),
    share=st.floats(0, 0.6),
)
def test_largest_component_is_scipys(seed: int, shape: tuple[int, int, int], share: float) -> None:
    data = random_labels(seed, shape, share)
    before = data.copy()
    found = keep_largest(label_map(data)).data
    expected = np.zeros_like(data)
    for label in (1, 2):
        components, count = ndimage.label(data == label, structure=EVERY_NEIGHBOUR)
        if count:
            sizes = ndimage.sum_labels(np.ones(shape), components, range(1, count + 1))
            tied = [n + 1 for n in range(count) if sizes[n] == sizes.max()]
            first = min(tied, key=lambda n: int(np.flatnonzero(components == n)[0]))
            expected[components == first] = label
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(data, before)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**20), share=st.floats(0, 0.6), smallest=st.integers(0, 12))
def test_components_below_the_limit_go_and_those_at_it_stay(seed: int, share: float, smallest: int) -> None:
    data = random_labels(seed, (8, 6, 5), share)
    found = remove_small(label_map(data), smallest * 3.0).data  # a voxel is 3 mm3
    expected = data.copy()
    for label in (1, 2):
        components, count = ndimage.label(data == label, structure=EVERY_NEIGHBOUR)
        for n in range(1, count + 1):
            if (components == n).sum() < smallest:
                expected[components == n] = 0
    np.testing.assert_array_equal(found, expected)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**20), share=st.floats(0.5, 0.95))
def test_holes_of_one_label_are_scipys(seed: int, share: float) -> None:
    data = (np.random.default_rng(seed).random((7, 6, 5)) < share).astype(np.uint8)
    np.testing.assert_array_equal(fill_holes(label_map(data)).data, ndimage.binary_fill_holes(data))


def test_a_hole_inside_nested_labels_goes_to_the_inner_one_and_other_labels_stay() -> None:
    data = np.zeros((11, 11, 11), np.uint8)
    data[1:10, 1:10, 1:10] = 1
    data[2:9, 2:9, 2:9] = 0  # a gap between the outer and the inner shell
    data[3:8, 3:8, 3:8] = 2
    data[4:7, 4:7, 4:7] = 0
    data[5, 5, 5] = 3
    filled = fill_holes(label_map(data)).data
    expected = data.copy()
    expected[4:7, 4:7, 4:7] = 2
    expected[5, 5, 5] = 3
    expected[2:9, 2:9, 2:9][expected[2:9, 2:9, 2:9] == 0] = 1
    np.testing.assert_array_equal(filled, expected)


def test_an_image_is_filled_in_its_plane() -> None:
    data = np.zeros((6, 7, 1), np.uint8)
    data[1:5, 1:5] = 2
    data[2:4, 2:4] = 0
    assert (fill_holes(label_map(data, is_2d=True)).data[2:4, 2:4] == 2).all()
    # In 3D the same ring is open above and below.
    assert (fill_holes(label_map(data)).data[2:4, 2:4] == 0).all()


def test_only_the_labels_asked_for_are_touched() -> None:
    data = np.zeros((9, 5, 4), np.uint8)
    data[0, 0, 0] = data[4:6, 2, 2] = 1
    data[8, 0, 0] = data[4:6, 4, 2] = 2
    found = keep_largest(label_map(data), ids=[2]).data
    assert found[0, 0, 0] == 1
    assert found[8, 0, 0] == 0
    with pytest.raises(ValueError, match=r"labels \[9\] are not in the label set; there are 1, 2, 3"):
        keep_largest(label_map(data), ids=[9])


def test_a_size_in_mm3_means_nothing_where_the_spacing_is_unknown() -> None:
    with pytest.raises(ValueError, match="spacing is unknown"):
        remove_small(label_map(np.ones((2, 2, 2), np.uint8), spacing_known=False), 5.0)


@pytest.mark.parametrize("clean", [keep_largest, fill_holes, lambda labels: remove_small(labels, 10.0)])
def test_an_empty_label_map_stays_empty(clean: object) -> None:
    empty = label_map(np.zeros((4, 3, 2), np.uint8))
    assert not clean(empty).data.any()  # type: ignore[operator]


@settings(max_examples=30, deadline=None)
@given(
    st.integers(0, 2**16),
    st.tuples(st.integers(1, 9), st.integers(1, 9), st.integers(1, 9)),
    st.floats(0.2, 0.7),
)
def test_the_largest_piece_of_all_labels_together_is_scipys(
    seed: int, shape: tuple[int, int, int], share: float
) -> None:
    data = random_labels(seed, shape, share)
    found = keep_largest_piece(label_map(data)).data
    pieces, count = ndimage.label(data > 0)  # faces only
    sizes = np.bincount(pieces.ravel())[1:]
    if count == 0:
        assert not found.any()
        return
    first = pieces.ravel()[
        np.flatnonzero(np.isin(pieces.ravel(), np.flatnonzero(sizes == sizes.max()) + 1))[0]
    ]
    np.testing.assert_array_equal(found, np.where(pieces == first, data, 0))
    assert found.dtype == data.dtype


def test_labels_that_touch_are_one_piece() -> None:
    data = np.zeros((6, 3, 4), np.uint8)
    data[0, 0, 0], data[1, 0, 0] = 1, 2  # two voxels of two labels against one of two voxels of one label
    data[4:6, 2, 3] = 3
    data[2, 0, 0] = 3
    np.testing.assert_array_equal(np.unique(keep_largest_piece(label_map(data)).data), [0, 1, 2, 3])
    assert keep_largest_piece(label_map(data)).data[4:6].max() == 0
