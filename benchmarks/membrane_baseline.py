"""The plain baseline for the membrane task: MONAI alone, after its tutorial for 2D segmentation, no medseg.

``2d_segmentation/torch/unet_training_array.py`` of MONAI's tutorials: `UNet` of 16 to 256 channels with two
residual units, `DiceLoss` on a sigmoid, Adam at 0.001, random crops and quarter turns, and windows with half
overlap. Beside that a crop of 128 pixels, batches of 8, flips, and training for given minutes, not epochs.
"""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import torch
from monai.data import CacheDataset, DataLoader
from monai.inferers import sliding_window_inference
from monai.losses import DiceLoss
from monai.networks.nets import UNet
from monai.transforms import (
    Compose,
    EnsureChannelFirstd,
    Lambdad,
    LoadImaged,
    RandFlipd,
    RandRotate90d,
    RandSpatialCropd,
    ScaleIntensityd,
)
from monai.utils import set_determinism
from numpy.typing import NDArray

PATCH, BATCH = (128, 128), 8
BOTH = ["image", "label"]


def train(cases: list[tuple[Path, Path]], minutes: float, seed: int) -> torch.nn.Module:
    """A network after so many minutes on images and labels (255 cell)."""
    end = time.monotonic() + 60 * minutes
    set_determinism(seed)
    network = UNet(
        spatial_dims=2, in_channels=1, out_channels=1,
        channels=(16, 32, 64, 128, 256), strides=(2, 2, 2, 2), num_res_units=2,
    )  # fmt: skip
    transforms = Compose(
        [
            LoadImaged(BOTH, image_only=True),
            EnsureChannelFirstd(BOTH),
            ScaleIntensityd("image"),
            Lambdad("label", func=lambda label: (label > 0).float()),
            RandSpatialCropd(BOTH, PATCH, random_size=False),
            RandRotate90d(BOTH, prob=0.5),
            RandFlipd(BOTH, prob=0.5, spatial_axis=0),
        ]
    )
    files = [{"image": str(image), "label": str(label)} for image, label in cases]
    loader = DataLoader(CacheDataset(files, transforms, progress=False), batch_size=BATCH, shuffle=True)
    loss_of = DiceLoss(sigmoid=True)
    optimiser = torch.optim.Adam(network.parameters(), 1e-3)
    network.train()
    while time.monotonic() < end:
        for data in loader:
            loss = loss_of(network(data["image"].as_tensor()), data["label"].as_tensor())
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            if time.monotonic() >= end:
                break
    return network.eval()


@torch.inference_mode()
def predict(network: torch.nn.Module, image: Path) -> NDArray[np.bool_]:
    """Where there are cells, (height, width)."""
    pixels = Compose(
        [LoadImaged("image", image_only=True), EnsureChannelFirstd("image"), ScaleIntensityd("image")]
    )({"image": str(image)})["image"]
    logits = sliding_window_inference(pixels.as_tensor()[None], PATCH, 4, network, overlap=0.5)
    return (logits[0, 0] > 0).numpy().T  # MONAI's reader of pictures gives (column, row)
