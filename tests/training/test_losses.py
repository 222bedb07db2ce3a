"""Each loss against sums written out in numpy, and what must hold of all of them."""

from __future__ import annotations

from typing import Any, get_args

import numpy as np
import pytest
import torch
from monai.losses import DiceCELoss
from torch import nn

from medseg.errors import PlanInvalid
from medseg.plans import Plan
from medseg.plans.loss import LossName
from medseg.training.losses import build_loss, class_weights
from tests.training.loss_oracle import Seen, expected

NAMES = get_args(LossName)
SIZES = {2: (8, 10), 3: (4, 8, 6)}
SPACING = {2: (0.7, 2.1, 9.0), 3: (1.0, 0.5, 2.5)}
LABELS = (3, 7, 8)
REGIONS = ({"name": "whole", "labels": (3, 7), "paints": 3}, {"name": "core", "labels": (7, 8), "paints": 7})
FRACTIONS = {0: 0.9, 3: 0.06, 7: 0.04, 8: 0.0}
IGNORED = 4  # class index: after background and three labels


def plan(
    dimensions: int = 3, *, regions: bool = False, ignore: bool = False, heads: int = 1, **loss: Any
) -> Plan:
    return Plan.checked(
        {
            "name": "t",
            "dimensions": dimensions,
            "channels": [{"name": "x"}],
            "labels": [{"id": i, "name": f"label {i}", "colour": (0, 0, 0)} for i in LABELS],
            "regions": REGIONS if regions else (),
            "ignore_label": 9 if ignore else None,
            "patch": SIZES[dimensions],
            "grid": {"spacing_mm": SPACING[dimensions]},
            "network": {
                "features": (4, 4, 4),
                "strides": ((1,) * dimensions, (2,) * dimensions, (1,) * dimensions),
                "deep_supervision": heads - 1,
            },
            "augmentation": {"rotation_degrees": (15.0,) * 3},
            "loss": loss,
            "fingerprint": {
                "cases": 2,
                "dimensions": dimensions,
                "spacing_known": True,
                **dict.fromkeys(("spacing_median", "spacing_min", "spacing_max"), (1.0, 1.0, 1.0)),
                **dict.fromkeys(("shape_median", "shape_min", "shape_max"), (9, 9, 9)),
                "channels": (),
                "voxel_fraction": FRACTIONS,
                "cases_with_label": dict.fromkeys(LABELS, 2),
            },
        }
    )


def drawn(the_plan: Plan, seed: int = 0) -> tuple[list[torch.Tensor], torch.Tensor]:
    """Logits per head, and classes of whole blocks in which label 8 does not occur."""
    generator = np.random.default_rng(seed)
    size, channels = the_plan.patch, len(the_plan.output_names)
    coarse = generator.integers(0, 3, (2, *(n // 2 for n in size)))
    classes = np.kron(coarse, np.ones((1, *[2] * len(size)), int))
    if the_plan.ignore_label is not None:
        classes[generator.random(classes.shape) < 0.3] = IGNORED
    sizes = [tuple(n // 2**level for n in size) for level in range(the_plan.network.deep_supervision + 1)]
    logits = [torch.from_numpy(generator.normal(0, 2, (2, channels, *s)).astype(np.float32)) for s in sizes]
    return logits, torch.from_numpy(classes)


def seen(the_plan: Plan, logits: torch.Tensor, classes: np.ndarray) -> Seen:
    """What the oracle looks at; of a lower resolution every voxel that torch calls the nearest, exactly."""
    step = classes.shape[1] // logits.shape[2]
    every = slice(step // 2, None, step)
    classes = classes[(slice(None), *[every] * the_plan.dimensions)]
    inside = [region["labels"] for region in REGIONS] if the_plan.regions else [(0,), *((i,) for i in LABELS)]
    ids = np.array([*the_plan.class_ids, 9])[classes]
    truth = np.stack([np.isin(ids, labels) for labels in inside], 1).astype(float)
    axes = np.array(SPACING[the_plan.dimensions][: the_plan.dimensions])
    spacing = tuple(axes / axes.min() * step)
    return Seen(logits.double().numpy(), truth, ids != 9, spacing, bool(the_plan.regions))


def weights_by_hand(regions: bool, power: float) -> np.ndarray:
    if regions:
        inside = np.array([0.1, 0.04])
        pairs = np.stack([1 - inside, inside], 1) ** power
        return pairs / pairs.mean(1, keepdims=True)
    three = np.array([0.9, 0.06, 0.04]) ** power
    return np.array([*(three / three.mean()), 1.0])


OTHER: dict[str, dict[str, Any]] = {
    "dice_ce": {"dice_weight": 0.3, "ce_weight": 1.7, "label_smoothing": 0.2, "class_weights": "inverse"},
    "focal": {"focal_gamma": 1.5, "class_weights": "inverse_sqrt"},
    "tversky": {"tversky_false_positives": 0.9, "tversky_false_negatives": 0.2},
    "focal_tversky": {"focal_tversky_gamma": 2.0},
    "topk_ce": {"topk_fraction": 0.23, "class_weights": "inverse_sqrt", "label_smoothing": 0.1},
    "cldice": {"skeleton_steps": 1, "added_weight": 0.4},
    "hausdorff": {"added_weight": 3.0},
}


@pytest.fixture(autouse=True)
def one_thread():
    """What is so small is slower on several."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.parametrize("ignore", [False, True], ids=["all known", "ignore label"])
@pytest.mark.parametrize("regions", [False, True], ids=["labels", "regions"])
@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize("name", NAMES)
def test_a_loss_is_what_its_formula_says(name, dimensions, regions, ignore):
    for how, heads in ({}, 2), (OTHER.get(name, {}), 1):
        the_plan = plan(dimensions, regions=regions, ignore=ignore, heads=heads, name=name, **how)
        logits, classes = drawn(the_plan)
        power = {"inverse": -1.0, "inverse_sqrt": -0.5}.get(how.get("class_weights", ""))
        weights = None if power is None else weights_by_hand(regions, power)
        each = [expected(name, seen(the_plan, one, classes.numpy()), how, weights) for one in logits]
        shares = [2.0**-n / sum(2.0**-m for m in range(heads)) for n in range(heads)]
        found = build_loss(the_plan)(logits if heads > 1 else logits[0], classes)
        assert found.item() == pytest.approx(np.dot(shares, each), rel=1e-4)


def test_the_default_is_monais_dice_and_cross_entropy_to_the_last_bit():
    the_plan = plan(label_smoothing=0.1, ce_weight=0.7)
    (logits,), classes = drawn(the_plan)
    theirs = DiceCELoss(
        include_background=False,
        to_onehot_y=True,
        softmax=True,
        batch=True,
        lambda_ce=0.7,
        label_smoothing=0.1,
    )
    assert build_loss(the_plan)(logits, classes) == theirs(logits, classes[:, None])


@pytest.mark.parametrize("regions", [False, True], ids=["labels", "regions"])
@pytest.mark.parametrize("name", NAMES)
def test_a_perfect_prediction_has_next_to_no_loss_and_a_wrong_one_much(name, regions):
    the_plan = plan(regions=regions, name=name)
    (_,), classes = drawn(the_plan)
    truth = torch.from_numpy(seen(the_plan, torch.zeros(2, 1, *the_plan.patch), classes.numpy()).truth)
    loss = build_loss(the_plan)
    right, wrong = (loss(sign * 40 * (truth.float() - 0.5), classes).item() for sign in (1, -1))
    assert right < 1e-3
    assert wrong > 0.5


@pytest.mark.parametrize("regions", [False, True], ids=["labels", "regions"])
@pytest.mark.parametrize("name", NAMES)
def test_gradients_are_finite_without_structures_without_known_voxels_and_when_sure(name, regions):
    the_plan = plan(regions=regions, ignore=True, name=name)
    (logits,), classes = drawn(the_plan)
    truth = torch.from_numpy(seen(the_plan, logits, classes.numpy()).truth).float()
    for head, target in (
        (logits, torch.zeros_like(classes)),
        (logits, torch.full_like(classes, IGNORED)),
        (100 * (truth - 0.5), classes),
        (-100 * (truth - 0.5), classes),
    ):
        head = head.clone().requires_grad_()
        loss = build_loss(the_plan)(head, target)
        loss.backward()
        assert torch.isfinite(loss)
        assert torch.isfinite(head.grad).all()


@pytest.mark.parametrize("regions", [False, True], ids=["labels", "regions"])
@pytest.mark.parametrize("name", NAMES)
def test_what_nobody_judged_pulls_at_nothing(name, regions):
    the_plan = plan(regions=regions, ignore=True, name=name)
    (logits,), classes = drawn(the_plan)
    unknown = (classes == IGNORED)[:, None]
    loss = build_loss(the_plan)
    logits.requires_grad_()
    before = loss(logits, classes)
    before.backward()
    assert not logits.grad[unknown.expand_as(logits)].any()
    assert logits.grad[~unknown.expand_as(logits)].any()
    changed = torch.where(unknown, -3 * logits + 1, logits)
    assert loss(changed, classes).item() == before.item()
    assert loss(logits, torch.full_like(classes, IGNORED)).item() == pytest.approx(0, abs=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_a_small_network_learns_by_it(name):
    torch.manual_seed(0)
    the_plan = plan(2, name=name)
    _, classes = drawn(the_plan)
    noise = torch.randn(2, 1, *the_plan.patch)
    images = classes[:, None].float() + 0.2 * noise
    network = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 4, 1))
    optimiser = torch.optim.Adam(network.parameters(), 0.03)
    loss, values = build_loss(the_plan), []
    for _ in range(30):
        value = loss(network(images), classes)
        optimiser.zero_grad()
        value.backward()
        optimiser.step()
        values.append(value.item())
    assert values[-1] < 0.75 * values[0]


@pytest.mark.parametrize("name", ["boundary", "hausdorff", "cldice"])
def test_the_added_term_rises_with_the_training(name):
    ramp = plan(name=name, added_ramp=(0.2, 0.6), added_weight=2.0)
    (logits,), classes = drawn(ramp)
    loss, alone = build_loss(ramp), build_loss(plan())(logits, classes).item()
    full = loss(logits, classes, 1.0).item() - alone
    for fraction, share in (0.0, 0.0), (0.2, 0.0), (0.3, 0.25), (0.6, 1.0), (0.9, 1.0):
        assert loss(logits, classes, fraction).item() - alone == pytest.approx(share * full, abs=1e-5)
    at_once = build_loss(plan(name=name, added_ramp=(0.0, 0.0), added_weight=2.0))
    assert at_once(logits, classes, 0.0).item() - alone == pytest.approx(full, abs=1e-5)


@pytest.mark.parametrize(("how", "power"), [("inverse", -1.0), ("inverse_sqrt", -0.5)])
def test_class_weights_have_mean_one_over_the_classes_that_occur(how, power):
    for regions in (False, True):
        found = class_weights(plan(regions=regions, class_weights=how))
        np.testing.assert_allclose(found.numpy(), weights_by_hand(regions, power), rtol=1e-6)
    assert class_weights(plan()) is None


def test_a_setting_that_the_loss_does_not_know_is_refused_with_the_losses_that_do():
    with pytest.raises(PlanInvalid, match=r"focal_gamma.*loss 'tversky' has no such part.*choose focal"):
        plan(name="tversky", focal_gamma=3.0)
    with pytest.raises(PlanInvalid, match="earlier share first"):
        plan(name="boundary", added_ramp=(0.5, 0.1))
    weighted = plan(class_weights="inverse").model_dump(mode="json")
    with pytest.raises(PlanInvalid, match="no fingerprint"):
        Plan.checked({**weighted, "fingerprint": None})
    with pytest.raises(PlanInvalid, match="ignore_label 7 is also the label 'label 7'"):
        Plan.checked({**weighted, "ignore_label": 7})
