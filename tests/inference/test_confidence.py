"""How sure the network is of each structure: against sums over the whole volume in double precision."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from numpy.typing import NDArray

from medseg.geometry import Geometry
from medseg.inference import Confidence, Member, segment
from medseg.inference.confidence import own_part, totals_of
from medseg.inference.schedule import schedule
from medseg.inference.threads import Threads
from medseg.preprocess import network_geometry
from medseg.volume import Volume
from tests.inference.equality_cases import Case, cases, geometries, grids
from tests.inference.plain import plain_logits
from tests.inference.test_device import on_device
from tests.inference.test_equality import examples, expected, plan_of, run, sums_on
from tests.inference.toy_networks import Toy

# Of all voxels: a rounded logit may turn a label whose two best classes are all but equal.
_CLOSE = 1e-4


def softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    shares = np.exp(logits - logits.max(axis=0))
    return shares / shares.sum(axis=0)


def brute_force(case: Case) -> tuple[NDArray[np.float64], float]:
    """Voxels, probability and intersection (3, K), and how many voxels are not clearly decided."""
    truth = expected(case)
    if truth.grids > 1:
        shares, clear = truth.probabilities, truth.margin
    else:
        logits = plain_logits(
            case.volume, case.members, overlap=case.overlap, tta=case.tta, skip_empty=case.skip_empty
        )
        shares = softmax(logits)
        first, second = np.sort(logits, axis=0)[-1:-3:-1]
        clear = first - second
    winner = shares.argmax(axis=0)
    given_to = [winner == k for k in range(len(shares))]
    totals = [
        [mask.sum() for mask in given_to],
        shares.reshape(len(shares), -1).sum(axis=1),
        [share[mask].sum() for share, mask in zip(shares, given_to, strict=True)],
    ]
    return np.array(totals, np.float64), float((clear < 1e-4).sum())


def check(confidence: Confidence | None, case: Case, off: float = 0.0) -> None:
    """The three sums; a voxel that is not clearly decided may count for another class."""
    totals, unclear = brute_force(case)
    assert confidence is not None
    assert confidence.ids == case.members[0][0].class_ids
    voxels = totals[0].sum()
    allowed = voxels * (_CLOSE + off)
    assert confidence.voxels.sum() == voxels
    np.testing.assert_allclose(confidence.probability, totals[1], rtol=0, atol=allowed)
    for found, wanted in ((confidence.voxels, totals[0]), (confidence.intersection, totals[2])):
        np.testing.assert_allclose(found, wanted, rtol=0, atol=allowed + unclear)
    scores = confidence.soft_dice()
    assert list(scores) == list(confidence.ids[1:])
    for label, n, p, a in zip(confidence.ids, *totals, strict=True):
        if label and n > unclear and unclear == 0 and off == 0:
            assert scores[label] == pytest.approx(2 * a / (n + p), abs=1e-3)


@st.composite
def softmax_cases(draw: st.DrawFn) -> Case:
    """Any case without regions: ensembles, flips, oblique and anisotropic grids, empty windows."""
    case = draw(cases())
    assume(not case.members[0][0].regions)
    return case


@examples(60)
@given(case=softmax_cases())
def test_sums_are_those_of_the_whole_volume(case: Case) -> None:
    prediction, _ = run(case, confidence=True)
    check(prediction.confidence, case)


@examples(30)
@given(case=softmax_cases())
def test_sums_on_a_gpu_are_those_of_the_whole_volume(case: Case) -> None:
    prediction, _ = run(on_device(case), confidence=True)
    assert prediction.memory.place == "device"
    check(prediction.confidence, case)


@examples(20)
@given(case=softmax_cases())
def test_neither_labels_nor_maps_change_nor_sums_with_threads_or_a_scratch_file(case: Case) -> None:
    with sums_on("memory"):
        without, maps = run(case)
        prediction, others = run(case, confidence=True)
    assert without.confidence is None
    np.testing.assert_array_equal(without.ids, prediction.ids)
    for name in case.maps:
        np.testing.assert_array_equal(maps.values[name], others.values[name])
    for _, network in case.members:
        network.batch_size = 5 - network.batch_size
        network.settings["threads"] = 4 - network.settings["threads"]
    with sums_on("disk"):
        again, _ = run(case, confidence=True)
    assert prediction.confidence is not None
    assert again.confidence is not None
    for name in ("voxels", "probability", "intersection"):
        np.testing.assert_array_equal(
            getattr(prediction.confidence, name), getattr(again.confidence, name), err_msg=name
        )


@examples(40)
@given(data=st.data(), overlap=st.sampled_from([0.0, 0.3, 0.5, 0.8]))
def test_boxes_share_out_the_networks_grid(data: st.DataObject, overlap: float) -> None:
    geometry = data.draw(geometries(flat=False))
    values = data.draw(grids(geometry, 3))
    network = network_geometry(geometry, plan_of(1, (2, 2, 2), {}).grid.model_copy(update=values))
    patch = data.draw(st.tuples(*[st.integers(1, 12)] * 3))
    plan = schedule(network, geometry, patch, overlap)
    times = np.zeros([axis.size for axis in plan.axes], np.int64)
    for at in plan.steps():
        part = own_part(plan, at, network.shape)
        if part is None:
            continue
        keep = [axis.keep[t] for axis, t in zip(plan.axes, at, strict=True)]
        size = [axis.ends[t] - k for axis, t, k in zip(plan.axes, at, keep, strict=True)]
        assert all(0 <= s.start < s.stop <= n for s, n in zip(part, size, strict=True))
        times[tuple(slice(s.start + k, s.stop + k) for s, k in zip(part, keep, strict=True))] += 1
    inside = tuple(slice(a.pad, a.pad + n) for a, n in zip(plan.axes, network.shape, strict=True))
    assert (times[inside] == 1).all()
    assert times.sum() == np.prod(network.shape)


def test_classes_that_cannot_matter_are_left_out_and_nothing_is_missed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    generator = np.random.default_rng(3)
    logits = generator.normal(0, 2, size=(33, 9, 40, 64)).astype(np.float32)
    logits += np.linspace(0, -60, 33, dtype=np.float32).reshape(-1, 1, 1, 1)
    logits[7, 4] += 40
    before = logits.copy()
    seen: list[int] = []
    exp = np.exp

    def watched(values: NDArray[np.float32], **how: Any) -> Any:
        seen.append(len(values))
        return exp(values, **how)

    with monkeypatch.context() as patched:
        patched.setattr(np, "exp", watched)
        found = totals_of(logits, Threads(1))
    assert 2 < max(seen) < 25
    np.testing.assert_array_equal(logits, before)
    shares = softmax(logits.astype(np.float64)).reshape(33, -1)
    winner = shares.argmax(axis=0)
    np.testing.assert_array_equal(found[0], np.bincount(winner, minlength=33))
    np.testing.assert_allclose(found[1], shares.sum(axis=1), rtol=1e-5, atol=1e-3)
    np.testing.assert_allclose(
        found[2], np.bincount(winner, weights=shares.max(axis=0), minlength=33), rtol=1e-5, atol=1e-3
    )


@pytest.mark.parametrize("classes", [2, 300])
def test_of_equal_logits_the_first_class_counts(classes: int) -> None:
    logits = np.zeros((classes, 3, 4, 5), np.float32)
    logits[0, 0] = -1
    found = totals_of(logits, Threads(1))
    assert found[0].tolist() == [40, 20, *[0] * (classes - 2)]
    first = 40 / classes + 20 / (1 + (classes - 1) * np.e)
    assert found[1][0] == pytest.approx(first, rel=1e-5)


def test_a_sure_network_scores_one_and_a_doubtful_one_what_its_doubt_says() -> None:
    # A cube whose voxels are label 1 with probability p, everything else with probability 1 - p.
    scan = np.zeros((14, 11, 9), np.float32)
    scan[3:9, 2:8, 4:8] = 1
    plan = plan_of(2, (6, 5, 4), {"normalisation": "unit", "low": 0.0, "high": 1.0})
    volume = Volume(scan[None], Geometry(scan.shape, np.diag([1.0, 1.2, 3.0, 1.0])))
    cube, rest = scan.sum(), scan.size - scan.sum()
    for p in (0.6, 0.9, 0.999):
        odds = np.log(p / (1 - p))

        def answer(batch: NDArray[np.float32], odds: float = odds) -> NDArray[np.float32]:
            sure = np.where(batch[:, :1] > 0.5, odds, -odds)
            return np.concatenate([0 * sure, sure, 0 * sure - 50], axis=1).astype(np.float32)

        toy = Toy("identity", 3, 1, (6, 5, 4), answer=answer)
        confidence = segment(volume, [Member(plan, toy)], confidence=True).confidence
        assert confidence is not None
        scores = confidence.soft_dice()
        assert scores[1] == pytest.approx(2 * p * cube / (p * cube + (1 - p) * rest + cube), rel=1e-4)
        assert scores[2] is None  # no voxel is given label 2


def test_a_network_whose_grid_is_finer_than_the_scans_counts_voxels_that_no_label_needs() -> None:
    shape = (4, 5, 3)
    volume = Volume(
        np.random.default_rng(0).normal(size=(1, *shape)).astype(np.float32),
        Geometry(shape, np.diag([4.0, 4.0, 8.0, 1.0])),
    )
    plan = plan_of(2, (3, 3, 3), {})
    plan = type(plan).checked({**plan.model_dump(), "grid": {"spacing_mm": (1.0, 1.0, 1.0)}})
    toy = Toy("noise", 3, 1, (3, 3, 3))
    case = Case(volume, ((plan, toy),), 0.0, False, True, frozenset())
    prediction, _ = run(case, confidence=True)
    assert prediction.confidence is not None
    assert prediction.confidence.voxels.sum() == np.prod(network_geometry(volume.geometry, plan.grid).shape)
    check(prediction.confidence, case)


def test_nothing_is_summed_for_regions() -> None:
    values = plan_of(2, (4, 4, 4), {}).model_dump()
    values["regions"] = [{"name": "both", "labels": (1, 2), "paints": 1}]
    plan = type(plan_of(2, (4, 4, 4), {})).checked(values)
    volume = Volume(np.zeros((1, 6, 5, 4), np.int16), Geometry((6, 5, 4), np.eye(4)))
    assert segment(volume, [Member(plan, Toy("noise", 1, 1, (4, 4, 4)))], confidence=True).confidence is None


def test_a_gpu_whose_memory_runs_out_half_way_counts_every_voxel_once() -> None:
    plan = plan_of(5, (6, 6, 6), {})
    scan = np.random.default_rng(2).normal(100, 20, (1, 13, 12, 11)).astype(np.float32)
    volume = Volume(scan, Geometry((13, 12, 11), np.eye(4)))
    case = Case(volume, ((plan, Toy("noise", 6, 1, (6, 6, 6))),), 0.5, False, True, frozenset())
    there = on_device(case)
    there.members[0][1].runs_out_after = 7  # type: ignore[attr-defined]
    prediction, _ = run(there, confidence=True)
    assert "the GPU ran out of memory" in prediction.notes[0]
    check(prediction.confidence, case)


def test_where_no_window_looked_there_is_background() -> None:
    plan = plan_of(2, (4, 4, 4), {"normalisation": "unit", "low": 0.0, "high": 1.0})
    values = {**plan.model_dump(), "inference": {"empty": {"below": 0.5}}}
    plan = type(plan).checked(values)
    scan = np.zeros((1, 24, 10, 9), np.float32)
    scan[0, 18:] = 1
    toy = Toy("noise", 3, 1, (4, 4, 4))
    case = Case(Volume(scan, Geometry((24, 10, 9), np.eye(4))), ((plan, toy),), 0.5, False, True, frozenset())
    for maps in (frozenset[str](), frozenset({"entropy"})):
        prediction, _ = run(replace(case, maps=maps), confidence=True)
        assert prediction.windows.skipped > 0
        check(prediction.confidence, case)


def test_all_places_of_patches_are_tried() -> None:
    """The sums of windows without overlap, where a box is a window, for every remainder of the shape."""
    for extra in itertools.product((0, 1), repeat=3):
        shape = tuple(4 + n for n in extra)
        volume = Volume(np.random.default_rng(1).normal(size=(1, *shape)), Geometry(shape, np.eye(4)))
        plan = plan_of(3, (5, 5, 5), {})
        case = Case(volume, ((plan, Toy("noise", 4, 1, (5, 5, 5))),), 0.0, False, True, frozenset())
        check(run(case, confidence=True)[0].confidence, case)
