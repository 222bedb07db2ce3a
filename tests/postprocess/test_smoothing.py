"""Smoothing and refinement of whole label maps, against filters over the whole grid for every class."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from scipy import ndimage

import medseg.postprocess.votes as votes
from medseg.errors import UsageError
from medseg.postprocess import refine_edges, smooth_gaussian, smooth_median
from medseg.volume import LabelMap
from tests.postprocess.label_data import SPACING, blobs, label_map

Array = NDArray[np.float64]
CLASSES = np.array([0, 2, 3, 200])
SHAPE = (31, 17, 9)


def compare(before: LabelMap, found: LabelMap, score: Callable[[Array], Array]) -> None:
    """Every voxel has the class of the highest score; on a tie its own, if that is among the highest."""
    scores = np.stack([score((before.data == label).astype(np.float64)) for label in CLASSES])
    highest = scores > scores.max(0) - 1e-5 * scores.sum(0)
    clear = highest.sum(0) == 1
    expected = CLASSES[scores.argmax(0)]
    np.testing.assert_array_equal(found.data[clear], expected[clear])
    own = np.take_along_axis(highest, np.searchsorted(CLASSES, before.data)[None], 0)[0]
    np.testing.assert_array_equal(found.data[own], before.data[own])
    assert clear.mean() > 0.5
    assert (found.data != before.data).any()
    assert found.geometry == before.geometry


@pytest.fixture(params=[1, 1 << 21], ids=["slabs", "whole"])
def at_once(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The grid in slabs of twice the reach, or as one."""
    monkeypatch.setattr(votes, "_VOXELS_AT_ONCE", request.param)


@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize("is_2d", [False, True])
def test_gaussian_is_the_largest_of_the_blurred_masks(is_2d: bool) -> None:
    before = label_map(blobs(1, (*SHAPE[:2], 1) if is_2d else SHAPE, blur=0.7), is_2d=is_2d)
    sigma = [1.3 / SPACING[0], 1.3 / SPACING[1], 0 if is_2d else 1.3 / SPACING[2]]
    compare(
        before,
        smooth_gaussian(before, 1.3),
        lambda mask: ndimage.gaussian_filter(mask, sigma, mode="nearest", truncate=3.0),
    )


@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize("shear", [0.0, 0.4])
def test_median_is_the_most_frequent_label_within_a_distance_in_the_world(shear: float) -> None:
    before = label_map(blobs(2, SHAPE, blur=0.7), shear=shear)
    offsets = np.indices((9, 9, 9)).reshape(3, -1).T - 4
    away = np.linalg.norm(offsets @ before.geometry.affine[:3, :3].T, axis=1)
    element = (away <= 2.7).reshape(9, 9, 9).astype(float)
    compare(
        before,
        smooth_median(before, 2.7),
        lambda mask: ndimage.correlate(mask, element, mode="constant"),
    )


def guided(p: Array, guide: Array, radius: tuple[int, ...], eps: float) -> Array:
    """He et al.'s guided filter, each mean taken window by window."""

    def mean(values: Array) -> Array:
        padded = np.pad(values, [(n, n) for n in radius], mode="edge")
        windows = sliding_window_view(padded, [2 * n + 1 for n in radius])
        return windows.mean(axis=(-3, -2, -1))

    variance = mean(guide**2) - mean(guide) ** 2
    a = (mean(guide * p) - mean(guide) * mean(p)) / (variance + eps)
    return mean(a) * guide + mean(mean(p) - a * mean(guide))


@pytest.mark.usefixtures("at_once")
def test_refinement_is_the_guided_filter_of_every_mask() -> None:
    before = label_map(blobs(3, SHAPE, blur=0.9))
    rng = np.random.default_rng(5)
    image = (before.data * 3 + rng.normal(1000, 60, SHAPE)).astype(np.float32)
    low, high = np.percentile(image, (1, 99))  # the labels' box is the whole grid
    compare(
        before,
        refine_edges(before, image, 2.0, edge=0.2),
        lambda mask: guided(mask, image.astype(float), (2, 1, 1), (0.2 * (high - low)) ** 2),
    )


def test_refinement_moves_a_border_to_the_edge_nearby() -> None:
    image = np.full((40, 24, 12), 100.0, np.float32)
    image[12:28, 6:18, 3:9] = 180.0
    true = np.where(image > 150, 2, 0).astype(np.uint16)
    image += np.random.default_rng(0).normal(0, 5, image.shape).astype(np.float32)
    wrong = np.roll(true, (1, 1), axis=(0, 1))
    found = refine_edges(label_map(wrong), image, 4.0, edge=0.1).data
    assert np.count_nonzero(found != true) < 0.1 * np.count_nonzero(wrong != true)


def test_a_straight_border_between_labels_stays_where_it_is() -> None:
    data = np.zeros(SHAPE, np.uint16)
    data[:, :9, :], data[:, 9:14, :] = 2, 3
    before = label_map(data)
    np.testing.assert_array_equal(smooth_gaussian(before, 2.0).data, data)
    np.testing.assert_array_equal(smooth_median(before, 4.0).data, data)


def test_only_borders_of_the_labels_asked_for_move() -> None:
    before = label_map(blobs(6, SHAPE, blur=0.7))
    everything, found = smooth_median(before, 2.7).data, smooth_median(before, 2.7, ids=(3,)).data
    concerned = (before.data == 3) | (everything == 3)
    np.testing.assert_array_equal(found, np.where(concerned, everything, before.data))


def test_an_image_that_does_not_fit_is_refused() -> None:
    before = label_map(blobs(1, SHAPE))
    with pytest.raises(UsageError, match="image has shape"):
        refine_edges(before, np.zeros((3, *SHAPE)), 2.0)
    with pytest.raises(UsageError, match="not finite"):
        refine_edges(before, np.full(SHAPE, np.nan), 2.0)
