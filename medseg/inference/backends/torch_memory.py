"""How much memory a torch network's run takes on the CPU, found by running it on a small patch."""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

# What comes with the first run whatever the patch, measured: pages of torch's own code, threads, kernels,
# and what the allocator keeps between tensors.
_FIXED = 50 << 20
_BLOCK = 16  # oneDNN's layouts hold channels in whole blocks


def run_bytes(
    run: Callable[[torch.Tensor], torch.Tensor], channels: int, patch: Sequence[int], steps: Sequence[int]
) -> int:
    """Bytes of host memory that ``run`` takes at its peak for a batch of one patch, its result included.

    The network is run on the smallest patch there is (``steps``, the product of its strides, and twice that
    along one axis: a norm wants more than one voxel), with every tensor's birth and death watched. What
    has a patch's rank is counted in proportion to the voxels. A convolution's kernel (oneDNN) works on
    copies of its input, weights and output in an order of its own; input and output are not copied at once.

    Not covered: the weights themselves, and the input, which is the caller's.
    """
    small = list(steps)
    longest = max(range(len(patch)), key=lambda axis: patch[axis] / small[axis])
    small[longest] *= 2
    watch = _Watch(len(patch), math.prod(patch) / math.prod(small))
    example = torch.zeros(1, channels, *small)
    with watch:
        run(example)
    return int(watch.peak) + _FIXED


class _Watch(TorchFunctionMode):
    """Counts the bytes of all tensors alive, and their most.

    It sees the functions that networks are written in. (A dispatch mode would see more, and imports torch's
    compiler for it, which takes longer than a scan.)
    """

    def __init__(self, dimensions: int, scale: float) -> None:
        super().__init__()
        self._rank, self._scale = 2 + dimensions, scale
        self._seen: set[int] = set()
        self._live = 0.0
        self.peak = 0.0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, torch.Tensor):
                self._count(tensor)
        copies = 0.0
        if "conv" in getattr(func, "__name__", "") and isinstance(result, torch.Tensor):
            copies = max(self._bytes(tensor, _BLOCK) for tensor in (args[0], result)) + self._bytes(args[1])
        self.peak = max(self.peak, self._live + copies)
        return result

    def _count(self, tensor: torch.Tensor) -> None:
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key not in self._seen:
            self._seen.add(key)
            size = self._bytes(tensor)
            self._live += size
            weakref.finalize(storage, self._gone, key, size)

    def _gone(self, key: int, size: float) -> None:
        self._seen.discard(key)
        self._live -= size

    def _bytes(self, tensor: torch.Tensor, block: int = 1) -> float:
        """Bytes at the full patch: of what has a patch's rank and batch, in proportion to the voxels."""
        if tensor.dim() != self._rank or tensor.shape[0] != 1:
            return tensor.untyped_storage().nbytes()
        channels = -(-tensor.shape[1] // block) * block
        return self._scale * tensor.element_size() * channels * math.prod(tensor.shape[2:])
