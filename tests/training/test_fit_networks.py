"""The training loop takes every network of the registry, in the order of axes that it trains in."""

from __future__ import annotations

import csv

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric

from medseg.training.cache import CachedCase
from medseg.training.checkpoints import BEST, load_checkpoint
from medseg.training.fit import FitSettings, fit, memory_format
from tests.networks.plans import NAMES, plan

pytestmark = pytest.mark.usefixtures("one_thread")


def cases(shape: tuple[int, ...]) -> list[CachedCase]:
    draw = np.random.default_rng(0)
    made = []
    for number in range(2):
        classes = np.zeros(shape, np.uint8)
        classes[: shape[0] // 2], classes[-2:] = 1, 2
        places = {i: np.argwhere(classes == i).astype(np.int32) for i in (1, 2)}
        made.append(
            CachedCase(f"{number}", draw.normal(size=(2, *shape)).astype(np.float32), classes, places)
        )
    return made


@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize("name", NAMES)
def test_two_steps_and_a_validation(tmp_path, name, dimensions):
    the_plan = plan(name, dimensions)
    schedule = the_plan.schedule.model_copy(update={"steps": 2, "validate_every": 2})
    sampling = the_plan.sampling.model_copy(update={"batch_size": 2})
    the_plan = the_plan.model_copy(update={"schedule": schedule, "sampling": sampling})
    given = cases(the_plan.patch if dimensions == 3 else (*the_plan.patch, 1))
    fabric = Fabric(accelerator="cpu", devices=1, precision="32-true")
    fit(fabric, the_plan, given, given[:1], FitSettings(tmp_path, None, resume=False))
    with (tmp_path / "steps.csv").open(encoding="utf-8") as table:
        assert [np.isfinite(float(row["loss"])) for row in csv.DictReader(table)] == [True, True]
    weights = load_checkpoint(tmp_path / "checkpoints" / BEST)["model"]
    assert all(bool(torch.isfinite(value).all()) for value in weights.values())


def test_channels_come_last_in_3d_on_a_cpu():
    cpu = torch.device("cpu")
    assert memory_format(plan("plain", 2), cpu) == torch.contiguous_format
    assert memory_format(plan("plain", 3), cpu) == torch.channels_last_3d
