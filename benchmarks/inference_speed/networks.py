"""Networks as medseg bundles, and scans to run them on, the same for every tool that is compared.

Every network is a U-Net of the registry (MONAI's DynUNet, whose twin in nnU-Net is PlainConvUNet), so that
one set of weights runs in all three tools. Weights are random with a fixed seed: speed and memory do not
depend on them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Net:
    """A network: ``features`` per stage (one fewer stride of 2 than stages), classes, cubic patch in voxels.

    ``spacing_mm`` is that of the network's grid; scans have 1 mm, None takes theirs.
    """

    name: str
    features: tuple[int, ...]
    classes: int
    patch: int
    spacing_mm: float | None = None

    def folder(self, root: Path) -> Path:
        """Where `make_bundle` keeps this network: one folder per definition."""
        key = hashlib.sha256(json.dumps(asdict(self)).encode()).hexdigest()[:10]
        return root / f"{self.name}-{self.classes}-{self.patch}-{key}"


def usual(patch: int, classes: int = 3, spacing_mm: float | None = None) -> Net:
    """What nnU-Net's planner makes, and medseg's with a GPU: 32 to 320 features, 31 million at 128."""
    stages = {16: 3, 32: 4, 64: 5}.get(patch, 6)
    features = tuple(min(32 * 2**n, 320) for n in range(stages))
    return Net("usual", features, classes, patch, spacing_mm)


def planned(patch: int, classes: int = 3) -> Net:
    """What medseg's planner makes on a computer without a GPU: 16 to 256 features."""
    stages = {16: 3, 32: 4}.get(patch, 5)
    return Net("planned", tuple(16 * 2**n for n in range(stages)), classes, patch)


def tiny(patch: int, classes: int = 105, spacing_mm: float | None = None) -> Net:
    """Next to no forward time, so that what is left is everything but the network."""
    return Net("tiny", (4, 6, 8), classes, patch, spacing_mm)


def make_bundle(net: Net, root: Path) -> Path:
    """The bundle of a network, with ONNX; made where it is not there yet. Imports torch."""
    folder = net.folder(root)
    if folder.is_dir():
        return folder

    import torch

    from medseg.labels import LabelSet
    from medseg.models import Scope, save_bundle
    from medseg.networks import build_network, tensors_of
    from medseg.plans import Plan, labels_as_specs
    from medseg.training.onnx_export import onnx_builder

    labels = LabelSet.from_names({n: f"structure {n:03d}" for n in range(1, net.classes)})
    spacing = None if net.spacing_mm is None else (net.spacing_mm,) * 3
    plan = Plan.checked(
        {
            "name": net.name,
            "dimensions": 3,
            "channels": [{"name": "ct"}],
            "labels": labels_as_specs(labels),
            "patch": (net.patch,) * 3,
            "grid": {"spacing_mm": spacing},
            "network": {
                "features": net.features,
                "strides": ((1, 1, 1), *((2, 2, 2),) * (len(net.features) - 1)),
                "deep_supervision": 0,
            },
        }
    )
    torch.manual_seed(0)
    network = build_network(plan).eval()
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            # Biases and norms away from 0 and 1, or every class would win about as often everywhere.
            if parameter.ndim == 1:
                parameter += 0.3 * torch.randn_like(parameter)
            elif name.startswith("output_block"):
                parameter *= 3
    tensors = tensors_of(network)
    save_bundle(
        folder,
        plan=plan,
        weights=tensors,
        build_onnx=onnx_builder(network, plan, tensors),
        scope=Scope(dimensions=3, description="anything: a network of random weights"),
        precision="f32",
        execution={},
        training={},
        scores={},
        card="# Random weights, for benchmarks\n",
        licence="CC0\n",
    )
    return folder


def make_scan(shape: Sequence[int], root: Path, seed: int = 0) -> Path:
    """A NIfTI file of 1 mm int16 voxels: structures of some 30 voxels, a gradient, and noise.

    Smooth, so that labels form regions as anatomy does; a random network's labels on white noise would
    change from voxel to voxel.
    """
    path = root / f"scan-{'x'.join(map(str, shape))}-{seed}.nii.gz"
    if path.is_file():
        return path

    import nibabel
    from scipy.ndimage import zoom

    random = np.random.default_rng(seed)
    coarse = random.normal(size=[n // 30 + 3 for n in shape]).astype(np.float32)
    scale = [n / c for n, c in zip(shape, coarse.shape, strict=True)]
    data = 300 * zoom(coarse, scale, order=1, mode="nearest", grid_mode=True)
    data += np.linspace(-200, 200, shape[0], dtype=np.float32)[:, None, None]
    for plane in data:  # one at a time: whole-scan noise would double the memory
        plane += random.normal(scale=10, size=plane.shape)
    part = path.with_name(f"part-{path.name}")
    nibabel.save(nibabel.Nifti1Image(data.astype(np.int16), np.eye(4)), part)
    part.rename(path)
    return path


def windows_of(data: NDArray[np.float32], patch: Sequence[int], overlap: float) -> list[NDArray[np.float32]]:
    """Every window of a prepared scan (C, x, y, z) as a batch of one, for bare forward passes."""
    from medseg.inference.windows import window_starts

    missing = [max(0, p - n) for n, p in zip(data.shape[1:], patch, strict=True)]
    padded = np.pad(data, [(0, 0), *((m // 2, m - m // 2) for m in missing)])
    return [
        np.ascontiguousarray(padded[None, :, x : x + patch[0], y : y + patch[1], z : z + patch[2]])
        for x, y, z in window_starts(padded.shape[1:], patch, overlap)
    ]
