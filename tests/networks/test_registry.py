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

CASES = {
    "3D": ((16, 24, 16), ((1, 1, 1), (2, 2, 2), (2, 2, 2), (2, 2, 2)), ()),
    "3D, thick slices": ((16, 24, 4), ((1, 1, 1), (2, 2, 1), (2, 2, 2)), ((3, 3, 1), (3, 3, 3), (3, 3, 3))),
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


@pytest.mark.parametrize("channels", [1, 4])
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("name", network_names())
def test_logits_have_the_patch_shape_and_every_weight_learns(name, case, channels):
    the_plan = plan(case, name, channels)
    torch.manual_seed(0)
    network = build_network(the_plan)
    images = torch.randn(2, channels, *the_plan.patch)
    heads = network.train()(images)
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


def test_tensors_come_out_once_and_go_back_in():
    the_plan = plan("2D")
    torch.manual_seed(1)
    network, other = build_network(the_plan), build_network(the_plan)
    tensors = tensors_of(network)
    assert sum(value.size for value in tensors.values()) == sum(p.numel() for p in network.parameters())
    load_tensors(other, tensors)
    for (name, mine), theirs in zip(network.state_dict().items(), other.state_dict().values(), strict=True):
        assert torch.equal(mine, theirs), name
    tensors.pop(next(iter(tensors)))
    with pytest.raises(ModelRefused, match="missing"):
        load_tensors(other, tensors)


def test_what_the_registry_lacks_is_named():
    with pytest.raises(PlanInvalid, match="expected one of unet"):
        build_network(plan("3D", name="unnet"))
    two = plan("2D", features=[4, 8], strides=[[1, 1], [2, 2]], deep_supervision=0)
    with pytest.raises(PlanInvalid, match="at least 3"):
        build_network(two)
