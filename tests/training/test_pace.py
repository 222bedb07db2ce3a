"""Little time on a CPU makes a smaller network and a smaller batch, where the user left them open."""

from __future__ import annotations

import pytest

from medseg.training import pace
from medseg.training.devices import Device
from medseg.training.pace import ENOUGH_STEPS, FEW_STEPS, fit_to_time, remark_on, seconds_per_patch
from tests.networks.plans import plan

CPU = Device("cpu", None, 1 << 30, "a CPU")


@pytest.fixture
def a_second_per_32_features(monkeypatch):
    """A patch takes as many 32nds of a second as the finest stage has features."""
    monkeypatch.setattr(pace, "_BESIDE_THE_NETWORK", 1.0)
    monkeypatch.setattr(pace, "seconds_per_patch", lambda one, _: one.network.features[0] / 32)


def wide(name: str = "plain", dimensions: int = 3, batch: int = 4):
    made = plan(name, dimensions, features=(16, 32, 64))
    return made.model_copy(update={"sampling": made.sampling.model_copy(update={"batch_size": batch})})


@pytest.mark.usefixtures("a_second_per_32_features")
@pytest.mark.parametrize(
    ("seconds", "features", "batch", "steps"),
    [
        (4 * ENOUGH_STEPS, 16, 4, 2 * ENOUGH_STEPS),  # enough: as proposed
        (1.5 * ENOUGH_STEPS, 16, 3, ENOUGH_STEPS),  # a smaller batch is enough
        (0.6 * ENOUGH_STEPS, 8, 2, 1.2 * ENOUGH_STEPS),  # half as wide
        (0.1 * ENOUGH_STEPS, 8, 2, 0.2 * ENOUGH_STEPS),  # as small as may be, and few steps still
    ],
)
def test_batch_then_width_follow_from_the_time(seconds, features, batch, steps):
    found = fit_to_time(wide(), {}, CPU, seconds)
    assert found.plan.network.features == (features, 2 * features, 4 * features)
    assert found.plan.sampling.batch_size == batch
    assert found.steps == pytest.approx(steps, rel=0.01)
    assert found.proposed_steps == int(seconds / 2)
    assert f"{features} features, {batch} patches" in found.remark


@pytest.mark.usefixtures("a_second_per_32_features")
def test_what_the_user_gave_stays():
    given = {"network": {"features": 16}, "sampling": {"batch_size": 4}}
    assert fit_to_time(wide(), given, CPU, 100).plan == wide()
    only_width = fit_to_time(wide(), {"network": {"features": 16}}, CPU, 100).plan
    assert (only_width.network.features[0], only_width.sampling.batch_size) == (16, 2)
    only_batch = fit_to_time(wide(), {"sampling": {"batch_size": 4}}, CPU, 100).plan
    assert (only_batch.network.features[0], only_batch.sampling.batch_size) == (8, 4)


@pytest.mark.usefixtures("a_second_per_32_features")
def test_features_that_cannot_be_halved_stay():
    swin = plan("swin_unetr", 3)
    assert fit_to_time(swin, {}, CPU, 10).plan.network == swin.network


def test_a_gpu_makes_enough_steps_in_any_time():
    assert fit_to_time(wide(), {}, Device("cuda", 0, 1 << 30, "a GPU"), 60) is None


@pytest.mark.parametrize("name", ["plain", "segresnet", "unet_plus_plus"])
@pytest.mark.parametrize("dimensions", [2, 3])
def test_half_the_features_are_a_network(name, dimensions):
    made = plan(name, dimensions)
    net = made.network
    made = made.model_copy(
        update={"network": net.model_copy(update={"features": tuple(4 * n for n in net.features)})}
    )
    found = fit_to_time(made, {}, CPU, 1e-3)  # no time at all
    assert found.plan.network.features == tuple(2 * n for n in net.features)
    assert seconds_per_patch(found.plan, CPU) > 0


def test_a_model_of_few_steps_says_so_with_a_cure():
    assert remark_on(39, by_time=True) == (
        "only 39 steps of training, few to learn from: "
        "--resume with more --max-minutes makes more of the model"
    )
    assert "a larger schedule.steps" in remark_on(1, by_time=False)
    assert remark_on(FEW_STEPS, by_time=True) is None
