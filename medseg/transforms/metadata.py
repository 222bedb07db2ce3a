"""Geometry to MONAI's metadata and back.

A tensor carries MONAI's own keys (``affine`` and ``original_affine`` to RAS+ mm, ``spatial_shape``,
``space``, ``original_channel_dim``) and medseg's ``verdict``, ``verdict_codes`` and ``spacing_known``;
nothing else of a file's header, and only what MONAI's batches can hold: numbers, arrays and plain strings.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor
from monai.data.utils import to_affine_nd
from monai.utils import MetaKeys
from numpy.typing import NDArray

from medseg.errors import UsageError
from medseg.geometry import Geometry
from medseg.verdict import Verdict

Metadata = dict[str, Any]


def describe(geometry: Geometry, verdict: Verdict) -> Metadata:
    """The metadata of an item as it was loaded, all but ``original_channel_dim``. A 2D image has two axes."""
    return {
        str(MetaKeys.AFFINE): geometry.affine.copy(),
        str(MetaKeys.ORIGINAL_AFFINE): geometry.affine.copy(),
        str(MetaKeys.SPATIAL_SHAPE): np.array(geometry.shape[: _axes(geometry)]),
        str(MetaKeys.SPACE): "RAS",
        "verdict": verdict.status,
        "verdict_codes": ",".join(verdict.codes),
        "spacing_known": geometry.spacing_known,
    }


def drop_third_axis(array: NDArray[Any], geometry: Geometry) -> NDArray[Any]:
    """(C, I, J, K), or (C, I, J) of a 2D image."""
    return array[..., 0] if geometry.is_2d else array


def to_tensor(array: NDArray[Any], geometry: Geometry, meta: Mapping[str, Any]) -> Any:
    """(C, I, J, K) on a grid as a MetaTensor, a plain tensor where MONAI's tracking is off.

    ``meta`` is copied; its ``affine`` becomes that of ``geometry``.
    """
    placed = {
        **meta,
        str(MetaKeys.AFFINE): geometry.affine.copy(),
        str(MetaKeys.ORIGINAL_CHANNEL_DIM): 0,
    }
    return MetaTensor.ensure_torch_and_prune_meta(drop_third_axis(array, geometry), placed)


def grid_of(tensor: Any, key: Any, shape: Sequence[int] | None = None) -> Geometry:
    """The grid that a channel-first tensor's metadata tell, for its own spatial shape or another.

    Raises
    ------
    UsageError
        There are no metadata, or not in RAS+.
    """
    _check(tensor, key)
    return _geometry(tensor, tensor.shape[1:] if shape is None else shape, tensor.affine)


def loaded_grid_of(tensor: Any, key: Any) -> Geometry:
    """The grid of the scan as it was loaded, before anything moved it; errors as `grid_of`."""
    _check(tensor, key)
    missing = {MetaKeys.ORIGINAL_AFFINE, MetaKeys.SPATIAL_SHAPE} - set(tensor.meta)
    if missing:
        raise UsageError(f"{key!r}: no metadata {', '.join(sorted(missing))}: load the scan with LoadVolumed")
    return _geometry(tensor, tensor.meta[MetaKeys.SPATIAL_SHAPE], tensor.meta[MetaKeys.ORIGINAL_AFFINE])


def array_on(tensor: torch.Tensor, geometry: Geometry) -> NDArray[Any]:
    """A channel-first tensor as an array (C, I, J, K)."""
    array = np.asarray(torch.Tensor.numpy(tensor.detach().cpu()))
    return array[..., None] if geometry.is_2d else array


def _axes(geometry: Geometry) -> int:
    return 2 if geometry.is_2d else 3


def _check(tensor: Any, key: Any) -> None:
    if not isinstance(tensor, MetaTensor):
        raise UsageError(f"{key!r}: a {type(tensor).__name__}, expected a MetaTensor as LoadVolumed gives it")
    if tensor.ndim not in (3, 4):
        raise UsageError(
            f"{key!r}: shape {tuple(tensor.shape)}, expected one case, (C, I, J, K) or (C, I, J)"
        )
    space = tensor.meta.get(MetaKeys.SPACE)
    if space != "RAS":
        raise UsageError(
            f"{key!r}: its affine leads to {space}, expected RAS: load the scan with LoadVolumed"
        )


def _geometry(tensor: MetaTensor, shape: Sequence[int], affine: Any) -> Geometry:
    sizes = tuple(int(n) for n in shape)
    flat = len(sizes) == 2
    whole = (*sizes, 1) if flat else sizes
    known = bool(tensor.meta.get("spacing_known", True))
    # MONAI's own 2D transforms make the affine 3x3.
    matrix = to_affine_nd(3, np.asarray(affine, np.float64))
    return Geometry(whole, matrix, is_2d=flat, spacing_known=known)  # type: ignore[arg-type]
