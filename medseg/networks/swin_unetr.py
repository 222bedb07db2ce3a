"""Swin UNETR by MONAI (Hatamizadeh et al., BrainLes 2021): attention in shifted windows, and a decoder."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from monai.networks.nets import SwinUNETR as MonaiSwinUNETR
from monai.networks.nets.swin_unetr import get_window_size
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from medseg.networks.blocks import Step, convolution
from medseg.plans import Plan


class SwinUNETR(MonaiSwinUNETR):
    """MONAI's SwinUNETR with deep supervision.

    In training a list: full resolution, then as many lower ones as the plan supervises. The other tensors
    are MONAI's own, name by name. Its blocks are MONAI's too; what joins them is written out here, without
    einops, and with a mask of attention made of whole numbers: an ONNX file can hold it beside the weights.
    """

    def __init__(self, plan: Plan) -> None:
        super().__init__(**swin_unetr_arguments(plan))
        net = plan.network
        self.deep_supervision_heads = nn.ModuleList(
            convolution(net.features[n], len(plan.output_names), (1,) * plan.dimensions, bias=True)
            for n in range(1, 1 + net.deep_supervision)
        )

    def forward(self, x: Tensor) -> Tensor | list[Tensor]:
        hidden = self._hidden(x)
        decoded = [self.encoder10(hidden[4])]
        for join, skip in (
            (self.decoder5, hidden[3]),
            (self.decoder4, self.encoder4(hidden[2])),
            (self.decoder3, self.encoder3(hidden[1])),
            (self.decoder2, self.encoder2(hidden[0])),
            (self.decoder1, self.encoder1(x)),
        ):
            decoded.append(join(decoded[-1], skip))
        logits: Tensor = self.out(decoded[-1])
        if not self.training:
            return logits
        coarser = zip(self.deep_supervision_heads, decoded[-2::-1], strict=False)
        return [logits, *(head(features) for head, features in coarser)]

    def _hidden(self, x: Tensor) -> list[Tensor]:
        """Half resolution to a thirty-second, each normalised over its channels."""
        swin: Any = self.swinViT
        found = [swin.pos_drop(swin.patch_embed(x))]
        for layers in (swin.layers1, swin.layers2, swin.layers3, swin.layers4):
            found.append(_stage(layers[0], found[-1]))
        return [functional.layer_norm(one.movedim(1, -1), one.shape[1:2]).movedim(-1, 1) for one in found]


def swin_unetr_arguments(plan: Plan) -> dict[str, Any]:
    """What MONAI's own SwinUNETR takes to be this network, as plain values (JSON)."""
    return {
        "spatial_dims": plan.dimensions,
        "in_channels": plan.input_channels,
        "out_channels": len(plan.output_names),
        "feature_size": plan.network.features[0],
        "drop_rate": plan.network.dropout,
    }


def build_swin_unetr(plan: Plan) -> nn.Module:
    """The network of a plan, which was checked when it was read."""
    return SwinUNETR(plan)


def _stage(layer: Any, x: Tensor) -> Tensor:
    """MONAI's BasicLayer: blocks of attention in windows, every other one shifted; then half the size."""
    size = tuple(x.shape[2:])
    window, shift = get_window_size(size, layer.window_size, layer.shift_size)  # type: ignore[no-untyped-call]
    mask = _mask(size, tuple(window), tuple(shift), x) if any(shift) else None
    x = x.movedim(1, -1).contiguous()
    for block in layer.blocks:
        x = block(x, mask)
    merged: Tensor = layer.downsample(x).movedim(-1, 1)
    return merged.contiguous()


def _mask(size: Step, window: Step, shift: Step, like: Tensor) -> Tensor:
    """What is added to the attention between the voxels of a window (W, n, n): -100 between parts of the
    image that the shift, which wraps round, has brought together; else 0.
    """
    parts = torch.from_numpy(_parts(size, window, shift)).to(like.device)
    apart = parts[:, None, :] != parts[:, :, None]
    return apart.to(like.dtype) * -100.0


@lru_cache(maxsize=32)
def _parts(size: Step, window: Step, shift: Step) -> NDArray[np.int64]:
    """The part of the image that each voxel of each window belongs to (W, n).

    Along each axis there are three: before the last window, within it, and what was wrapped round.
    """
    number = np.zeros((), np.int64)
    for n, edge, moved in zip(size, window, shift, strict=True):
        whole = math.ceil(n / edge) * edge
        along = np.zeros(whole, np.int64)
        along[whole - edge :] = 1
        if moved:
            along[whole - moved :] = 2
        number = number[..., None] * 3 + along
    return _windows(number, window)


def _windows(image: NDArray[np.int64], window: Sequence[int]) -> NDArray[np.int64]:
    """An image in windows (W, n), in the order in which MONAI's window_partition takes them."""
    rank = len(window)
    split = [m for n, edge in zip(image.shape, window, strict=True) for m in (n // edge, edge)]
    order = (*range(0, 2 * rank, 2), *range(1, 2 * rank, 2))
    return np.ascontiguousarray(image.reshape(split).transpose(order).reshape(-1, math.prod(window)))
