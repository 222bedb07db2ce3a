"""How often cases and labels are drawn: the stated chances, and the same ones after a resume."""

from __future__ import annotations

import csv

import numpy as np
import pytest
from lightning_fabric import Fabric
from scipy import stats

from medseg.errors import PlanInvalid
from medseg.plans import Plan
from medseg.training.cache import CachedCase
from medseg.training.difficulty import Difficulty, chances_of, summed_by_case
from medseg.training.fit import FitSettings, fit
from medseg.training.rarity import Rarity
from medseg.training.sampling import Prefetcher, draw_places, read_size

SHAPE = (40, 50, 44)
FRACTIONS = {0: 0.9475, 1: 0.04, 5: 0.0025, 9: 0.01}  # label 5 is the rarest
HAS = [(1,), (1, 2), (1, 3), (1, 2, 3)]  # classes of each case


def plan(**sampling: object) -> Plan:
    channel = {"name": "x", "modality": None, "mean": 0.0, "std": 1.0}
    zeros, ones = (1.0, 1.0, 1.0), SHAPE
    return Plan.checked(
        {
            "name": "t",
            "dimensions": 3,
            "channels": [{"name": "x"}],
            "labels": [{"id": n, "name": f"label {n}", "colour": (0, 0, 0)} for n in (1, 5, 9)],
            "patch": (8, 12, 8),
            "network": {
                "features": (4, 8, 8),
                "strides": ((1, 1, 1), (2, 2, 2), (2, 2, 2)),
                "deep_supervision": 0,
            },
            "sampling": {"batch_size": 4, **sampling},
            "schedule": {"steps": 12, "checkpoint_every": 5},
            "fingerprint": {
                "cases": 4,
                "dimensions": 3,
                "spacing_known": True,
                **{f"spacing_{kind}": zeros for kind in ("median", "min", "max")},
                **{f"shape_{kind}": ones for kind in ("median", "min", "max")},
                "channels": [{**channel, "percentile_00_5": -1.0, "percentile_99_5": 1.0}],
                "voxel_fraction": FRACTIONS,
                "cases_with_label": {0: 4, 1: 4, 5: 2, 9: 2},
            },
        }
    )


def cases() -> list[CachedCase]:
    """Each label is a slab in the middle of the case, so that no patch on it is pushed inwards."""
    made = []
    for number, has in enumerate(HAS):
        classes = np.zeros(SHAPE, np.uint8)
        for index in has:
            classes[12 + 4 * index : 14 + 4 * index, 20:30, 16:28] = index
        image = np.random.default_rng(number).normal(size=(1, *SHAPE)).astype(np.float32)
        places = {index: np.argwhere(classes == index).astype(np.int32) for index in has}
        made.append(CachedCase(f"case {number}", image + classes, classes, places))
    return made


def drawn(the_plan: Plan, steps: int, chances=None) -> tuple[list[int], list[int]]:
    """Case and centre's class of every patch."""
    every = cases()
    rarity, size = Rarity.of(every, the_plan), read_size(the_plan)
    numbers, found = [], []
    for step in range(steps):
        for place in draw_places(rarity, the_plan, step, 0, chances):
            centre = tuple(s + n // 2 for s, n in zip(place.start, size, strict=True))
            numbers.append(place.case)
            found.append(int(every[place.case].classes[centre]))
    return numbers, found


def as_stated(values: list[int], chances: dict[int, float]) -> bool:
    counts = np.array([values.count(value) for value in chances])
    expected = np.array(list(chances.values()))
    assert counts.sum() == len(values)
    return bool(stats.chisquare(counts, expected / expected.sum() * len(values)).pvalue > 0.001)


def test_by_class_cases_are_drawn_evenly_and_then_their_classes():
    numbers, found = drawn(plan(foreground_fraction=1.0), 500)
    assert as_stated(numbers, dict.fromkeys(range(4), 0.25))
    one = np.mean([1 / len(has) for has in HAS])
    two = np.mean([(2 in has) / len(has) for has in HAS])
    assert as_stated(found, {1: float(one), 2: float(two), 3: float(two)})


@pytest.mark.parametrize("power", [1.0, 0.5, 0.0])
def test_by_frequency_labels_are_drawn_by_how_rare_they_are_in_any_case_that_has_them(power):
    numbers, found = drawn(plan(foreground_fraction=1.0, by="frequency", frequency_power=power), 500)
    weights = {index: FRACTIONS[label] ** -power for index, label in ((1, 1), (2, 5), (3, 9))}
    assert as_stated(found, weights)
    assert as_stated([n for n, index in zip(numbers, found, strict=True) if index == 2], {1: 0.5, 3: 0.5})


def test_the_rarest_label_gets_its_share_beside_the_others():
    _, found = drawn(plan(foreground_fraction=1.0, minority_fraction=0.3), 500)
    two = np.mean([(2 in has) / len(has) for has in HAS])
    one = np.mean([1 / len(has) for has in HAS])
    assert as_stated(found, {1: 0.7 * float(one), 2: 0.3 + 0.7 * float(two), 3: 0.7 * float(two)})


def test_hard_cases_are_drawn_by_their_loss_and_the_rest_evenly():
    difficulty = Difficulty(4, hard_fraction=0.6)
    np.testing.assert_array_equal(difficulty.chances(), [0.25] * 4)
    difficulty.update(summed_by_case([0, 1, 1, 2], [0.4, 1.0, 2.0, 0.1], 4))
    difficulty.update(summed_by_case([0], [0.8], 4))  # 0.75 * 0.4 + 0.25 * 0.8
    losses = np.array([0.5, 1.5, 0.1, 1.5])  # the last was not seen: as hard as the hardest
    expected = 0.6 * losses / losses.sum() + 0.4 / 4
    np.testing.assert_allclose(difficulty.chances(), expected)
    before = np.array([0.4, 1.5, 0.1, 1.5])
    np.testing.assert_allclose(difficulty.chances(before_last=True), 0.6 * before / before.sum() + 0.1)
    numbers, _ = drawn(plan(by="case", hard_fraction=0.6), 500, difficulty.chances())
    assert as_stated(numbers, dict(enumerate(expected)))
    np.testing.assert_allclose(chances_of(np.array([-1.0, 0.0, 1.0]), 1.0), [0, 1 / 3, 2 / 3])
    np.testing.assert_allclose(chances_of(np.array([0.0, 0.0]), 1.0), [0.5, 0.5])


def test_what_needs_counts_is_refused_without_them():
    values = plan(by="frequency").model_dump()
    with pytest.raises(PlanInvalid, match="medseg plan"):
        Plan.checked({**values, "fingerprint": None})
    values["fingerprint"]["voxel_fraction"][5] = 0.0
    with pytest.raises(PlanInvalid, match="label 5"):
        Rarity.of(cases(), Plan.checked(values))
    with pytest.raises(PlanInvalid, match="hard_fraction"):
        plan(hard_fraction=0.9)


@pytest.mark.parametrize("stop", [1, 4, 9])
def test_after_a_resume_the_same_cases_are_drawn_though_batches_are_read_ahead(stop):
    the_plan, every = plan(by="case", hard_fraction=1.0), cases()
    hardest = np.random.default_rng(5).integers(4, size=12)

    def told(difficulty: Difficulty, drawn: list[int], step: int) -> None:
        losses = [float(n == hardest[step]) for n in drawn]
        difficulty.update(summed_by_case(drawn, losses, 4))

    def run(difficulty: Difficulty, steps: range) -> list[list[int]]:
        seen = []
        with Prefetcher(every, the_plan, 0, difficulty) as ahead:
            for step in steps:
                ahead.batch(step)
                seen.append(ahead.drawn)
                told(difficulty, ahead.drawn, step)
        return seen

    whole = run(Difficulty(4, 1.0), range(12))
    stopped, resumed = Difficulty(4, 1.0), Difficulty(4, 1.0)
    assert run(stopped, range(stop)) == whole[:stop]
    resumed.load(stopped.state())
    assert run(resumed, range(stop, 12)) == whole[stop:]
    assert len({tuple(drawn) for drawn in whole}) > 6


class Stopped(Exception):
    """Stands for whatever ends a run between two steps."""


@pytest.mark.filterwarnings("ignore:.*")  # TensorBoard and fabric warn about themselves
def test_a_run_that_mines_hard_cases_resumes_to_the_very_same_losses(tmp_path):
    the_plan = plan(by="case", hard_fraction=1.0)

    def run(name: str, *, resume: bool = False, stop: int | None = None) -> list[str]:
        def heard(status) -> None:
            if status.step == stop:
                raise Stopped

        fabric = Fabric(accelerator="cpu", devices=1)
        fit(fabric, the_plan, cases(), [], FitSettings(tmp_path / name, None, resume), heard)
        with (tmp_path / name / "steps.csv").open(newline="") as stream:
            return [row["loss"] for row in csv.DictReader(stream)]

    for name in ("whole", "stopped"):
        (tmp_path / name).mkdir()
    whole = run("whole")
    with pytest.raises(Stopped):
        run("stopped", stop=8)  # the checkpoint is that of step 5
    assert run("stopped", resume=True) == whole
    assert len(whole) == 12
