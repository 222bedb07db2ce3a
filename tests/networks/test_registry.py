"""One contract for every network of the registry, in 2D and 3D."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pytest
import torch
from monai.networks.nets import BasicUNetPlusPlus, DynUNet, SegResNetDS, SwinUNETR, swin_unetr

from medseg.errors import ModelRefused, PlanInvalid
from medseg.inference.sliding import predict_logits
from medseg.networks import build_network, encoder_names, load_tensors, network_names, tensors_of
from medseg.networks.segresnet import segresnet_arguments
from medseg.networks.swin_unetr import swin_unetr_arguments
from medseg.networks.unet import dynunet_arguments
from medseg.plans.network import EncoderName, NetworkName
from tests.networks.plans import CASES, NAMES, plan

pytestmark = pytest.mark.usefixtures("one_thread")


def test_a_plan_knows_the_names_of_the_registry():
    assert set(get_args(NetworkName)) == set(network_names())
    assert get_args(EncoderName) == encoder_names()


@pytest.mark.parametrize(("name", "dimensions"), CASES)
def test_logits_have_the_patch_shape_and_every_weight_learns(name, dimensions):
    # One channel in 2D and four in 3D.
    channels = 1 if dimensions == 2 else 4
    the_plan = plan(name, dimensions, channels)
    torch.manual_seed(0)
    network = build_network(the_plan)
    batch = 1 if name == "swin_unetr" else 2
    images = torch.randn(batch, channels, *the_plan.patch)
    if name == "stem_unet":  # its head starts at zero, which keeps what lies before it still for one step
        optimiser = torch.optim.SGD(network.parameters(), 0.1)
        sum((head - 1).square().mean() for head in network.train()(images)).backward()
        optimiser.step()
        optimiser.zero_grad()
    heads = network.train()(images)
    assert len(heads) == 1 + the_plan.network.deep_supervision
    steps = np.cumprod(the_plan.network.strides, axis=0)
    if name == "unet_plus_plus":  # its shallower networks all end at full resolution
        steps = np.ones_like(steps)
    for head, step in zip(heads, steps, strict=False):
        assert tuple(head.shape) == (batch, 3, *(np.array(the_plan.patch) // step))
    sum(head.square().mean() for head in heads).backward()
    silent = [n for n, p in network.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert silent == []
    with torch.no_grad():
        assert network.eval()(images).shape == (batch, 3, *the_plan.patch)


@pytest.mark.parametrize("name", NAMES)
def test_weights_follow_from_the_seed_come_out_once_and_go_back_in(name):
    the_plan = plan(name, 2)
    networks = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        networks.append(build_network(the_plan))
    network, same, other = networks
    tensors = tensors_of(network)
    for key, value in tensors_of(same).items():
        np.testing.assert_array_equal(value, tensors[key])
    images = torch.randn(2, 2, *the_plan.patch)
    with torch.no_grad():
        network.train()(images)  # so that what a normalisation counts is no longer what it starts with
    tensors = tensors_of(network)
    counted = [b.numel() for b in network.buffers() if b.is_floating_point()]
    weights = [p.numel() for p in network.parameters()]
    assert sum(value.size for value in tensors.values()) == sum(weights) + sum(counted)
    with torch.no_grad():
        wanted = network.eval()(images)
        assert not torch.equal(wanted, other.eval()(images))
        load_tensors(other, tensors)
        assert torch.equal(wanted, other(images))
    tensors.pop(next(iter(tensors)))
    with pytest.raises(ModelRefused, match="missing"):
        load_tensors(other, tensors)


def moved(x: torch.Tensor, pattern: str) -> torch.Tensor:
    """einops' rearrange for what MONAI asks of it: the order of axes, by their letters."""
    before, after = (side.split() for side in pattern.split("->"))
    return x.permute([before.index(axis) for axis in after])


MONAIS = {
    "plain": lambda it: DynUNet(**dynunet_arguments(it)),
    "segresnet": lambda it: SegResNetDS(**segresnet_arguments(it)),
    "swin_unetr": lambda it: SwinUNETR(**swin_unetr_arguments(it)),
    "unet_plus_plus": lambda it: BasicUNetPlusPlus(
        it.dimensions, 2, 3, (*it.network.features, it.network.features[0])
    ),
}


@pytest.mark.parametrize(("name", "dimensions"), [(name, d) for name in MONAIS for d in (2, 3)])
def test_monais_own_networks_compute_the_same_from_the_same_tensors(name, dimensions, monkeypatch):
    monkeypatch.setattr(swin_unetr, "rearrange", moved)
    the_plan = plan(name, dimensions, deep_supervision=0)
    network, theirs = build_network(the_plan).eval(), MONAIS[name](the_plan).eval()
    missing, unknown = theirs.load_state_dict(network.state_dict(), strict=False)
    # Heads of the shallower networks, which only training with deep supervision would need.
    assert unknown == []
    assert all(key.startswith("final_conv_0_") for key in missing)
    images = torch.randn(1, 2, *the_plan.patch)
    with torch.no_grad():
        wanted = theirs(images)
        torch.testing.assert_close(network(images), wanted[0] if isinstance(wanted, list) else wanted)


@pytest.mark.parametrize("name", ["resnet18, gates", "segresnet", "unet_plus_plus", "swin_unetr"])
def test_an_image_of_any_size_is_padded_to_the_patch(name):
    the_plan = plan(name, 2, 1)
    network = build_network(the_plan).eval()

    def forward(batch: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            return network(torch.from_numpy(batch)).numpy()

    image = np.random.default_rng(0).normal(size=(1, 19, 53, 1)).astype(np.float32)
    logits = predict_logits(image, the_plan, forward)
    assert logits.shape == (3, 19, 53, 1)
    assert np.isfinite(logits).all()


REFUSED = {
    "an encoder of another network": (("segresnet", {"encoder": "vgg11"}), "only unet has encoders"),
    "an encoder that is not there": (("plain", {"encoder": "vgg19"}), "network.encoder"),
    "a network that is not there": (("plain", {"name": "unnet"}), "network.name"),
    "few stages": (
        ("resnet18", {"features": 4, "strides": [[1, 1], [2, 2]], "deep_supervision": 0}),
        "at least 3",
    ),
    "residual residuals": (("resnet18", {"residual": True}), "leave it out"),
    "an even kernel": (("vgg11", {"kernel_sizes": [[2, 3]] * 4}), "odd numbers"),
    "a first stride": (("vgg11", {"strides": [[2, 1], [1, 1], [2, 2], [2, 2]]}), "the first is"),
    "too thin branches": (("googlenet", {"features": [2, 4, 8, 8]}), "give 4 or more"),
    "features of a Swin UNETR": (("swin_unetr", {"features": 20}), r"give \(24, 24, 48, 96, 192, 384\)"),
    "stages of a Swin UNETR": (
        ("swin_unetr", {"strides": [[1, 1], *[[2, 2]] * 4], "deep_supervision": 0}),
        "swin_unetr has 6",
    ),
    "strides of a U-Net++": (("unet_plus_plus", {"strides": [[1, 1], *[[2, 1]] * 4]}), "or use network unet"),
    "strides of a SegResNet": (("segresnet", {"strides": [[1, 1], [2, 1], [1, 2]]}), "or use network unet"),
    "features of a SegResNet": (("segresnet", {"features": [4, 8, 12]}), r"give \(4, 8, 16\)"),
    "dropout in a SegResNet": (("segresnet", {"dropout": 0.1}), "leave it out"),
}


@pytest.mark.parametrize(("asked", "words"), REFUSED.values(), ids=REFUSED)
def test_what_a_network_cannot_do_is_refused_with_the_plan(asked, words):
    name, changes = asked
    with pytest.raises(PlanInvalid, match=words):
        plan(name, 2, **changes)


def test_a_last_stage_of_one_voxel_is_refused_with_the_plan():
    values = plan("unet_plus_plus", 2).model_dump()
    with pytest.raises(PlanInvalid, match="double the patch"):
        type(plan("plain", 2)).checked({**values, "patch": (16, 16)})


@pytest.mark.parametrize("name", ["plain", "stem_unet"])
def test_a_unet_of_two_stages_is_refused_as_it_is_built(name):
    two = plan(name, 2, features=[4, 8], strides=[[1, 1], [2, 2]], deep_supervision=0)
    with pytest.raises(PlanInvalid, match="at least 3"):
        build_network(two)
