"""A network's tensors leave and enter it whole, each once."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from medseg.errors import ModelRefused
from medseg.networks import build_network, load_tensors, tensors_of
from medseg.plans import Plan


@pytest.fixture(scope="module")
def plan() -> Plan:
    return Plan(
        name="toy",
        dimensions=3,
        channels=({"name": "a"}, {"name": "b"}),
        labels=({"id": 7, "name": "thing", "colour": (1, 2, 3)},),
        patch=(8, 16, 8),
        network={"features": (4, 8, 8), "strides": ((1, 1, 1), (2, 2, 1), (2, 2, 2)), "deep_supervision": 1},
    )


def test_another_network_computes_the_same_after_loading(plan):
    first, second = build_network(plan).eval(), build_network(plan).eval()
    image = torch.randn(1, 2, 8, 16, 8)
    assert not torch.equal(first(image), second(image))
    load_tensors(second, tensors_of(first))
    assert torch.equal(first(image), second(image))


def test_each_tensor_is_kept_once(plan):
    network = build_network(plan)
    found = tensors_of(network)
    assert sum(value.size for value in found.values()) == sum(p.numel() for p in network.parameters())
    assert found.keys() == dict(network.named_parameters()).keys()


def test_the_arrays_do_not_follow_the_network(plan):
    network = build_network(plan)
    before = tensors_of(network)
    copies = {name: value.copy() for name, value in before.items()}
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(1.0)
    for name, value in before.items():
        np.testing.assert_array_equal(value, copies[name])


def test_half_precision_and_a_plain_state_dict_are_taken(plan):
    network, other = build_network(plan), build_network(plan)
    load_tensors(other, {name: value.numpy() for name, value in network.state_dict().items()})
    load_tensors(other, {name: value.astype(np.float16) for name, value in tensors_of(network).items()})
    for mine, half in zip(network.parameters(), other.parameters(), strict=True):
        assert half.dtype == torch.float32
        assert torch.equal(half, mine.half().float())


@pytest.mark.parametrize("fault", ["missing", "unknown", "of another shape"])
def test_tensors_of_another_network_are_refused_by_name(plan, fault):
    network = build_network(plan)
    tensors = tensors_of(network)
    name = next(iter(tensors))
    if fault == "missing":
        del tensors[name]
    elif fault == "unknown":
        tensors[name := "surprise"] = np.zeros(3, np.float32)
    else:
        tensors[name] = tensors[name][..., :1]
    before = tensors_of(network)
    with pytest.raises(ModelRefused, match=f"{fault}: {name}"):
        load_tensors(network, tensors)
    for key, value in tensors_of(network).items():
        np.testing.assert_array_equal(value, before[key])
