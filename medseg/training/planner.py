"""Fingerprint to plan: the rules that spare people the tuning.

The rules follow nnU-Net (Isensee et al., Nature Methods 18, 2021): the median spacing, a patch with the
median shape's proportions as large as memory allows, one pooling per axis while it stays at least 4
voxels wide and its spacing within a factor two of the finest, CT windowed by the dataset's foreground
intensities and everything else normalised per scan.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, get_args

import numpy as np

from medseg.labels import LabelSet
from medseg.plans import ChannelPlan, ChannelStatistics, Fingerprint, SynthesisPlan, labels_as_specs
from medseg.preprocess import WORLD_AXES
from medseg.training.network_size import PerStage, Topology, network_size

SliceAxis = Literal["axial", "coronal", "sagittal"]
# Slices that are cut across R, A, S.
_ACROSS: tuple[SliceAxis, ...] = ("sagittal", "coronal", "axial")

_MIN_EDGE = 4
_MIN_STAGES, _MAX_STAGES = 3, 6
# Bytes of activations, gradients and workspace per voxel and feature of the finest stage, all stages
# together. Measured on a CPU for DynUNet, 64^3 voxels, forward and backward: 76 to 86 in float32, 48 in
# bfloat16; the rest is room for augmentation, the optimiser and deeper supervision.
_BYTES_PER_VOXEL_FEATURE = 34 * 4


def propose(
    fingerprint: Fingerprint,
    labels: LabelSet,
    name: str,
    *,
    memory_bytes: int,
    on_gpu: bool,
    slice_axis: SliceAxis | None = None,
    network: Any = None,
) -> dict[str, Any]:
    """Plain values of a plan for a dataset, ready for a recipe and overrides to be laid over them.

    ``network`` is their section of that name: network and encoder decide how wide and deep it is proposed.

    With ``slice_axis``, of a 2D model for volumes, which it sees slice by slice: see `slicing`.
    """
    dimensions: Literal[2, 3] = fingerprint.dimensions if slice_axis is None else 2
    pictures = fingerprint.dimensions == 2
    order = WORLD_AXES[slice_axis]
    target = _target_spacing(fingerprint)
    spacing = None if target is None else tuple(target[axis] for axis in order)
    on_grid = _shape_on_grid(fingerprint, target)
    shape = tuple(on_grid[axis] for axis in order)[:dimensions]
    axis_spacing = (spacing or tuple(fingerprint.spacing_median[axis] for axis in order))[:dimensions]
    flips = flip_axes(labels, dimensions) if slice_axis is None else slice_flip_axes(labels, slice_axis)
    how = network_size(network, on_gpu)
    weight = int(
        np.ceil(how.features * how.memory)
    )  # as many features of the plain U-Net take the same memory
    largest = _largest_patch_voxels(dimensions, weight, memory_bytes, on_gpu)
    patch, strides, kernels = plan_patch(shape, axis_spacing, largest, how.topology)
    return {
        "name": name,
        "dimensions": dimensions,
        "channels": [_channel(c).model_dump() for c in fingerprint.channels],
        "labels": [spec.model_dump() for spec in labels_as_specs(labels)],
        "background": labels.background,
        "grid": {
            "orientation": None if pictures else "RAS",
            "spacing_mm": spacing,
            "slice_axis": slice_axis,
        },
        "patch": patch,
        "network": {
            "name": "unet",
            "features": how.of_stages(len(strides), dimensions),
            "strides": strides,
            "kernel_sizes": kernels,
            "deep_supervision": max(0, min(3, len(strides) - 2)),
        },
        "sampling": {"batch_size": _batch_size(fingerprint, patch, weight, memory_bytes)},
        "augmentation": {
            "rotation_degrees": _rotations(axis_spacing, labels, pictures),
            "flip_axes": flips,
        },
        "inference": {"mirror_axes": flips},
        "fingerprint": fingerprint.model_dump(),
    }


def propose_synthesis(proposed: dict[str, Any], labels: LabelSet, synthesis: SynthesisPlan) -> dict[str, Any]:
    """What differs where images are made from label maps: they are always 0 to 1, and sides are learnt once.

    The network does its work from half the resolution on, since a made image is only as sharp as its labels.
    """
    stages = len(proposed["network"]["features"])
    return {
        "channels": [{"name": "image", "normalisation": "range"}],
        "network": {
            "name": "stem_unet",
            "kernel_sizes": [],
            "paired_sides": bool(labels.pairs),
            "deep_supervision": min(2, stages - 2),
        },
        "synthesis": synthesis.model_copy(
            update={"flip": not labels.one_sided_ids and bool(proposed["augmentation"]["flip_axes"])}
        ).model_dump(mode="json"),
    }


def flip_axes(labels: LabelSet, dimensions: Literal[2, 3]) -> list[int]:
    """Array axes that augmentation may flip.

    In 3D only left-right (axis 0 of an RAS grid), with paired labels swapped, and not even that where a
    label names a side without a partner. A 2D picture has no known sides: both axes, unless a label
    names one.
    """
    lateral = bool(labels.mirrored_ids or labels.one_sided_ids)
    if dimensions == 2:
        return [] if lateral else [0, 1]
    return [] if labels.one_sided_ids else [0]


def slicing(fingerprint: Fingerprint, asked: dict[str, Any]) -> SliceAxis | None:
    """How a 2D model slices volumes, where one is asked for; None for pictures and 3D models.

    Parameters
    ----------
    fingerprint
        Of the dataset.
    asked
        What recipe and overrides say, not checked yet: ``dimensions``, ``grid.slice_axis``. Without the
    latter slices are taken as they were acquired: across the axis of the largest median spacing, or
        axial where no spacing is a tenth larger than that of axial slices.
    """
    if fingerprint.dimensions == 2 or asked.get("dimensions") != 2:
        return None
    grid = asked.get("grid")
    if isinstance(grid, dict) and "slice_axis" in grid:
        named = [axis for axis in get_args(SliceAxis) if axis == grid["slice_axis"]]
        return named[0] if named else "axial"  # whatever else was asked for is laid over it, and checked
    spacing = fingerprint.spacing_median
    thickest = int(np.argmax(spacing))
    return "axial" if spacing[thickest] <= 1.1 * spacing[2] else _ACROSS[thickest]


def slice_flip_axes(labels: LabelSet, slice_axis: SliceAxis) -> list[int]:
    """Axes of a slice that augmentation may flip: left to right, as in 3D, where a slice has these."""
    return [] if slice_axis == "sagittal" else flip_axes(labels, 3)


def plan_patch(
    shape: tuple[int, ...],
    spacing: tuple[float, ...],
    largest_voxels: int,
    topology: Topology | None = None,
) -> tuple[tuple[int, ...], PerStage, PerStage]:
    """Patch size, strides and kernel sizes for a median shape (voxels) and spacing (mm).

    The patch starts at the median shape and its longest edge shrinks, in steps of what the strides need,
    until it holds at most ``largest_voxels``; every edge is then a multiple of its total stride. A network
    whose strides are its own (``topology``) cannot shrink to a single voxel of its last stage.
    """
    size = [max(_MIN_EDGE, n) for n in shape]
    while True:
        strides, kernels = (topology or _topology)(size, spacing)
        step = np.prod(strides, axis=0)
        patch = np.array([int(np.ceil(n / s) * s) for n, s in zip(size, step, strict=True)])
        shrinks = (patch > np.maximum(step, _MIN_EDGE)) & (np.array(size) > _MIN_EDGE)
        if np.prod(patch, dtype=np.int64) <= largest_voxels or not shrinks.any():
            break
        axis = int(np.argmax(patch / np.array(shape)))
        if not shrinks[axis]:
            axis = int(np.argmax(np.where(shrinks, patch, 0)))
        size[axis] = max(_MIN_EDGE, int(patch[axis] - step[axis]))
    if (patch == step).all():
        patch[int(np.argmax(shape))] *= 2
    return tuple(patch.tolist()), strides, kernels


def _topology(size: Sequence[int], spacing: Sequence[float]) -> tuple[PerStage, PerStage]:
    edge, here = np.array(size, float), np.array(spacing, float)
    dimensions = len(size)
    strides = [(1,) * dimensions]
    kernels = [_kernel(here)]
    while len(strides) < _MAX_STAGES:
        wide = edge / 2 >= _MIN_EDGE
        fine = here <= 2 * here[wide].min() if wide.any() else wide
        pooled = wide & fine
        if not pooled.any():
            break
        stride = tuple(2 if p else 1 for p in pooled)
        edge, here = edge / stride, here * stride
        strides.append(stride)
        kernels.append(_kernel(here))
    while len(strides) < _MIN_STAGES:  # a tiny scan: more convolutions at the resolution reached
        strides.append((1,) * dimensions)
        kernels.append(_kernel(here))
    return tuple(strides), tuple(kernels)


def _kernel(spacing: np.ndarray[Any, Any]) -> tuple[int, ...]:
    return tuple(1 if s > 2 * spacing.min() else 3 for s in spacing)


def _target_spacing(fingerprint: Fingerprint) -> tuple[float, float, float] | None:
    if not fingerprint.spacing_known:
        return None
    median = np.array(fingerprint.spacing_median)
    return float(median[0]), float(median[1]), float(median[2])


def _shape_on_grid(fingerprint: Fingerprint, spacing: tuple[float, float, float] | None) -> tuple[int, ...]:
    if spacing is None:
        return fingerprint.shape_median
    extent = np.array(fingerprint.shape_median) * fingerprint.spacing_median
    return tuple(int(n) for n in np.maximum(1, np.round(extent / spacing)))


def _largest_patch_voxels(dimensions: int, features: int, memory_bytes: int, on_gpu: bool) -> int:
    fits = memory_bytes // (2 * features * _BYTES_PER_VOXEL_FEATURE)  # at least two patches in a batch
    on_cpu_or_gpu = {2: (256**2, 512**2), 3: (64**3, 160**3)}
    sensible = on_cpu_or_gpu[dimensions][on_gpu]
    return int(min(fits, sensible))


def _batch_size(fingerprint: Fingerprint, patch: tuple[int, ...], features: int, memory_bytes: int) -> int:
    voxels = int(np.prod(patch))
    fits = memory_bytes // (voxels * features * _BYTES_PER_VOXEL_FEATURE)
    # nnU-Net's rule: one batch shows at most a twentieth of the dataset.
    share = fingerprint.cases * int(np.prod(fingerprint.shape_median)) // (20 * voxels)
    most = 12 if len(patch) == 2 else 4
    return int(max(2, min(fits, share, most)))


def _channel(statistics: ChannelStatistics) -> ChannelPlan:
    facts: dict[str, Any] = {"name": statistics.name, "modality": statistics.modality}
    if statistics.modality == "CT":
        return ChannelPlan(
            **facts,
            normalisation="window",
            low=statistics.percentile_00_5,
            high=max(statistics.percentile_99_5, statistics.percentile_00_5 + 1.0),
            mean=statistics.mean,
            std=max(statistics.std, 1e-3),
        )
    return ChannelPlan(**facts, normalisation="zscore")


def _rotations(spacing: tuple[float, ...], labels: LabelSet, pictures: bool) -> tuple[float, ...]:
    """Thick slices are turned in their plane only: a turn across them would invent anatomy.

    Pictures are turned any way round, unless a label names a side: half a turn would swap the sides.
    """
    if len(spacing) == 2:
        return (180.0,) if pictures and not (labels.mirrored_ids or labels.one_sided_ids) else (15.0,)
    thick = [s > 3 * min(spacing) for s in spacing]
    if not any(thick):
        return (15.0, 15.0, 15.0)
    return tuple(15.0 if is_thick else 0.0 for is_thick in thick)
