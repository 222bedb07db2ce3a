"""From a scan to label ids on the scan's own grid, against what numpy says of every voxel."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from medseg.errors import InputRefused, ModelRefused, OutOfMemory
from medseg.geometry import Geometry
from medseg.inference import Member, Prediction
from medseg.inference import segment as segment_with
from medseg.inference.backends import Backend
from medseg.inference.maps import Box
from medseg.plans import Plan
from medseg.volume import Volume
from tests.threshold_model import OFFSETS, SLOPES, expected_classes, threshold_plan


@dataclass
class Lines:
    """The threshold model's network, in numpy."""

    name: str = "lines"
    batch_size: int = 2
    settings: Mapping[str, Any] = field(default_factory=dict)

    def __call__(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        column = (1, 3) + (1,) * (batch.ndim - 2)
        return SLOPES.reshape(column) * batch[:, :1] + OFFSETS.reshape(column)

    def activation_bytes(self) -> int:
        return 0


def segment(volume: Volume, plan: Plan, backend: Backend, **options: Any) -> Prediction:
    return segment_with(volume, [Member(plan, backend)], **options)


class InMemory:
    """Maps as arrays; every voxel must come exactly once."""

    def __init__(self, shape: tuple[int, ...], classes: int, *names: str) -> None:
        self.names = frozenset(names)
        self.probabilities = np.full((classes, *shape), np.nan, np.float32)
        self.entropy = np.full(shape, np.nan, np.float32)

    def write(self, name: str, box: Box, values: NDArray[np.float32]) -> None:
        into = self.probabilities[(slice(None), *box)] if name == "probabilities" else self.entropy[box]
        assert np.isnan(into).all()
        into[...] = values


def oblique(shape: tuple[int, int, int], spacing: tuple[float, float, float] = (0.7, 1.1, 2.3)) -> Geometry:
    """An LPS-like grid turned by 20 degrees."""
    a = np.deg2rad(20)
    turn = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
    affine = np.eye(4)
    affine[:3, :3] = turn @ np.diag([-1.0, -1.0, 1.0]) @ np.diag(spacing)
    affine[:3, 3] = (30.0, -12.0, 55.5)
    return Geometry(shape, affine)


def scan(shape: tuple[int, int, int], seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).gamma(2.0, 100.0, size=shape).astype(np.float32)


IDS = np.array([0, 7, 255])


@pytest.mark.parametrize("shape", [(21, 17, 9), (16, 12, 8), (5, 30, 3)])
@pytest.mark.parametrize("overlap", [None, 0.0, 0.7])
@pytest.mark.parametrize("tta", [False, True])
def test_labels_on_an_oblique_grid_are_what_every_voxel_deserves(
    shape: tuple[int, int, int], overlap: float | None, tta: bool
) -> None:
    data = scan(shape)
    plan = threshold_plan(mirror_axes=(0, 1, 2))
    prediction = segment(Volume(data[None], oblique(shape)), plan, Lines(), overlap=overlap, tta=tta)
    assert prediction.ids.dtype == np.uint8
    np.testing.assert_array_equal(prediction.ids, IDS[expected_classes(data)])
    assert set(prediction.timings_s) == {"prepare", "network", "finish"}


def test_labels_come_back_on_the_scans_grid_when_the_network_works_on_another() -> None:
    # A half-space whose boundary is far from the resampled voxels' ambiguity.
    shape = (24, 20, 10)
    data = np.zeros(shape, np.float32)
    data[12:] = 1000.0
    plan = threshold_plan(spacing_mm=(1.4, 1.1, 1.0))
    prediction = segment(Volume(data[None], oblique(shape)), plan, Lines())
    expected = IDS[expected_classes(data)]
    np.testing.assert_array_equal(prediction.ids[:10], expected[:10])
    np.testing.assert_array_equal(prediction.ids[14:], expected[14:])


def test_a_2d_plan_segments_an_image_and_every_slice_of_a_stack() -> None:
    plan = threshold_plan(dimensions=2, patch=(16, 12))
    image = scan((33, 14, 1))
    flat = Geometry((33, 14, 1), np.diag([-1.0, -1.0, 1.0, 1.0]), is_2d=True, spacing_known=False)
    np.testing.assert_array_equal(
        segment(Volume(image[None], flat), plan, Lines()).ids, IDS[expected_classes(image)]
    )
    stack = scan((18, 11, 5))
    np.testing.assert_array_equal(
        segment(Volume(stack[None], oblique((18, 11, 5))), plan, Lines()).ids, IDS[expected_classes(stack)]
    )


def test_probabilities_and_entropy_are_those_of_the_logits_and_agree_with_the_labels() -> None:
    from scipy.special import softmax
    from scipy.stats import entropy

    data = scan((9, 20, 7))
    maps = InMemory(data.shape, 3, "probabilities", "entropy")
    prediction = segment(Volume(data[None], oblique((9, 20, 7))), threshold_plan(), Lines(), maps=maps)
    z = (data - data.mean()) / data.std()
    expected = softmax(SLOPES[:, None, None, None] * z + OFFSETS[:, None, None, None], axis=0)
    np.testing.assert_allclose(maps.probabilities, expected, atol=1e-5)
    np.testing.assert_allclose(maps.entropy, entropy(expected, axis=0), atol=1e-5)
    np.testing.assert_array_equal(IDS[maps.probabilities.argmax(axis=0)], prediction.ids)


def test_ids_above_255_take_sixteen_bits() -> None:
    data = scan((6, 5, 4))
    plan = threshold_plan(names={3: "a", 1024: "b"})
    prediction = segment(Volume(data[None], oblique((6, 5, 4))), plan, Lines())
    assert prediction.ids.dtype == np.uint16
    np.testing.assert_array_equal(prediction.ids, np.array([0, 3, 1024])[expected_classes(data)])


def test_on_a_tie_the_class_first_in_the_plan_wins() -> None:
    class Undecided(Lines):
        def __call__(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
            logits = np.zeros((batch.shape[0], 3, *batch.shape[2:]), np.float32)
            logits[:, 1:] = batch[:, :1] > 0
            return logits

    data = scan((6, 5, 4))
    prediction = segment(Volume(data[None], oblique((6, 5, 4))), threshold_plan(), Undecided())
    np.testing.assert_array_equal(prediction.ids, np.where(data > data.mean(), 7, 0))


def test_a_scan_that_fits_no_plan_is_refused_before_anything_is_computed() -> None:
    shape = (60, 50, 40)
    volume = Volume(scan(shape)[None], oblique(shape))
    calls = []

    class Watched(Lines):
        def __call__(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
            calls.append(len(batch))
            return super().__call__(batch)

    with pytest.raises(OutOfMemory, match=r"about .* [GM]B.*allows .* [GM]B.*raise the limit"):
        segment(volume, threshold_plan(), Watched(), max_memory=1_000_000)
    assert calls == []


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("mapped", [False, True])
def test_a_network_that_gives_no_numbers_is_refused(value: float, mapped: bool) -> None:
    class Broken(Lines):
        def __call__(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
            logits = super().__call__(batch)
            logits[0, 1, 3, 3, 3] = value
            return logits

    data = scan((20, 15, 9))
    maps = InMemory(data.shape, 3, "entropy") if mapped else None
    with pytest.raises(ModelRefused, match="not numbers"):
        segment(Volume(data[None], oblique(data.shape)), threshold_plan(), Broken(), maps=maps)


def test_a_scan_that_does_not_fit_the_plan_is_refused_by_name() -> None:
    two = Volume(np.stack([scan((6, 5, 4))] * 2), oblique((6, 5, 4)))
    with pytest.raises(InputRefused, match=r"2 channel.*needs 1 \(t1\)") as refusal:
        segment(two, threshold_plan(), Lines())
    assert refusal.value.code == "channels"
