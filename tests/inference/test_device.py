"""What happens on a GPU happens here in the computer's memory: the same tools, on torch's CPU tensors."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from medseg.errors import DeviceOutOfMemory, ModelRefused
from medseg.geometry import Geometry
from medseg.inference import finish
from medseg.inference.backends.device_tools import DeviceTools
from medseg.inference.backends.torch import device_errors
from medseg.inference.engine import Member, segment
from medseg.inference.stream import Group
from medseg.inference.weights import WeightSums
from medseg.inference.windows import gaussian_window
from medseg.volume import Volume
from tests.inference.equality_cases import Case, cases
from tests.inference.test_equality import CLEAR, HALF, check, examples, expected, plan_of, run
from tests.inference.toy_networks import Toy

ROOMY = 10**13


class OnDevice:
    """A toy network that says it runs on a GPU, whose tensors are torch's CPU tensors."""

    name = "torch"

    def __init__(self, toy: Toy, free: int = ROOMY) -> None:
        self.toy, self.free, self.runs_out_after = toy, free, -1
        self.batch_size = toy.batch_size
        self.settings: dict[str, Any] = {**toy.settings, "device": "cpu"}

    def __call__(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        return self.toy(batch)

    def logits(self, batch: NDArray[np.float32]) -> torch.Tensor:
        if self.toy.calls == self.runs_out_after:
            with device_errors():
                raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return torch.from_numpy(self.toy(batch))

    def activation_bytes(self) -> int:
        return self.toy.activation_bytes()

    def device_memory(self) -> tuple[int, int] | None:
        return self.free, ROOMY


def on_device(case: Case) -> Case:
    return replace(case, members=tuple((plan, OnDevice(toy)) for plan, toy in case.members))  # type: ignore[misc]


@examples(60)
@given(case=cases(), sums=st.sampled_from(["f32", "f32", "f16"]))
def test_labels_and_maps_equal_the_plain_computation(case: Case, sums: str) -> None:
    truth = expected(case)
    prediction, maps = run(on_device(case), sums=sums)
    assert (prediction.memory.place, prediction.memory.sums) == ("device", sums)
    off = HALF * (1 + truth.largest_logit) if sums == "f16" else CLEAR
    check(prediction, maps, truth, off, off)


@pytest.mark.parametrize("regions", [False, True])
@pytest.mark.parametrize("ran", [None, np.array([[[True, False], [True, True]]] * 2)])
def test_each_tool_gives_what_finish_gives(regions: bool, ran: NDArray[np.bool_] | None) -> None:
    # A grid 1.5 times as coarse as the scan's, its axes in another order and one turned round.
    affine = np.array([[0, 0, -1.0, 0], [1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 1]])
    volume = Volume(np.zeros((1, 21, 18, 15), np.int16), Geometry((21, 18, 15), affine))
    plan = plan_of(11, (8, 8, 8), {})
    values = plan.model_dump()
    values["grid"] = {"orientation": "RAS", "spacing_mm": (1.5, 1.5, 1.0)}
    if regions:
        values["regions"] = [{"name": f"r{n}", "labels": (n, n + 1), "paints": n} for n in range(1, 11)]
    plan = type(plan).checked(values)
    group = Group(volume, [Member(plan, Toy("noise", len(plan.output_names), 1, (8, 8, 8)))], 0.5, False)
    schedule = group.schedule
    ran = None if ran is None else np.resize(ran, schedule.counts)
    weights = WeightSums(schedule, gaussian_window((8, 8, 8), 0.125), ran)
    tools = DeviceTools("cpu")
    generator = np.random.default_rng(4)
    compared = 0
    for at in schedule.steps():
        if schedule.native_box(at) is None:
            continue
        size = [axis.ends[t] - axis.keep[t] for axis, t in zip(schedule.axes, at, strict=True)]
        divisor = weights.box(at)
        sums = divisor * generator.normal(size=(len(plan.output_names), *size)).astype(np.float32)
        ours = tools.logits_of(torch.from_numpy(sums.copy()), divisor, plan)
        theirs = finish.logits_of(sums.copy(), divisor, plan)
        np.testing.assert_allclose(tools.on_host(ours), theirs, rtol=1e-6)
        restored, wanted = tools.restore_box(ours, schedule, at), finish.restore_box(theirs, schedule, at)
        np.testing.assert_allclose(tools.on_host(restored), wanted, rtol=1e-5, atol=1e-5)
        clear = _margin(wanted, regions) > 1e-4
        labels, answer = tools.decide(ours, schedule, at, plan), finish.decide(theirs, schedule, at, plan)
        np.testing.assert_array_equal(
            tools.on_host(labels)[clear], np.broadcast_to(answer, wanted.shape[1:])[clear]
        )
        np.testing.assert_array_equal(tools.ids_of(restored, plan, 0.0), labels)
        shares, p = tools.probabilities_of(restored, plan), finish.probabilities_of(wanted, plan)
        np.testing.assert_allclose(tools.on_host(shares), p, atol=1e-5)
        entropy, h = tools.entropy_of(shares, plan), finish.entropy_of(p, plan)
        np.testing.assert_allclose(tools.on_host(entropy), h, atol=1e-4)
        compared += int(clear.sum())
    tools.collect(None, np.zeros(1), plan)
    assert compared > 4000


def test_of_equal_logits_the_first_class_wins() -> None:
    plan = plan_of(3, (4, 4, 4), {})
    tools = DeviceTools("cpu")
    values = torch.tensor([1.0, 2.0, 2.0, 0.0]).reshape(4, 1, 1, 1)
    assert tools.ids_of(values, plan, 0.0).item() == 1
    assert tools.ids_of(torch.zeros(4, 1, 1, 1), plan, 0.0).item() == 0


def test_ids_above_255_stay_what_they_are() -> None:
    values = plan_of(2, (4, 4, 4), {}).model_dump()
    values["labels"][1]["id"] = 40000
    plan = type(plan_of(2, (4, 4, 4), {})).checked(values)
    toy = Toy(
        "identity",
        3,
        1,
        (4, 4, 4),
        answer=lambda batch: np.full((len(batch), 3, 4, 4, 4), [[[[[0]]], [[[1]]], [[[2]]]]], np.float32),
    )
    volume = Volume(np.zeros((1, 6, 5, 4), np.int16), Geometry((6, 5, 4), np.eye(4)))
    prediction = segment(volume, [Member(plan, OnDevice(toy))])
    assert prediction.ids.dtype == np.uint16
    assert (prediction.ids == 40000).all()


def test_what_is_not_a_number_is_refused() -> None:
    plan = plan_of(2, (4, 4, 4), {})
    toy = Toy(
        "noise", 3, 1, (4, 4, 4), answer=lambda batch: np.full((len(batch), 3, 4, 4, 4), np.nan, np.float32)
    )
    volume = Volume(np.zeros((1, 6, 6, 6), np.int16), Geometry((6, 6, 6), np.eye(4)))
    with pytest.raises(ModelRefused, match="not numbers"):
        segment(volume, [Member(plan, OnDevice(toy))])


def test_a_gpu_whose_memory_runs_out_half_way_gives_the_same_labels_and_says_so() -> None:
    plan = plan_of(5, (6, 6, 6), {})
    scan = np.random.default_rng(2).normal(100, 20, (1, 13, 12, 11)).astype(np.float32)
    volume = Volume(scan, Geometry((13, 12, 11), np.eye(4)))
    expected = segment(volume, [Member(plan, Toy("noise", 6, 1, (6, 6, 6)))]).ids
    network = OnDevice(Toy("noise", 6, 1, (6, 6, 6)))
    network.runs_out_after = 7
    prediction = segment(volume, [Member(plan, network)])
    assert prediction.memory.place != "device"
    assert "the GPU ran out of memory" in prediction.notes[0]
    np.testing.assert_array_equal(prediction.ids, expected)


def test_a_gpu_that_is_too_full_is_not_tried() -> None:
    plan = plan_of(5, (6, 6, 6), {})
    volume = Volume(np.zeros((1, 13, 12, 11), np.int16), Geometry((13, 12, 11), np.eye(4)))
    prediction = segment(volume, [Member(plan, OnDevice(Toy("noise", 6, 1, (6, 6, 6)), free=1000))])
    assert prediction.memory.place == "memory"


def test_only_a_gpus_out_of_memory_is_called_so() -> None:
    with (
        pytest.raises(DeviceOutOfMemory, match=r"the GPU's memory ran out.*Tried to allocate"),
        device_errors(),
    ):
        raise torch.cuda.OutOfMemoryError("Tried to allocate 2.00 GiB")
    with pytest.raises(RuntimeError, match="an illegal memory access"), device_errors():
        raise RuntimeError("CUDA error: an illegal memory access was encountered")
    with pytest.raises(MemoryError) as caught, device_errors():
        raise MemoryError
    assert not isinstance(caught.value, DeviceOutOfMemory)


def _margin(values: NDArray[np.float32], regions: bool) -> NDArray[np.float32]:
    """How clear the decision is in each voxel."""
    if regions:
        return np.abs(values).min(axis=0)
    first, second = np.sort(values, axis=0)[-1:-3:-1]
    return first - second
