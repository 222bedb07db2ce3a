"""Sample data: the surroundings of a hippocampus made by formula, to try everything out without any file.

It looks enough like a T1-weighted MR crop for the built-in model ``hippocampus``. It shows no patient, and
nothing is downloaded.
"""

from __future__ import annotations

import numpy as np
import scipy
from numpy.typing import NDArray

from medseg import Geometry, LabelMap, LabelSet, Volume
from medseg.volume import Source
from napari_medseg.layers import LayerData, image_layers, labels_layer

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]

_SHAPE, _SPACING = (36, 50, 32), (1.0, 1.0, 1.15)
_TILT_DEGREES = 6.0  # about the left-right axis: an oblique scan, as most are
_CENTRE = (26.0, -22.0, -12.0)  # RAS mm, where a right hippocampus lies
_BLUR, _NOISE, _SEED = 0.6, 4.0, 1
_WHITE, _GREY, _CORTEX, _FLUID, _BRAIN_STEM = 86, 51, 54, 18, 70
_LENGTH, _FRONT = (-17.0, 17.0), 5.0  # mm along the structure: its ends, and where the front part begins
_ANTERIOR, _POSTERIOR = 1, 2


def hippocampus() -> list[LayerData]:
    """The made scan as an image layer: the model has something to find."""
    return image_layers(make_scan()[0], "sample hippocampus")


def segmented_hippocampus() -> list[LayerData]:
    """The made scan with its true structures as a labels layer: something to look at and to correct."""
    volume, labels = make_scan()
    return [
        *image_layers(volume, "sample hippocampus"),
        labels_layer(labels, "sample hippocampus structures"),
    ]


def make_scan() -> tuple[Volume, LabelMap]:
    """The same scan on every call, oblique and anisotropic.

    Returns
    -------
    tuple
        The scan (1, 36, 50, 32), uint8, and its two structures, as the model names them.
    """
    geometry = _grid()
    index = np.stack(np.meshgrid(*(np.arange(n) for n in _SHAPE), indexing="ij"), axis=-1)
    x, y, z = np.moveaxis(geometry.index_to_world(index) - _CENTRE, -1, 0)
    inside, tissue = _tissues(x, y, z)
    noise = np.random.default_rng(_SEED).normal(0, _NOISE, _SHAPE)
    data = np.clip(np.rint(scipy.ndimage.gaussian_filter(tissue, _BLUR) + noise), 0, 255).astype(np.uint8)
    labels = np.where(inside, np.where(y > _FRONT, _ANTERIOR, _POSTERIOR), 0).astype(np.uint8)
    names = LabelSet.from_names({_ANTERIOR: "Anterior", _POSTERIOR: "Posterior"})
    return Volume(data[None], geometry, Source(modality="MR")), LabelMap(labels, geometry, names)


def _grid() -> Geometry:
    c, s = np.cos(np.radians(_TILT_DEGREES)), np.sin(np.radians(_TILT_DEGREES))
    affine = np.eye(4)
    affine[:3, :3] = np.array(((-1, 0, 0), (0, c, -s), (0, s, c))) * _SPACING  # i runs to the left
    affine[:3, 3] = _CENTRE - affine[:3, :3] @ ((np.array(_SHAPE) - 1) / 2)
    return Geometry(_SHAPE, affine)


def _tissues(x: Floats, y: Floats, z: Floats) -> tuple[Mask, Floats]:
    """Where the hippocampus is, and the intensity of what is there, from mm off its centre (RAS).

    The structure is a bent tube that sinks to the front and grows thicker there; the tissues round it are
    layers above and below that follow its bend, as they do in the temporal lobe.
    """
    along = np.clip((y - _LENGTH[0]) / (_LENGTH[1] - _LENGTH[0]), 0, 1)  # 0 tail, 1 head
    bend = np.sin(np.pi * along)
    axis_z = 10.5 - 19 * along - 2.5 * bend + 3 * np.clip(along - 0.8, 0, 1)
    axis_x = -1.5 - 2.5 * bend + 3 * along**2
    across = x - axis_x
    above = (z - axis_z) * np.cos(np.radians(30)) - 0.03 * across**2 + 0.5
    height, width = 3 + 2 * np.clip(2 * along - 1, 0, 1), 4.5 + 4.5 * np.clip(1.3 * along, 0, 1)
    tail, head = np.clip((_LENGTH[0] - y) / 5, 0, None), np.clip((y - _LENGTH[1] + 1) / 4, 0, None)
    inside: Mask = (above / height) ** 2 + (across / width) ** 2 + tail**2 + head**2 < 1

    tissue = np.full(x.shape, _WHITE, np.float64)
    for depth, intensity in ((4, _CORTEX), (9, _WHITE), (13, _CORTEX)):
        tissue[above < -height - depth] = intensity
    tissue[(x > 8.5 + 2 * np.sin(y / 6)) & (above < 4)] = _FLUID  # the cistern beside the brain stem
    tissue[(x > 11.5) & (above < 6)] = _BRAIN_STEM
    horn = (above > height) & (above < height + 1.6) & (across < 6) & (y > -15)
    side = (across < -width) & (across > -width - 2.2) & (np.abs(above) < height + 1) & (y > -7)
    tissue[horn | side] = _FLUID  # the temporal horn of the ventricle lies on the structure
    tissue[(y < -16) & (above > 2) & (across < 4)] = _FLUID
    tissue[(y > 18) & (np.abs(above - 2) < 8) & (x < 8.5)] = _CORTEX  # amygdala
    tissue[inside] = _GREY
    return inside, tissue
