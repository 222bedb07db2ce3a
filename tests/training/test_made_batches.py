"""Steps and validation of a training whose images are made: what follows from step, fraction and case."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from medseg.plans import Plan
from medseg.training.average import WeightAverage
from medseg.training.batches import open_batches, step_seed
from medseg.training.cache import CachedCase, made_cases
from medseg.training.synthesis import Synthesiser
from tests.label_map_data import TABLE, make_map, synthesis_plan

CPU = torch.device("cpu")


def cached(seed: int) -> CachedCase:
    values = make_map(seed)
    tissues = np.zeros(values.shape, np.uint8)
    for position, row in enumerate(TABLE):
        tissues[values == row[0]] = position
    return CachedCase(f"head_{seed}", np.zeros((0, *values.shape), np.float32), tissues, {})


def drawn_plan() -> Plan:
    return synthesis_plan(
        (16, 24, 12), rotation_degrees=10.0, flip=True, deformation_mm=2.0, random_weight=3.0, widen_until=0.4
    )


def test_a_step_is_what_its_seed_makes_and_contrasts_widen_with_the_training():
    plan, cases = drawn_plan(), [cached(n) for n in range(2)]
    synthesiser = Synthesiser([case.classes for case in cases], plan, CPU)
    for rank in (0, 1):
        with open_batches(cases, plan, CPU, rank) as batches:
            for step, fraction, widening in ((0, 0.0, 0.0), (5, 0.1, 0.25), (6, 0.4, 1.0), (7, 0.9, 1.0)):
                images, classes = batches.batch(step, fraction)
                expected = synthesiser.batch(step_seed(plan, step, rank), widening)
                assert torch.equal(images, expected[0])
                assert torch.equal(classes, expected[1])
    assert step_seed(plan, 5, 0) != step_seed(plan, 5, 1)
    early, late = (synthesiser.batch(3, widening, 12)[0] for widening in (0.0, 1.0))
    assert not torch.equal(early, late)


def test_validation_while_training_is_on_the_same_made_patches_every_time():
    plan, cases = drawn_plan(), [cached(n) for n in range(2)]
    first, again = made_cases(cases, plan), made_cases(cases, plan)
    assert [case.id for case in first] == ["head_0-0", "head_0-1", "head_1-0", "head_1-1"]
    for one, same in zip(first, again, strict=True):
        assert one.image.shape == (1, 16, 24, 12)
        assert one.classes.max() < len(plan.class_ids)
        np.testing.assert_array_equal(one.image, same.image)
        np.testing.assert_array_equal(one.classes, same.classes)
    assert not np.array_equal(first[0].image, first[1].image)


def test_what_a_normalisation_counts_is_averaged_with_the_weights():
    module = nn.BatchNorm1d(2)
    average = WeightAverage(module, decay=0.5)
    expected = module.running_mean.clone()
    for n in range(1, 5):
        with torch.no_grad():
            module.running_mean.fill_(float(n))
        average.update()
        decay = min(0.5, (1 + n) / (10 + n))
        expected = decay * expected + (1 - decay) * n
    other = nn.BatchNorm1d(2)
    resumed = WeightAverage(other, decay=0.5)
    resumed.load(average.state())
    for one, kept in ((module, average), (other, resumed)):
        own = one.running_mean.clone()
        with kept.applied():
            torch.testing.assert_close(one.running_mean, expected)
        assert torch.equal(one.running_mean, own)
