"""Networks by name. A network takes (B, C, *patch) and gives logits (B, K, *patch).

While training a network may give a list instead: the logits, then the same at lower resolutions, for
deep supervision.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from medseg.errors import PlanInvalid
from medseg.networks.stem_unet import build_stem_unet
from medseg.networks.unet import build_unet
from medseg.plans import Plan

_REGISTRY: dict[str, Callable[[Plan], nn.Module]] = {"stem_unet": build_stem_unet, "unet": build_unet}


def network_names() -> tuple[str, ...]:
    """Names that ``network.name`` in a plan may take."""
    return tuple(sorted(_REGISTRY))


def build_network(plan: Plan) -> nn.Module:
    """The network of a plan, with fresh weights from torch's global random generator.

    Raises
    ------
    PlanInvalid
        If the registry has no network of that name.
    """
    try:
        build = _REGISTRY[plan.network.name]
    except KeyError:
        raise PlanInvalid(
            f"network.name {plan.network.name!r}: expected one of {', '.join(network_names())}"
        ) from None
    return build(plan)
