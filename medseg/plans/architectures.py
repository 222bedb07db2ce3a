"""What each network can be asked for, known without torch, so that a plan is checked as it is read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from medseg.plans.network import NetworkPlan

# As in nnU-Net: beyond so many channels a stage of a 2D or 3D network gets no wider.
_MOST_FEATURES = {2: 512, 3: 320}


@dataclass(frozen=True, slots=True)
class Architecture:
    """The limits of a network of one name.

    Attributes
    ----------
    stages
        How many there must be; None: any number.
    growth
        Features of each stage as multiples of the first stage's; None: any.
    multiple
        The first stage's features are a multiple of this.
    always_halves
        Every stage after the first halves every axis; else see `check_network`.
    fixed_size
        Its ONNX file is for the plan's patch alone; others take any batch and any multiple of the strides.
    """

    stages: int | None = None
    growth: tuple[int, ...] | None = None
    multiple: int = 1
    always_halves: bool = False
    fixed_size: bool = False


ARCHITECTURES: dict[str, Architecture] = {
    "unet": Architecture(),
    "stem_unet": Architecture(),
    "segresnet": Architecture(),
    "swin_unetr": Architecture(
        stages=6, growth=(1, 1, 2, 4, 8, 16), multiple=12, always_halves=True, fixed_size=True
    ),
    "unet_plus_plus": Architecture(stages=5, always_halves=True),
}
"""By ``network.name``."""

_MONAIS = ("segresnet", "swin_unetr", "unet_plus_plus")


def check_network(net: NetworkPlan, patch: tuple[int, ...]) -> None:
    """Hold a network against the limits of its architecture.

    `Plan` calls it once features, strides and patch agree with each other. What old plans may hold of
    ``unet`` and ``stem_unet`` is checked by their builders, as ever.

    Raises
    ------
    ValueError
        Which says what does not fit, what was found, what was expected, and the cure.
    """
    with_encoder = net.encoder != "plain" or net.attention_gates
    if net.name != "unet" and with_encoder:
        raise ValueError(
            f"network.encoder {net.encoder!r}, attention_gates {net.attention_gates}: only unet has encoders "
            f"to choose from and gates, {net.name} does not; leave them out, or set network.name to unet"
        )
    if net.name in _MONAIS:
        _check_monai(net, ARCHITECTURES[net.name])
    elif net.name == "unet" and with_encoder:
        _check_encoder(net)
    else:
        return
    if any(step != 1 for step in net.strides[0]):
        raise ValueError(f"network.strides: the first is {net.strides[0]}, expected ones: it is the image's")
    # Instance normalisation of a single voxel is always 0.
    if all(size == step for size, step in zip(patch, total_strides(net), strict=True)):
        raise ValueError(
            f"patch {patch}: the last stage would see one voxel, as the strides reduce by "
            f"{total_strides(net)}; double the patch along an axis, or leave out a stage"
        )


def grown_features(name: str, first: int, stages: int, dimensions: int) -> tuple[int, ...]:
    """Features of each stage where only the first's are given: as the architecture wants them, else doubled.

    Doubled ones grow to 512 in 2D and 320 in 3D at most, or to ``first`` where that is more.
    """
    growth = ARCHITECTURES[name].growth if name in ARCHITECTURES else None
    if growth is not None:
        return tuple(first * factor for factor in growth[:stages])
    most = first * 2**stages if name == "segresnet" else max(first, _MOST_FEATURES[dimensions])
    return tuple(min(first * 2**n, most) for n in range(stages))


def total_strides(net: NetworkPlan) -> tuple[int, ...]:
    """By how much each axis is smaller in the last stage than in the image."""
    total = [1] * len(net.strides[0])
    for stride in net.strides:
        total = [whole * step for whole, step in zip(total, stride, strict=True)]
    return tuple(total)


def waiting_stages(strides: tuple[tuple[int, ...], ...]) -> int | None:
    """After the first stage, how many leave the same axes as they are before all axes halve at every stage.

    0 where all halve from the start; None where the strides are not of this kind.
    """
    steps = strides[1:]
    everywhere = (2,) * len(strides[0])
    wait = next((n for n, step in enumerate(steps) if step == everywhere), len(steps))
    first = steps[:wait]
    if any(step != everywhere for step in steps[wait:]) or len(set(first)) > 1:
        return None
    return None if first and set(first[0]) != {1, 2} else wait


def _check_encoder(net: NetworkPlan) -> None:
    _check_stages(net, at_least=3)
    if net.residual and net.encoder != "plain":
        raise ValueError(
            f"network.residual: the encoder {net.encoder} has its own kind of blocks; leave it out"
        )
    if any(size % 2 == 0 for kernel in net.kernel_sizes for size in kernel):
        raise ValueError(f"network.kernel_sizes {net.kernel_sizes}: expected odd numbers")
    if net.encoder == "googlenet" and min(net.features) < 4:
        raise ValueError(
            f"network.features {net.features}: googlenet divides each stage's among four branches; "
            "give 4 or more"
        )


def _check_monai(net: NetworkPlan, limits: Architecture) -> None:
    name = net.name
    if limits.stages is None:
        _check_stages(net, at_least=3)
    elif len(net.features) != limits.stages:
        raise ValueError(
            f"network.features: {len(net.features)} stages, {name} has {limits.stages}; "
            "give as many features and strides"
        )
    if net.residual or net.kernel_sizes:
        raise ValueError(f"network.residual, network.kernel_sizes: {name} has its own blocks; leave both out")
    if name == "segresnet" and net.dropout:
        raise ValueError("network.dropout: segresnet has none; leave it out")
    first = max(1, round(net.features[0] / limits.multiple)) * limits.multiple
    grown = grown_features(name, first, len(net.features), len(net.strides[0]))
    if name != "unet_plus_plus" and net.features != grown:
        of_what = f", a multiple of {limits.multiple}" if limits.multiple > 1 else ""
        raise ValueError(
            f"network.features {net.features}: those of {name} follow from the first{of_what}; give {grown}"
        )
    wait = waiting_stages(net.strides)
    if wait is None or (limits.always_halves and wait > 0):
        rule = "" if limits.always_halves else ", but for axes that wait together at the first stages"
        raise ValueError(
            f"network.strides {net.strides}: {name} halves every axis at every stage after the first{rule}; "
            "give such strides, or use network unet, which takes any"
        )


def _check_stages(net: NetworkPlan, at_least: int) -> None:
    if len(net.features) < at_least:
        raise ValueError(
            f"network.features: {len(net.features)} stages, {net.name} needs at least {at_least}; "
            "give features and strides"
        )
