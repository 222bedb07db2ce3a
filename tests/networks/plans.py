"""A small plan for every network of the registry, in 2D and 3D, with axes that are treated differently."""

from __future__ import annotations

from medseg.networks import encoder_names, network_names
from medseg.plans import Plan

# A U-Net's patch need only be a multiple of its strides: 20 and 12 halve to odd numbers, 7 never halves.
_UNET = {
    2: ((24, 20), ((1, 1), (2, 1), (2, 2), (2, 2))),
    3: ((16, 12, 7), ((1, 1, 1), (2, 2, 1), (2, 2, 1))),
}
_MONAIS = {
    ("segresnet", 2): ((24, 20), 4, ((1, 1), (2, 1), (2, 2))),
    ("segresnet", 3): ((16, 12, 6), 4, ((1, 1, 1), (2, 2, 1), (2, 2, 2))),
    ("unet_plus_plus", 2): ((32, 48), 4, ((1, 1), *[(2, 2)] * 4)),
    ("unet_plus_plus", 3): ((16, 32, 16), 4, ((1, 1, 1), *[(2, 2, 2)] * 4)),
    ("swin_unetr", 2): ((64, 96), 12, ((1, 1), *[(2, 2)] * 5)),
    ("swin_unetr", 3): ((32, 64, 32), 12, ((1, 1, 1), *[(2, 2, 2)] * 5)),
}
_ENCODERS = {name: {"encoder": name} for name in encoder_names()}
_GATED = {f"{name}, gates": {"encoder": name, "attention_gates": True} for name in encoder_names()}
UNETS = {**_ENCODERS, **_GATED, "plain, residual, gates": {**_GATED["plain, gates"], "residual": True}}
"""The part ``network`` of each U-Net of the registry, by what it is called here."""

NAMES = (*UNETS, *(name for name in network_names() if name != "unet"))
"""Every network: U-Nets by their encoder, others by their name."""

CASES = [(name, dimensions) for name in NAMES for dimensions in (2, 3)]


def plan(name: str, dimensions: int, channels: int = 2, /, **network: object) -> Plan:
    """A plan of a network of `NAMES`; ``network`` goes over its section of that name."""
    if (name, dimensions) in _MONAIS:
        patch, features, strides = _MONAIS[name, dimensions]
        values = {"name": name, "features": features}
    else:
        patch, strides = _UNET[dimensions]
        values = {"features": [4, 6, 8, 8][: len(strides)], **UNETS.get(name, {"name": name})}
        if dimensions == 3 and name != "stem_unet":
            values["kernel_sizes"] = [(3, 3, 1), (3, 3, 1), (3, 3, 3)]
    supervised = {"strides": strides, "deep_supervision": len(strides) - 2}
    return Plan.checked(
        {
            "name": "net",
            "dimensions": dimensions,
            "channels": [{"name": f"c{n}"} for n in range(channels)],
            "labels": [{"id": i, "name": f"l{i}", "colour": (0, 0, 0)} for i in (3, 9)],
            "patch": patch,
            "network": {**values, **supervised, **network},
        }
    )
