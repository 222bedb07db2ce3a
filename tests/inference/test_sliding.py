"""Logits of a whole scan equal what the network says of each voxel, and MONAI's sliding window."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.inferers import sliding_window_inference
from numpy.typing import NDArray

from medseg.errors import ModelRefused, UsageError
from medseg.inference import predict_logits
from medseg.inference.flips import usable_mirror_axes
from medseg.labels import LabelSet
from medseg.plans import Plan, labels_as_specs


def plan_for(patch: Sequence[int], names: dict[int, str] | None = None, **values: Any) -> Plan:
    dimensions = len(patch)
    return Plan.checked(
        {
            "name": "toy",
            "dimensions": dimensions,
            "channels": [{"name": "t1"}],
            "labels": [spec.model_dump() for spec in labels_as_specs(LabelSet.from_names(names or {3: "a"}))],
            "patch": tuple(patch),
            "network": {"strides": ((1,) * dimensions,) * 3, "features": (1, 1, 1), "deep_supervision": 0},
            "augmentation": {"flip_axes": values.get("inference", {}).get("mirror_axes", ())},
            **values,
        }
    )


def both_signs(batch: NDArray[np.float32]) -> NDArray[np.float32]:
    """An identity network: one class is the image, the other its negative."""
    return np.concatenate([batch, -batch], axis=1)


@settings(max_examples=60, deadline=None)
@given(
    shape=st.tuples(st.integers(1, 15), st.integers(1, 12), st.integers(1, 9)),
    patch=st.tuples(st.integers(1, 8), st.integers(1, 8), st.integers(1, 8)),
    overlap=st.floats(0, 0.9),
    batch_size=st.integers(1, 5),
    mirror=st.sets(st.integers(0, 2)),
    seed=st.integers(0, 2**16),
)
def test_an_identity_network_reproduces_every_voxel_borders_included(
    shape: tuple[int, ...],
    patch: tuple[int, ...],
    overlap: float,
    batch_size: int,
    mirror: set[int],
    seed: int,
) -> None:
    data = np.random.default_rng(seed).normal(size=(1, *shape)).astype(np.float32)
    plan = plan_for(patch, inference={"mirror_axes": (0, 1, 2)})
    logits = predict_logits(
        data, plan, both_signs, overlap=overlap, batch_size=batch_size, mirror_axes=sorted(mirror)
    )
    assert logits.dtype == np.float32
    assert logits.flags.c_contiguous
    np.testing.assert_allclose(logits, np.concatenate([data, -data]), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("overlap", [0.0, 0.25, 0.5, 0.75])
def test_a_scan_that_is_one_patch_comes_back_bit_for_bit(overlap: float) -> None:
    data = np.random.default_rng(0).normal(size=(1, 8, 6, 4)).astype(np.float32)
    logits = predict_logits(data, plan_for((8, 6, 4)), both_signs, overlap=overlap)
    np.testing.assert_array_equal(logits[0], data[0])


@pytest.mark.parametrize("shape", [(20, 12, 8), (20, 12, 5), (8, 7, 3)])
@pytest.mark.parametrize("batch_size", [1, 4])
def test_logits_equal_monais_sliding_window(shape: tuple[int, ...], batch_size: int) -> None:
    # Steps of 4 divide every axis evenly, where MONAI's windows and ours are the same.
    torch.manual_seed(0)
    network = torch.nn.Sequential(
        torch.nn.Conv3d(1, 4, 3, padding=1), torch.nn.InstanceNorm3d(4), torch.nn.Conv3d(4, 2, 3, padding=1)
    ).eval()
    data = np.random.default_rng(1).normal(size=(1, *shape)).astype(np.float32)
    plan = plan_for((8, 8, 8))

    with torch.inference_mode():
        expected = sliding_window_inference(
            torch.from_numpy(data)[None], (8, 8, 8), batch_size, network, overlap=0.5, mode="gaussian"
        )[0].numpy()
        found = predict_logits(
            data,
            plan,
            lambda batch: network(torch.from_numpy(batch)).numpy(),
            overlap=0.5,
            batch_size=batch_size,
        )
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_padding_is_zeros_on_both_sides() -> None:
    seen = []

    def watch(batch: NDArray[np.float32]) -> NDArray[np.float32]:
        seen.append(batch.copy())
        return both_signs(batch)

    data = np.full((1, 3, 4, 2), 5, np.float32)
    predict_logits(data, plan_for((8, 4, 5)), watch)
    expected = np.zeros((1, 1, 8, 4, 5), np.float32)
    expected[0, 0, 2:5, :, 1:3] = 5
    np.testing.assert_array_equal(seen[0], expected)


def test_a_2d_plan_sees_the_slices_of_the_third_axis() -> None:
    shapes = []

    def in_plane_mean(batch: NDArray[np.float32]) -> NDArray[np.float32]:
        shapes.append(batch.shape)
        mean = np.broadcast_to(batch.mean(axis=(2, 3), keepdims=True), batch.shape)
        return np.concatenate([batch, mean], axis=1)

    data = np.random.default_rng(2).normal(size=(1, 6, 4, 5)).astype(np.float32)
    logits = predict_logits(data, plan_for((6, 4)), in_plane_mean, batch_size=2)
    assert shapes == [(2, 1, 6, 4), (2, 1, 6, 4), (1, 1, 6, 4)]
    np.testing.assert_array_equal(logits[0], data[0])
    np.testing.assert_allclose(
        logits[1], np.broadcast_to(data[0].mean(axis=(0, 1)), data.shape[1:]), rtol=1e-4, atol=1e-6
    )


def test_flipping_left_and_right_swaps_paired_labels_back() -> None:
    # A network that calls a bright voxel "left" where x is small and "right" where x is large.
    def by_side(batch: NDArray[np.float32]) -> NDArray[np.float32]:
        x = np.arange(batch.shape[2], dtype=np.float32).reshape(-1, 1, 1) - (batch.shape[2] - 1) / 2
        return np.stack([np.zeros_like(batch[:, 0]), -x * batch[:, 0], x * batch[:, 0]], axis=1)

    plan = plan_for(
        (8, 4, 4), {1: "hippocampus left", 2: "hippocampus right"}, inference={"mirror_axes": (0, 1)}
    )
    data = np.random.default_rng(3).random((1, 8, 4, 4)).astype(np.float32)
    plain = predict_logits(data, plan, by_side)
    np.testing.assert_allclose(predict_logits(data, plan, by_side, mirror_axes=(0,)), plain, atol=1e-6)
    np.testing.assert_allclose(predict_logits(data, plan, by_side, mirror_axes=(0, 1)), plain, atol=1e-6)


def test_flips_average_over_every_combination() -> None:
    # Its logit depends on the position along x and y, so each flip gives another answer.
    def positional(batch: NDArray[np.float32]) -> NDArray[np.float32]:
        ramp = np.arange(4, dtype=np.float32).reshape(4, 1, 1) * 10 + np.arange(6, dtype=np.float32).reshape(
            6, 1
        )
        return np.stack([np.broadcast_to(ramp, batch[:, 0].shape), np.zeros_like(batch[:, 0])], axis=1)

    plan = plan_for((4, 6, 2), inference={"mirror_axes": (0, 1)})
    data = np.zeros((1, 4, 6, 2), np.float32)
    logits = predict_logits(data, plan, positional, mirror_axes=(0, 1))
    np.testing.assert_allclose(logits[0], 15 + 2.5)


@pytest.mark.parametrize(
    ("names", "orientation", "usable"),
    [
        ({1: "liver"}, "RAS", (0, 1)),
        ({1: "left kidney", 2: "right kidney"}, "RAS", (0, 1)),
        ({1: "left kidney"}, "RAS", (1,)),
        ({1: "cell"}, None, (0, 1)),
        ({1: "left kidney", 2: "right kidney"}, None, ()),
    ],
)
def test_axes_that_would_put_a_label_on_the_wrong_side_are_not_mirrored(
    names: dict[int, str], orientation: str | None, usable: tuple[int, ...]
) -> None:
    plan = plan_for((4, 4, 4), names, grid={"orientation": orientation}, inference={"mirror_axes": (0, 1)})
    assert usable_mirror_axes(plan) == usable
    with pytest.raises(UsageError, match="mirror axes"):
        predict_logits(np.zeros((1, 4, 4, 4), np.float32), plan, both_signs, mirror_axes=(2,))


def test_a_network_with_other_classes_than_its_plan_is_refused() -> None:
    with pytest.raises(ModelRefused, match=r"\(1, 1, 4, 4, 4\).*promises \(1, 2, 4, 4, 4\)"):
        predict_logits(np.zeros((1, 4, 4, 4), np.float32), plan_for((4, 4, 4)), lambda batch: batch)


def test_progress_counts_windows_and_may_cancel() -> None:
    seen: list[tuple[str, int, int]] = []
    data = np.zeros((1, 8, 4, 4), np.float32)
    predict_logits(data, plan_for((4, 4, 4)), both_signs, progress=lambda *now: seen.append(now))
    assert seen == [("predict", 1, 3), ("predict", 2, 3), ("predict", 3, 3)]

    class Stop(Exception):
        pass

    def stop(stage: str, done: int, total: int) -> None:
        raise Stop

    with pytest.raises(Stop):
        predict_logits(data, plan_for((4, 4, 4)), both_signs, progress=stop)
