"""One contract for every network of the registry, in 2D and 3D."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.networks.nets import DynUNet

from medseg.errors import ModelRefused, PlanInvalid
from medseg.networks import build_network, load_tensors, network_names, tensors_of
from medseg.networks.unet import dynunet_arguments
from medseg.plans import Plan

FLAT = "3D, thick slices, flat kernels"
CASES = {
    "3D": ((16, 24, 16), ((1, 1, 1), (2, 2, 2), (2, 2, 2), (2, 2, 2)), ()),
    "3D, thick slices": ((16, 24, 4), ((1, 1, 1), (2, 2, 1), (2, 2, 2)), ()),
    FLAT: ((16, 24, 4), ((1, 1, 1), (2, 2, 1), (2, 2, 2)), ((3, 3, 1), (3, 3, 3), (3, 3, 3))),
    "2D": ((24, 16), ((1, 1), (2, 2), (2, 2), (2, 2)), ()),
}


def plan(case: str, name: str = "unet", channels: int = 2, **network: object) -> Plan:
    patch, strides, kernels = CASES[case]
    return Plan.checked(
        {
            "name": "net",
            "dimensions": len(patch),
            "channels": [{"name": f"c{n}"} for n in range(channels)],
            "labels": [{"id": i, "name": f"l{i}", "colour": (0, 0, 0)} for i in (3, 9)],
            "patch": patch,
            "network": {
                "name": name,
                "features": [4 * 2**n for n in range(len(strides))],
                "strides": strides,
                "kernel_sizes": kernels,
                "deep_supervision": len(strides) - 2,
                **network,
            },
        }
    )


# A stem_unet refuses flat kernels, see test_stem_unet.py.
BUILT = [(name, case) for name in network_names() for case in CASES if (name, case) != ("stem_unet", FLAT)]


@pytest.mark.parametrize("channels", [1, 4])
@pytest.mark.parametrize(("name", "case"), BUILT)
def test_logits_have_the_patch_shape_and_every_weight_learns(name, case, channels):
    the_plan = plan(case, name, channels)
    torch.manual_seed(0)
    network = build_network(the_plan)
    images = torch.randn(2, channels, *the_plan.patch)
    # A head may start at zero, which keeps what lies before it still for one step.
    optimiser = torch.optim.SGD(network.parameters(), 0.1)
    sum((head - 1).square().mean() for head in network.train()(images)).backward()
    optimiser.step()
    optimiser.zero_grad()
    heads = network(images)
    assert [tuple(heads[0].shape)] == [(2, 3, *the_plan.patch)]
    assert len(heads) == 1 + the_plan.network.deep_supervision
    steps = np.cumprod(the_plan.network.strides, axis=0)
    for head, step in zip(heads, steps, strict=False):
        assert tuple(head.shape[2:]) == tuple(np.array(the_plan.patch) // step)
    sum(head.square().mean() for head in heads).backward()
    silent = [n for n, p in network.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert silent == []
    assert network.eval()(images).shape == (2, 3, *the_plan.patch)


def test_the_unet_is_monais_dynunet_tensor_by_tensor():
    the_plan = plan("3D", deep_supervision=0)
    network = build_network(the_plan).eval()
    plain = DynUNet(**dynunet_arguments(the_plan)).eval()
    plain.load_state_dict(network.state_dict())
    images = torch.randn(1, 2, *the_plan.patch)
    assert torch.equal(plain(images), network(images))


@pytest.mark.parametrize("name", network_names())
def test_tensors_come_out_once_and_go_back_in(name):
    the_plan = plan("2D", name)
    torch.manual_seed(1)
    network, other = build_network(the_plan), build_network(the_plan)
    images = torch.randn(2, 2, *the_plan.patch)
    network.train()(images)  # so that what a normalisation counts is no longer what it starts with
    tensors = tensors_of(network)
    counted = [b.numel() for b in network.buffers() if b.is_floating_point()]
    assert sum(v.size for v in tensors.values()) == sum(p.numel() for p in network.parameters()) + sum(
        counted
    )
    load_tensors(other, tensors)
    assert torch.equal(network.eval()(images), other.eval()(images))
    for name, value in tensors_of(other).items():
        np.testing.assert_array_equal(value, tensors[name])
    tensors.pop(next(iter(tensors)))
    with pytest.raises(ModelRefused, match="missing"):
        load_tensors(other, tensors)


def test_what_the_registry_lacks_is_named():
    with pytest.raises(PlanInvalid, match="expected one of stem_unet, unet"):
        build_network(plan("3D", name="unnet"))


@pytest.mark.parametrize("name", network_names())
def test_a_network_of_two_stages_is_refused(name):
    two = plan("2D", name, features=[4, 8], strides=[[1, 1], [2, 2]], deep_supervision=0)
    with pytest.raises(PlanInvalid, match="at least 3"):
        build_network(two)
