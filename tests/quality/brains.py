"""A brain of ellipsoids, in world mm, on any grid."""

from __future__ import annotations

import numpy as np
from scipy.spatial.transform import Rotation

from medseg.geometry import Geometry
from medseg.labels import LabelSet
from medseg.volume import LabelMap

# Name: centre (right, anterior, superior) and half axes in mm. Sided ones are mirrored to the right.
_SIDED = {
    "cortex": ((-32, -5, 15), (28, 65, 42)),
    "white matter": ((-24, -5, 20), (17, 45, 24)),
    "ventricle": ((-10, 0, 18), (5, 20, 8)),
    "thalamus": ((-11, -5, 8), (8, 13, 9)),
    "putamen": ((-25, 12, 6), (6, 15, 10)),
    "hippocampus": ((-26, -4, -10), (7, 18, 7)),
    "cerebellum": ((-22, -40, -36), (20, 22, 17)),
}
_SINGLE = {"brain-stem": ((0, -12, -30), (9, 9, 25))}
IDS = {name: n for n, name in enumerate([*(f"left {one}" for one in _SIDED), *_SINGLE], start=1)}
IDS |= {f"right {one}": n + 20 for n, one in enumerate(_SIDED, start=1)}
LABELS = LabelSet.from_names({number: name for name, number in IDS.items()})


def structures() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    found = {}
    for name, (centre, half) in _SIDED.items():
        found[f"left {name}"] = np.array(centre, float), np.array(half, float)
        found[f"right {name}"] = np.array(centre, float) * (-1, 1, 1), np.array(half, float)
    found |= {
        name: (np.array(centre, float), np.array(half, float)) for name, (centre, half) in _SINGLE.items()
    }
    return found


def grid(
    spacing=(3.0, 2.5, 4.0), size_mm=(190.0, 220.0, 200.0), orientation=((0, 1, 2), (1, 1, 1))
) -> Geometry:
    """A grid round the origin; ``orientation``: the world axis of each array axis, and its sign."""
    axes, signs = orientation
    affine = np.eye(4)
    affine[:3, :3] = 0
    shape = []
    for array, (world, sign) in enumerate(zip(axes, signs, strict=True)):
        affine[world, array] = sign * spacing[array]
        shape.append(int(size_mm[world] / spacing[array]))
    affine[:3, 3] = -affine[:3, :3] @ (np.array(shape) - 1) / 2
    return Geometry(tuple(shape), affine)


def brain(
    geometry: Geometry | None = None, *, scale=1.0, turn=(0.0, 0.0, 0.0), shift=(0.0, 0.0, 0.0), without=()
) -> LabelMap:
    """Its label map, turned by Euler angles in degrees. Later structures cover earlier ones."""
    geometry = geometry or grid()
    index = np.indices(geometry.shape).reshape(3, -1).T
    world = geometry.index_to_world(index)
    own = Rotation.from_euler("xyz", turn, degrees=True).inv().apply(world - shift) / scale
    data = np.zeros(len(own), np.uint8)
    for name, (centre, half) in structures().items():
        if name not in without:
            data[(((own - centre) / half) ** 2).sum(axis=1) <= 1] = IDS[name]
    return LabelMap(data.reshape(geometry.shape), geometry, LABELS)


def relabelled(labels: LabelMap, geometry: Geometry) -> LabelMap:
    """The same array under another header."""
    return LabelMap(labels.data, geometry, labels.labels)
