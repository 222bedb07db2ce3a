"""Intensities: drawn as the priors say, and any at all where there are none."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from medseg.plans import SynthesisPlan
from medseg.training.synthesis.contrast import Contrasts, paint
from medseg.training.synthesis.draws import Draws
from tests.label_map_data import TABLE, synthesis_plan

CPU = torch.device("cpu")
MANY = 4000


def how(**changes: object) -> SynthesisPlan:
    plan = synthesis_plan(**changes).synthesis
    assert plan is not None
    return plan


def test_means_and_spreads_of_classes_are_drawn_from_their_priors():
    mean, std = Contrasts(how(), CPU).draw(Draws.seeded(MANY, 0, CPU), 1.0, None)
    for _, _, _, number, centre, centre_sd, spread, spread_sd in TABLE:
        near = 5 / np.sqrt(MANY)
        assert mean[:, number].mean().item() == pytest.approx(centre, abs=near * centre_sd)
        assert mean[:, number].std().item() == pytest.approx(centre_sd, rel=0.06)
        assert std[:, number].mean().item() == pytest.approx(spread, abs=near * spread_sd)
        assert std[:, number].std().item() == pytest.approx(spread_sd, rel=0.06)


def families() -> dict[str, object]:
    return {
        "one": {"weight": 1.0, "priors": {2: {"mean": 10.0}}},
        "three": {"weight": 3.0, "priors": {2: {"mean": 250.0}}},
    }


@pytest.mark.parametrize(("widening", "share"), [(0.0, 0.0), (0.5, 1 / 5), (1.0, 2 / 6)])
def test_families_are_drawn_by_weight_and_the_random_one_grows(widening, share):
    contrasts = Contrasts(how(contrasts=families(), random_weight=2.0), CPU)
    mean, _ = contrasts.draw(Draws.seeded(MANY, 1, CPU), widening, None)
    one, three = (mean[:, 2] == 10).float().mean().item(), (mean[:, 2] == 250).float().mean().item()
    assert one == pytest.approx((1 - share) / 4, abs=0.03)
    assert three == pytest.approx((1 - share) * 3 / 4, abs=0.03)
    other = mean[(mean[:, 2] != 10) & (mean[:, 2] != 250), 2]
    assert (other >= 20).all()
    assert (other <= 240).all()


def test_a_family_can_be_named():
    contrasts = Contrasts(how(contrasts=families(), random_weight=2.0), CPU)
    for family, value in ((0, 10.0), (1, 250.0)):
        mean, _ = contrasts.draw(Draws.seeded(50, 2, CPU), 1.0, family)
        assert (mean[:, 2] == value).all()
    mean, _ = contrasts.draw(Draws.seeded(50, 2, CPU), 0.0, 2)  # any contrast at all
    assert mean[:, 2].std() > 20
    assert (mean[:, 0] <= 30).all()  # air stays dark


def test_voxels_of_a_class_have_its_mean_and_spread():
    classes = torch.arange(3).repeat_interleave(12 * 15 * 40).reshape(1, 36, 15, 40).repeat(2, 1, 1, 1)
    mean, std = (
        torch.tensor([[90.0, 100.0, 30.0], [200.0, 60.0, 150.0]]),
        torch.tensor([[3.0, 20, 0], [5, 9, 12]]),
    )
    image = paint(classes, mean, std, 0.0, Draws.seeded(2, 3, CPU), (36, 15, 40))
    for n in range(2):
        for c in range(3):
            values = image[n][classes[n] == c]
            assert values.mean().item() == pytest.approx(
                mean[n, c].item(), abs=5 * std[n, c].item() / 85 + 1e-4
            )
            assert values.std().item() == pytest.approx(std[n, c].item(), rel=0.05, abs=1e-4)


def test_a_split_class_has_two_intensities_and_air_has_one():
    size = (48, 40, 56)
    classes = torch.ones(6, *size, dtype=torch.int64)
    classes[:, :, :, :20] = 0
    mean, std = torch.tensor([[7.0, 120.0]] * 6), torch.zeros(6, 2)
    image = paint(classes, mean, std, 1.0, Draws.seeded(6, 4, CPU), size)
    assert (image[:, :, :, :20] == 7).all()
    values = [image[n, :, :, 20:].unique() for n in range(6)]
    assert all(120 in one for one in values)
    assert {len(one) for one in values} == {2}
    # A smooth border: few of a voxel's neighbours lie on the other side of it.
    halves = image[:, :, :, 20:] == 120
    assert (halves[:, 1:] != halves[:, :-1]).float().mean() < 0.1
