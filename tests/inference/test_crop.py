"""Inference on the box of a scan's foreground: what it gives is what the box gives as a scan of its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, event, given
from hypothesis import strategies as st
from numpy.typing import NDArray

from medseg.geometry import Geometry
from medseg.inference import Member, Prediction, engine, segment
from medseg.plans import Plan
from medseg.volume import Volume
from tests.inference.equality_cases import Case, affordable, cases
from tests.inference.plain import PlainResult, Unclear, plain
from tests.inference.test_device import on_device
from tests.inference.test_equality import CLEAR, Collected, examples, plan_of, run, sums_on
from tests.inference.toy_networks import Toy

RANGE = {"normalisation": "range"}


def with_rule(plan: Plan, **rule: float) -> Plan:
    inference = {**plan.inference.model_dump(), "crop": rule}
    return Plan.checked({**plan.model_dump(), "inference": inference})


def sliced(volume: Volume, box: Any) -> Volume:
    """A box of a scan, cut out by hand."""
    step = np.eye(4)
    step[:3, 3] = [part.start for part in box]
    data = volume.data[(slice(None), *box)].copy()
    affine = volume.geometry.affine @ step
    known = {"is_2d": volume.geometry.is_2d, "spacing_known": volume.geometry.spacing_known}
    return Volume(data, Geometry(data.shape[1:], affine, **known))


@st.composite
def cases_in_air(draw: st.DrawFn) -> Case:
    """Any case whose plans have a rule, with air of any width round the scan."""
    case = draw(cases())
    flat = case.volume.geometry.is_2d
    widths = [(draw(st.integers(0, 9)), draw(st.integers(0, 9))) for _ in range(2 if flat else 3)]
    widths += [(0, 0)] * flat
    data = np.pad(case.volume.data, [(0, 0), *widths], constant_values=-1000)
    i, j, k = data.shape[1:]
    geometry = case.volume.geometry.cropped((-widths[0][0], -widths[1][0], -widths[2][0]), (i, j, k))
    rule = {"above": draw(st.sampled_from([0.1, 0.9])), "margin_mm": draw(st.sampled_from([0.0, 1.0, 8.0]))}
    members = tuple((with_rule(plan, **rule), toy) for plan, toy in case.members)
    volume = Volume(data, geometry)
    overlap = affordable(volume, [plan for plan, _ in members], case.overlap, case.tta)
    return replace(case, volume=volume, members=members, overlap=overlap)


def of_the_box(case: Case, prediction: Prediction) -> PlainResult:
    """The plain computation's answer for what the prediction was made from."""
    volume = case.volume if prediction.crop is None else sliced(case.volume, prediction.crop)
    try:
        return plain(volume, case.members, overlap=case.overlap, tta=case.tta, skip_empty=case.skip_empty)
    except Unclear:
        assume(False)
        raise


def pasted(values: NDArray[Any], box: Any, shape: tuple[int, ...], fill: float = 0.0) -> NDArray[Any]:
    whole = np.full((*values.shape[:-3], *shape), fill, values.dtype)
    whole[(..., *box) if box is not None else ...] = values
    return whole


def check(case: Case, prediction: Prediction, maps: Collected) -> None:
    """Labels and maps in the box are the plain computation's, outside surely background; each voxel once."""
    truth, shape = of_the_box(case, prediction), case.volume.geometry.shape
    event(f"cropped: {prediction.crop is not None}, regions: {bool(case.members[0][0].regions)}")
    margin = pasted(truth.margin, prediction.crop, shape, np.inf)
    sure = margin > CLEAR
    np.testing.assert_array_equal(prediction.ids[sure], pasted(truth.ids, prediction.crop, shape)[sure])
    probabilities = pasted(truth.probabilities, prediction.crop, shape)
    if not case.members[0][0].regions:
        probabilities[0] += 1 - probabilities.sum(axis=0)
    wanted = {"probabilities": probabilities, "entropy": pasted(truth.entropy, prediction.crop, shape)}
    for name, times in maps.times.items():
        assert (times == 1).all(), f"{name}: voxels written {np.unique(times)} times"
        close = CLEAR * (1 + np.log(len(probabilities)))
        np.testing.assert_allclose(maps.values[name], wanted[name], rtol=0, atol=close)
    assert (prediction.windows.total, prediction.windows.skipped) == (truth.windows, truth.skipped)


@examples(16)
@given(case=cases_in_air())
def test_labels_and_maps_are_those_of_the_box_and_outside_is_background(case: Case) -> None:
    prediction, maps = run(case)
    check(case, prediction, maps)


@examples(8)
@given(case=cases_in_air())
def test_so_they_are_on_a_gpu(case: Case) -> None:
    prediction, maps = run(on_device(case))
    assert prediction.memory.place == "device"
    check(case, prediction, maps)


@examples(6)
@given(case=cases_in_air())
def test_confidence_is_that_of_the_box_and_every_voxel_outside_is_background(case: Case) -> None:
    assume(not case.members[0][0].regions)
    prediction, _ = run(case, confidence=True)
    assume(prediction.crop is not None)
    without = replace(case, members=tuple((no_rule(p), t) for p, t in case.members), maps=frozenset())
    alone, _ = run(replace(without, volume=sliced(case.volume, prediction.crop)), confidence=True)
    whole, _ = run(without, confidence=True)
    assert prediction.confidence is not None
    assert alone.confidence is not None
    assert whole.confidence is not None
    assert prediction.confidence.soft_dice() == alone.confidence.soft_dice()
    assert prediction.confidence.voxels.sum() == whole.confidence.voxels.sum()
    more = prediction.confidence.voxels.sum() - alone.confidence.voxels.sum()
    for name in ("voxels", "probability", "intersection"):
        added = getattr(prediction.confidence, name) - getattr(alone.confidence, name)
        np.testing.assert_allclose(added, [more, *[0] * (added.size - 1)], atol=1e-6)


def no_rule(plan: Plan) -> Plan:
    inference = {**plan.inference.model_dump(), "crop": None}
    return Plan.checked({**plan.model_dump(), "inference": inference})


# A noisy object of two tissues in noisy air, in voxels of 1.1 x 0.8 x 2.5 mm: blocks of 4 x 5 x 2 voxels.
SPACING, BLOCK = (1.1, 0.8, 2.5), (4, 5, 2)


def noisy_object(before: tuple[int, int, int], after: tuple[int, int, int]) -> tuple[Volume, Any]:
    """The scan with so much more air round it, and where the unpadded scan lies in it."""
    shape = (48, 72, 30)
    index = np.moveaxis(np.indices(shape), 0, -1)
    away = np.linalg.norm((index - (20, 36, 13)) * SPACING / (14, 17, 18), axis=-1)
    generator = np.random.default_rng(5)
    size = [n + a + b for n, a, b in zip(shape, before, after, strict=True)]
    values = np.abs(np.random.default_rng(6).normal(0, 10, size))
    where = tuple(slice(b, b + n) for b, n in zip(before, shape, strict=True))
    scan = np.where(away < 1, np.where(away < 0.6, 800, 400), 0) + generator.normal(0, 30, shape)
    values[where] = np.abs(scan)
    a = np.deg2rad(20)
    turn = np.array([[0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)], [-1, 0, 0]])
    affine = np.eye(4)
    affine[:3, :3] = turn @ np.diag(SPACING)
    geometry = Geometry(shape, affine).cropped(tuple(-n for n in before), tuple(size))  # type: ignore[arg-type]
    return Volume(values[None].astype(np.float32), geometry), where


def predicted(volume: Volume, network: Callable[[], Toy], spacing: Any = None, **how: Any) -> Prediction:
    plan = with_rule(plan_of(4, (16, 12, 10), RANGE), above=0.1, margin_mm=8)
    plan = Plan.checked({**plan.model_dump(), "grid": {"orientation": "RAS", "spacing_mm": spacing}})
    return segment(volume, [Member(plan, network())], **how)


@pytest.mark.parametrize("spacing", [None, (1.5, 1.5, 1.5)])
def test_labels_do_not_depend_on_air_that_was_added(spacing: Any) -> None:
    def network() -> Toy:
        return Toy("noise", 5, 1, (16, 12, 10), seed=3)

    bare, _ = noisy_object((0, 0, 0), (0, 0, 0))
    alone = predicted(bare, network, spacing)
    assert alone.crop is not None
    for blocks, after in (((3, 1, 2), (9, 0, 17)), ((0, 4, 1), (31, 23, 2))):
        before = tuple(n * size for n, size in zip(blocks, BLOCK, strict=True))
        padded, where = noisy_object(before, after)  # type: ignore[arg-type]
        prediction = predicted(padded, network, spacing)
        np.testing.assert_array_equal(prediction.ids[where], alone.ids)
        assert prediction.windows == alone.windows
        assert np.count_nonzero(prediction.ids) == np.count_nonzero(alone.ids)


def test_labels_hardly_depend_on_air_that_moves_the_blocks() -> None:
    def network() -> Toy:  # logits that depend on the intensity alone
        toy = Toy("identity", 5, 1, (16, 12, 10))
        toy.answer = lambda batch: -((4 * batch - np.arange(5).reshape(1, 5, 1, 1, 1)) ** 2)
        return toy

    bare, _ = noisy_object((0, 0, 0), (0, 0, 0))
    alone = predicted(bare, network)
    padded, where = noisy_object((7, 3, 1), (10, 2, 5))
    prediction = predicted(padded, network)
    assert prediction.crop is not None
    assert (prediction.ids[where] == alone.ids).mean() > 0.999


def test_members_without_the_rule_see_the_whole_scan() -> None:
    volume, _ = noisy_object((8, 10, 4), (6, 5, 4))
    plan = plan_of(3, (16, 12, 10), {"normalisation": "zscore"})
    ruled = with_rule(plan, above=0.1, margin_mm=8)
    toys = [Toy("noise", 4, 1, (16, 12, 10), seed=n) for n in range(2)]
    mixed = segment(volume, [Member(ruled, toys[0]), Member(plan, toys[1])])
    neither = segment(volume, [Member(plan, toys[0]), Member(plan, toys[1])])
    both = segment(volume, [Member(ruled, toys[0]), Member(ruled, toys[1])])
    assert mixed.crop is None
    np.testing.assert_array_equal(mixed.ids, neither.ids)
    assert both.crop is not None
    assert both.windows.total < neither.windows.total


def test_memory_is_planned_for_the_label_map_of_the_whole_scan(monkeypatch: pytest.MonkeyPatch) -> None:
    volume, _ = noisy_object((8, 10, 4), (6, 5, 4))
    asked: list[int] = []
    every = engine.memory_plans

    def watched(*arguments: Any, output_bytes: int, **options: Any) -> Any:
        asked.append(output_bytes)
        return every(*arguments, output_bytes=output_bytes, **options)

    monkeypatch.setattr(engine, "memory_plans", watched)
    prediction = predicted(volume, lambda: Toy("noise", 5, 1, (16, 12, 10)), map_bytes=7)
    assert prediction.crop is not None
    assert asked == [volume.data[0].size + 7]


def test_progress_counts_the_windows_of_the_box() -> None:
    volume, _ = noisy_object((8, 10, 4), (6, 5, 4))
    seen: list[tuple[str, int, int]] = []
    prediction = predicted(
        volume, lambda: Toy("noise", 5, 1, (16, 12, 10)), progress=lambda *now: seen.append(now)
    )
    assert seen[-1] == ("predict", prediction.windows.total, prediction.windows.total)


def test_a_gpu_that_runs_out_half_way_and_a_scratch_file_change_nothing() -> None:
    volume, _ = noisy_object((8, 10, 4), (6, 5, 4))
    plan = with_rule(plan_of(4, (16, 12, 10), RANGE), above=0.1, margin_mm=8)
    maps = frozenset({"probabilities", "entropy"})
    case = Case(volume, ((plan, Toy("noise", 5, 1, (16, 12, 10))),), 0.5, False, True, maps)
    with sums_on("memory"):
        prediction, expected = run(case)
    with sums_on("disk"):
        others = [run(case)]
    there = on_device(case)
    there.members[0][1].runs_out_after = case.members[0][1].calls + 5  # type: ignore[attr-defined]
    others.append(run(there))
    assert any("the GPU ran out of memory" in note for note in others[1][0].notes)
    for other, written in others:
        np.testing.assert_array_equal(other.ids, prediction.ids)
        for name in maps:
            assert (written.times[name] == 1).all()
            np.testing.assert_array_equal(written.values[name], expected.values[name])


@pytest.mark.parametrize("margin_mm", [0.0, 8.0])
def test_a_structure_at_the_edge_of_the_box_is_told(margin_mm: float) -> None:
    values = np.zeros((1, 40, 40, 40), np.float32)
    values[0, 12:24, 8:24, 16:28] = 100
    channel = {"normalisation": "unit", "low": 0.0, "high": 100.0}
    plan = with_rule(plan_of(1, (16, 12, 10), channel), above=0.1, margin_mm=margin_mm)
    toy = Toy("identity", 2, 1, (16, 12, 10))
    toy.answer = lambda batch: np.concatenate([0.5 - batch, batch - 0.5], axis=1)
    prediction = segment(Volume(values, Geometry((40, 40, 40), np.eye(4))), [Member(plan, toy)])
    np.testing.assert_array_equal(prediction.ids, values[0] > 0)
    assert any("edge of the box" in note for note in prediction.notes) == (margin_mm == 0)
