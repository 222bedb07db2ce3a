"""A U-Net that works from half resolution on: what it leaves out, what it refuses, and its two sides."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from medseg.errors import PlanInvalid
from medseg.networks import build_network
from medseg.networks.sides import PairedSides
from medseg.plans import Plan

# Ids out of order, pairs apart, one structure without a side between them.
LABELS = {3: "right hippocampus", 7: "left putamen", 8: "csf", 12: "left hippocampus", 20: "right putamen"}


def plan(dimensions: int = 3, **network: object) -> Plan:
    values = {
        "name": "stem_unet",
        "features": (4, 6, 8, 8),
        "strides": ((1,) * dimensions, *((2,) * dimensions,) * 3),
        "deep_supervision": 2,
        "paired_sides": True,
        **network,
    }
    return Plan.checked(
        {
            "name": "sides",
            "dimensions": dimensions,
            "channels": [{"name": "x"}],
            "labels": [{"id": i, "name": name, "colour": (0, 0, 0)} for i, name in LABELS.items()],
            "patch": (16, 24, 32)[:dimensions],
            "network": values,
        }
    )


@pytest.mark.parametrize("dimensions", [2, 3])
def test_the_probability_of_a_class_is_that_of_its_structure_times_that_of_its_side(dimensions):
    sides = PairedSides.of(plan(dimensions))
    # Background, right hippocampus, left putamen, csf, left hippocampus, right putamen.
    structure = ["background", "hippocampus", "putamen", "csf", "hippocampus", "putamen"]
    side = [None, "right", "left", None, "left", "right"]
    channel = {name: sides.merged[structure.index(name)].item() for name in set(structure)}
    assert channel["background"] == 0
    assert sorted(channel.values()) == [0, 1, 2, 3]
    assert sides.channels == 5

    logits = torch.randn(2, 5, *(3, 4, 5)[:dimensions], generator=torch.Generator().manual_seed(0)) * 8
    found = torch.softmax(sides.expand(logits), 1).numpy().astype(np.float64)
    exact = logits.numpy().astype(np.float64)
    weights = np.exp(exact[:, :-1])
    of_structure = weights / weights.sum(1, keepdims=True)
    left = 1 / (1 + np.exp(-exact[:, -1]))
    for index, (name, where) in enumerate(zip(structure, side, strict=True)):
        factor = {None: 1.0, "left": left, "right": 1 - left}[where]
        np.testing.assert_allclose(found[:, index], of_structure[:, channel[name]] * factor, atol=1e-6)
    for one, other, name in ((1, 4, "hippocampus"), (2, 5, "putamen")):
        both = found[:, one] + found[:, other]
        np.testing.assert_allclose(both, of_structure[:, channel[name]], atol=1e-6)


def test_far_on_one_side_the_other_stays_finite():
    sides = PairedSides.of(plan())
    logits = torch.zeros(1, 5, 1, 1, 1)
    logits[:, -1] = 500.0
    assert torch.isfinite(sides.expand(logits)).all()


def test_in_training_sides_are_apart_and_in_evaluation_there_is_a_channel_per_class():
    network = build_network(plan())
    images = torch.randn(2, 1, 16, 24, 32)
    heads = network.train()(images)
    assert [tuple(head.shape[1:]) for head in heads] == [(5, 16, 24, 32), (5, 8, 12, 16), (5, 4, 6, 8)]
    assert network.eval()(images).shape == (2, 6, 16, 24, 32)


def test_lower_resolutions_train_without_the_full_one():
    torch.manual_seed(0)
    network = build_network(plan())
    images = torch.randn(2, 1, 16, 24, 32)
    network.train()
    every = network(images)
    heads = network(images, finest=1)
    assert len(heads) == len(every) - 1
    for head, same in zip(heads, every[1:], strict=True):
        torch.testing.assert_close(head, same)
    sum((head - 1).square().mean() for head in heads).backward()
    still = {n for n, parameter in network.named_parameters() if parameter.grad is None}
    full = {n for n, _ in network.named_parameters() if n.split(".")[0] in ("full", "head")}
    assert still == full


@pytest.mark.parametrize("dimensions", [2, 3])
def test_untrained_full_resolution_is_what_half_resolution_knows_enlarged(dimensions):
    torch.manual_seed(0)
    network = build_network(plan(dimensions)).train()
    images = torch.randn(1, 1, *(16, 24, 32)[:dimensions])
    full, half, *_ = network(images)
    mode = "bilinear" if dimensions == 2 else "trilinear"
    torch.testing.assert_close(full, torch.nn.functional.interpolate(half, size=full.shape[2:], mode=mode))


@pytest.mark.parametrize("paired", [False, True])
def test_refined_labels_share_what_half_resolution_gives_them_as_full_resolution_says(paired):
    torch.manual_seed(0)
    refined = (0, 7, 20)  # background and the putamen; both sides of it are one channel where they are merged
    network = build_network(plan(paired_sides=paired, refine_labels=refined)).train()
    images = torch.randn(2, 1, 16, 24, 32)
    with torch.no_grad():
        full, half, *_ = network(images)
    channels = 5 if paired else 6
    assert full.shape[1] == half.shape[1] == channels
    of_classes = slice(0, 4 if paired else 6)
    shared = sorted({int(PairedSides.of(plan()).merged[n]) for n in (0, 2, 5)}) if paired else [0, 2, 5]
    assert network.head.out_channels == len(shared)
    coarse = torch.nn.functional.interpolate(half, size=full.shape[2:], mode="trilinear")
    p_coarse, p_full = (torch.softmax(one[:, of_classes].double(), 1) for one in (coarse, full))
    others = [n for n in range(p_full.shape[1]) if n not in shared]
    torch.testing.assert_close(p_full[:, others], p_coarse[:, others], atol=1e-6, rtol=1e-4)
    total = p_full[:, shared].sum(1, keepdim=True)
    torch.testing.assert_close(total, p_coarse[:, shared].sum(1, keepdim=True), atol=1e-6, rtol=1e-4)
    assert (p_full[:, shared] / total - p_coarse[:, shared] / total).abs().max() > 0.05
    if paired:
        torch.testing.assert_close(full[:, -1], coarse[:, -1])  # the side is half resolution's


@pytest.mark.parametrize(
    ("network", "words"),
    [
        ({"strides": ((2, 2, 2), (2, 2, 2), (2, 2, 2), (1, 1, 1))}, "the first is"),
        ({"kernel_sizes": ((3, 3, 1), (3, 3, 3), (3, 3, 3), (3, 3, 3))}, "kernels of 3 and no dropout"),
        ({"dropout": 0.1}, "kernels of 3 and no dropout"),
        ({"features": (4, 8), "strides": ((1, 1, 1), (2, 2, 2)), "deep_supervision": 0}, "at least 3"),
    ],
)
def test_what_it_does_not_have_is_refused(network, words):
    with pytest.raises(PlanInvalid, match=words):
        build_network(plan(**network))


def test_sides_need_a_pair_and_no_regions():
    values = plan().model_dump()
    values["labels"] = [one for one in values["labels"] if "left" not in one["name"]]
    with pytest.raises(PlanInvalid, match="no label has a partner"):
        build_network(Plan.checked(values))
    regions = [{"name": "both", "labels": [3, 12], "paints": 3}]
    with pytest.raises(PlanInvalid, match="regions overlap and have no sides"):
        build_network(Plan.checked({**plan().model_dump(), "regions": regions}))
