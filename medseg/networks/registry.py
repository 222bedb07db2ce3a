"""Networks by name. A network takes (B, C, *patch) and gives logits (B, K, *patch).

While training a network may give a list instead: the logits, then the same at lower resolutions, for
deep supervision. docs/networks.md compares them.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from medseg.networks.encoders import ENCODERS
from medseg.networks.segresnet import build_segresnet
from medseg.networks.stem_unet import build_stem_unet
from medseg.networks.swin_unetr import build_swin_unetr
from medseg.networks.unet import build_unet
from medseg.networks.unet_plus_plus import build_unet_plus_plus
from medseg.plans import Plan

_REGISTRY: dict[str, Callable[[Plan], nn.Module]] = {
    "segresnet": build_segresnet,
    "stem_unet": build_stem_unet,
    "swin_unetr": build_swin_unetr,
    "unet": build_unet,
    "unet_plus_plus": build_unet_plus_plus,
}


def network_names() -> tuple[str, ...]:
    """Names that ``network.name`` in a plan may take."""
    return tuple(sorted(_REGISTRY))


def encoder_names() -> tuple[str, ...]:
    """Names that ``network.encoder`` in a plan may take, the plain one first."""
    return tuple(ENCODERS)


def build_network(plan: Plan) -> nn.Module:
    """The network of a plan, with fresh weights from torch's global random generator.

    Raises
    ------
    PlanInvalid
        If the network lacks what the plan asks for, and only building it shows that.
    """
    return _REGISTRY[plan.network.name](plan)
