"""The loss of merged sides against sums written out in numpy."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from medseg.plans import Plan
from medseg.training.losses import build_loss

PATCH = (8, 12, 16)


def plan(**loss: float) -> Plan:
    names = {1: "left kidney", 2: "liver", 5: "right kidney", 6: "spleen"}
    return Plan.checked(
        {
            "name": "t",
            "dimensions": 3,
            "channels": [{"name": "x"}],
            "labels": [{"id": i, "name": name, "colour": (0, 0, 0)} for i, name in names.items()],
            "patch": PATCH,
            "network": {
                "name": "stem_unet",
                "features": (4, 4, 4),
                "strides": ((1, 1, 1), (2, 2, 2), (2, 2, 2)),
                "deep_supervision": 1,
                "paired_sides": True,
            },
            "loss": loss,
        }
    )


def blocks(shares: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    """Means over blocks of the patch, (B, *size, M)."""
    b, m = shares.shape[0], shares.shape[-1]
    (x, y, z), (i, j, k) = size, (n // s for n, s in zip(shares.shape[1:-1], size, strict=True))
    return shares.reshape(b, x, i, y, j, z, k, m).mean((2, 4, 6))


def expected(heads: list[np.ndarray], classes: np.ndarray, how: Plan) -> float:
    """Dice and cross-entropy of background, kidney, liver, spleen; cross-entropy of the kidneys' sides."""
    structure = np.eye(4)[np.array([0, 1, 2, 1, 3])[classes]]
    sides = np.stack([classes == 1, classes == 3], -1).astype(float)
    total, weights = 0.0, [2.0**-n for n in range(len(heads))]
    for weight, head in zip(weights, heads, strict=True):
        logits = np.moveaxis(head.astype(np.float64), 1, -1)
        target, side = (blocks(one, logits.shape[1:-1]) for one in (structure, sides))
        log_p = logits[..., :-1] - np.log(np.exp(logits[..., :-1]).sum(-1, keepdims=True))
        smooth = how.loss.label_smoothing
        target = target * (1 - smooth) + smooth / 4
        entropy = -(target * log_p).sum(-1).mean()
        dice = [
            1 - (2 * (np.exp(log_p) * target)[..., c].sum() + 1e-5)
            / (np.exp(log_p)[..., c].sum() + target[..., c].sum() + 1e-5)
            for c in (1, 2, 3)
            if target[..., c].sum() > 0
        ]  # fmt: skip
        apart = -np.log(1 + np.exp(-np.stack([logits[..., -1], -logits[..., -1]], -1)))
        of_side = -(side * apart).sum() / max(1.0, side.sum())
        mean_dice = sum(dice) / max(1, len(dice))
        one = how.loss.dice_weight * mean_dice + how.loss.ce_weight * (entropy + of_side)
        total += weight / sum(weights) * one
    return total


@pytest.mark.parametrize(
    "loss", [{}, {"dice_weight": 0.3, "ce_weight": 1.7}, {"label_smoothing": 0.1}], ids=str
)
@pytest.mark.parametrize("finest", [1, 2])
def test_merged_sides_are_scored_as_their_formula_says(loss, finest):
    the_plan, generator = plan(**loss), np.random.default_rng(3)
    classes = generator.integers(0, 4, (2, *PATCH))  # no spleen: what is not there counts for nothing
    sizes = [tuple(n // 2**level for n in PATCH) for level in (finest - 1, finest)]
    heads = [generator.normal(0, 2, (2, 5, *size)).astype(np.float32) for size in sizes]
    found = build_loss(the_plan)([torch.from_numpy(head) for head in heads], torch.from_numpy(classes))
    assert found.item() == pytest.approx(expected(heads, classes, the_plan), rel=1e-5)


def test_a_batch_of_background_alone_has_a_finite_loss_and_gradient():
    head = torch.randn(1, 5, *PATCH, requires_grad=True)
    loss = build_loss(plan())(head, torch.zeros(1, *PATCH, dtype=torch.int64))
    loss.backward()
    assert torch.isfinite(loss)
    assert head.grad is not None
    assert torch.isfinite(head.grad).all()
