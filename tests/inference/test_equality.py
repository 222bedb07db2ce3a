"""The streaming engine gives what the plain whole-volume computation gives, for every way of asking it.

Tolerances. The engine adds float32 numbers, the plain computation float64 ones. With logits up to 70 and
hundreds of windows over a voxel they part by less than 1e-5 (measured: 3e-6); labels are compared where the
decision is clearer than `CLEAR`, which holds for 99 % of the examples' voxels. Sums in half
precision round every partial sum to 11 bits, so their logits may be off by a few thousandths of the largest.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, event, given, reject, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from medseg.errors import OutOfMemory
from medseg.geometry import Geometry
from medseg.inference import engine
from medseg.inference.engine import Member, Prediction, segment
from medseg.inference.memory import MemoryPlan
from medseg.plans import Plan
from medseg.volume import Volume
from tests.inference.equality_cases import Case, cases, geometries, small_network
from tests.inference.plain import PlainResult, Unclear, plain
from tests.inference.toy_networks import Toy

CLEAR = 1e-4
HALF = 4e-3  # of the largest logit


def examples(number: int) -> settings:
    """So many examples; MEDSEG_EXAMPLES_TIMES as many where time is no matter."""
    slow = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example]
    times = int(os.environ.get("MEDSEG_EXAMPLES_TIMES", "1"))
    return settings(max_examples=number * times, suppress_health_check=slow)


@dataclass
class Collected:
    """Takes maps as they come, and counts how often each voxel was written."""

    names: frozenset[str]
    shape: tuple[int, ...]
    outputs: int
    values: dict[str, NDArray[np.float32]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in self.names:
            channels = (self.outputs,) if name == "probabilities" else ()
            self.values[name] = np.full((*channels, *self.shape), np.nan, np.float32)
        self.times = {name: np.zeros(self.shape, np.int64) for name in self.names}

    def restart(self) -> None:
        """Everything comes again."""
        self.__post_init__()

    def write(self, name: str, box: Any, values: NDArray[np.float32]) -> None:
        """Take a box."""
        assert name in self.names
        assert values.dtype == np.float32
        self.times[name][box] += 1
        self.values[name][(..., *box)] = values


def run(case: Case, **how: Any) -> tuple[Prediction, Collected]:
    """The engine's answer, and the maps that it wrote."""
    maps = Collected(case.maps, case.volume.geometry.shape, len(case.members[0][0].output_names))
    prediction = segment(
        case.volume,
        [Member(plan, network) for plan, network in case.members],
        overlap=case.overlap,
        tta=case.tta,
        skip_empty=case.skip_empty,
        maps=maps if case.maps else None,
        **how,
    )
    return prediction, maps


def expected(case: Case) -> PlainResult:
    """The plain computation's answer."""
    try:
        return plain(
            case.volume, case.members, overlap=case.overlap, tta=case.tta, skip_empty=case.skip_empty
        )
    except Unclear:
        reject()


def check(prediction: Prediction, maps: Collected, truth: PlainResult, clear: float, close: float) -> None:
    """Labels where they are clear, maps everywhere, every voxel once, and the windows' count."""
    assert prediction.ids.shape == truth.ids.shape
    sure = truth.margin > clear
    np.testing.assert_array_equal(prediction.ids[sure], truth.ids[sure])
    for name, times in maps.times.items():
        assert (times == 1).all(), f"{name}: voxels written {np.unique(times)} times"
        found, wanted = maps.values[name], getattr(truth, name)
        # Entropy is steeper than a probability by the logarithm of the number of classes.
        allowed = close * (1 + np.log(len(truth.probabilities))) if name == "entropy" else close
        np.testing.assert_allclose(found, wanted, rtol=0, atol=allowed)
    assert (prediction.windows.total, prediction.windows.skipped) == (truth.windows, truth.skipped)


@examples(100)
@given(case=cases())
def test_labels_and_maps_equal_the_plain_computation(case: Case) -> None:
    truth = expected(case)
    event(f"windows skipped: {truth.skipped > 0}")
    event(f"grids: {truth.grids}")
    prediction, maps = run(case)
    check(prediction, maps, truth, CLEAR, CLEAR)


@examples(30)
@given(case=cases(), sums=st.sampled_from(["f32", "f16"]), place=st.sampled_from(["memory", "disk"]))
def test_neither_half_precision_nor_a_scratch_file_changes_what_is_clear(
    case: Case, sums: str, place: str
) -> None:
    truth = expected(case)
    with sums_on(place):
        prediction, maps = run(case, sums=sums)
    assert (prediction.memory.sums, prediction.memory.place) == (sums, place)
    off = HALF * (1 + truth.largest_logit) if sums == "f16" else CLEAR
    check(prediction, maps, truth, off, off)


@examples(20)
@given(case=cases(), sums=st.sampled_from(["f32", "f16"]))
def test_neither_where_sums_wait_nor_threads_nor_windows_at_once_change_a_bit(case: Case, sums: str) -> None:
    with sums_on("memory"):
        prediction, maps = run(case, sums=sums)
    for _, network in case.members:
        network.batch_size = 5 - network.batch_size
        network.settings["threads"] = 4 - network.settings["threads"]
    with sums_on("disk"):
        other, others = run(case, sums=sums)
    np.testing.assert_array_equal(prediction.ids, other.ids)
    for name in case.maps:
        np.testing.assert_array_equal(maps.values[name], others.values[name])


@examples(30)
@given(
    geometry=geometries(flat=False),
    patch=st.tuples(*[st.integers(1, 10)] * 3),
    overlap=st.sampled_from([0.0, 0.25, 0.5, 0.7]),
    classes=st.integers(1, 60),
    mirror=st.lists(st.integers(0, 2), unique=True, max_size=2),
    seed=st.integers(0, 2**16),
)
def test_an_identity_network_reproduces_every_voxel_borders_included(
    geometry: Geometry,
    patch: tuple[int, int, int],
    overlap: float,
    classes: int,
    mirror: list[int],
    seed: int,
) -> None:
    # The scan holds label ids; the network says of every voxel what it holds.
    scan = np.random.default_rng(seed).integers(0, classes + 1, size=geometry.shape).astype(np.int16)
    plan = plan_of(classes, patch, {"normalisation": "unit", "low": 0.0, "high": 1000.0}, tuple(mirror))

    def tell(batch: NDArray[np.float32]) -> NDArray[np.float32]:
        return -np.abs(1000 * batch - np.arange(classes + 1).reshape(1, -1, 1, 1, 1)).astype(np.float32)

    network = Toy("identity", classes + 1, 1, patch, answer=tell)
    prediction = segment(Volume(scan[None], geometry), [Member(plan, network)], overlap=overlap, tta=True)
    np.testing.assert_array_equal(prediction.ids, scan)


@examples(30)
@given(
    geometry=geometries(flat=False),
    patch=st.tuples(*[st.integers(1, 10)] * 3),
    overlap=st.sampled_from([0.0, 0.25, 0.5, 0.7]),
    classes=st.integers(1, 60),
    levels=st.integers(1, 3),
    seed=st.integers(0, 2**16),
)
def test_on_an_exact_tie_the_first_class_wins(
    geometry: Geometry, patch: tuple[int, int, int], overlap: float, classes: int, levels: int, seed: int
) -> None:
    # Each of a scan's few values has its own list of whole logits: many classes share the largest.
    generator = np.random.default_rng(seed)
    scan = generator.integers(0, 10, size=geometry.shape).astype(np.int16)
    logits = generator.integers(0, levels, size=(10, classes + 1)).astype(np.float32)
    plan = plan_of(classes, patch, {"normalisation": "unit", "low": 0.0, "high": 1000.0})

    def look_up(batch: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.moveaxis(logits[np.round(1000 * batch[:, 0]).astype(int)], -1, 1)

    network = Toy("identity", classes + 1, 1, patch, answer=look_up)
    prediction = segment(Volume(scan[None], geometry), [Member(plan, network)], overlap=overlap)
    np.testing.assert_array_equal(prediction.ids, logits.argmax(axis=1)[scan])


def test_a_case_that_cannot_fit_is_refused_before_the_network_runs() -> None:
    volume = Volume(np.zeros((1, 20, 20, 20), np.int16), Geometry((20, 20, 20), np.eye(4)))
    plan = plan_of(30, (8, 8, 8), {})
    network = Toy("noise", 31, 1, (8, 8, 8))
    with pytest.raises(OutOfMemory):
        segment(volume, [Member(plan, network)], max_memory=10**6)
    assert network.calls == 0


def plan_of(
    classes: int, patch: tuple[int, int, int], channel: dict[str, Any], mirror: tuple[int, ...] = ()
) -> Plan:
    """Label ids 1, 2, 3 ... on the scan's own grid."""
    return Plan.checked(
        {
            "name": "toy",
            "dimensions": 3,
            "channels": [{"name": "c", **channel}],
            "labels": [{"id": n, "name": f"part {n}", "colour": (1, 2, 3)} for n in range(1, classes + 1)],
            "patch": patch,
            "inference": {"mirror_axes": mirror},
            "augmentation": {"flip_axes": mirror},
            **small_network(3),
        }
    )


@contextmanager
def sums_on(place: str) -> Iterator[None]:
    """Of the plans that fit, only those with sums in this place: small scans would never go to disk."""
    every = engine.memory_plans

    def some(*arguments: Any, **options: Any) -> list[MemoryPlan]:
        return [plan for plan in every(*arguments, **options) if plan.place == place]

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(engine, "memory_plans", some)
        yield
