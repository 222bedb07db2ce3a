"""Preprocessing: scan grid to network grid and back, as `medseg.preprocess` does it for medseg itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from monai.config import KeysCollection
from monai.transforms import MapTransform
from monai.utils import ensure_tuple
from numpy.typing import NDArray

from medseg.errors import InputRefused, UsageError
from medseg.geometry import Geometry
from medseg.inference.finish import ids_of
from medseg.labels import LabelSet
from medseg.plans import Plan
from medseg.preprocess import network_geometry, prepare, prepare_labels, restore
from medseg.transforms.load import scans_then_labels
from medseg.transforms.metadata import array_on, grid_of, loaded_grid_of, to_tensor
from medseg.volume import LabelMap, Volume, present_ids


class PrepareVolumed(MapTransform):
    """Bring loaded scans and label maps onto a plan's grid, as medseg's own training and inference do.

    Parameters
    ----------
    keys
        Of scans, as `LoadVolumed` loads them: oriented, resampled (linear) and normalised; float32.
    plan
        The plan, of a bundle or of `medseg.plan`.
    label_keys
        Of segmentations: ids become class indices, int32; index n stands for ``plan.class_ids[n]``.
    allow_missing_keys
        Pass over keys that a case does not have.

    Raises
    ------
    InputRefused
        When called: as `medseg.preprocess.prepare` and `prepare_labels`, and ``not-labels``.
    UsageError
        When called on something that does not carry MONAI's metadata in RAS+.

    Notes
    -----
    ``affine`` becomes that of the plan's grid. ``original_affine`` and ``spatial_shape`` stay those of the
    scan as it was loaded, where `RestoreLabelsd` goes back to.
    """

    def __init__(
        self,
        keys: KeysCollection,
        plan: Plan,
        *,
        label_keys: KeysCollection = (),
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(scans_then_labels(keys, label_keys), allow_missing_keys)
        self.label_keys = ensure_tuple(label_keys)
        self.plan = plan

    def __call__(self, data: Mapping[Any, Any]) -> dict[Any, Any]:
        """The case, with MetaTensors on the plan's grid."""
        case = dict(data)
        for key in self.key_iterator(case):
            tensor = case[key]
            native = grid_of(tensor, key)
            array = array_on(tensor, native)
            prepared: NDArray[Any]
            if key in self.label_keys:
                prepared = prepare_labels(_label_map(key, array, native), self.plan)[None].astype(np.int32)
            else:
                prepared = prepare(Volume(array, native), self.plan).data
            case[key] = to_tensor(prepared, network_geometry(native, self.plan.grid), tensor.meta)
        return case


class RestoreLabelsd(MapTransform):
    """From logits on a plan's grid to label ids on the scan's own grid: the way back of `PrepareVolumed`.

    Logits, not labels, are interpolated (linear), and the largest wins; on a tie the class that comes first
    in the plan, background before all. A plan's regions are painted where their logit is above 0.

    Parameters
    ----------
    keys
        Of logits (channels, x, y, z), one channel for each of ``plan.output_names``. Probabilities will do
        too, unless they are of regions.
    plan
        The plan that `PrepareVolumed` had.
    ref_key
        The prepared scan, whose metadata tell both grids. None: the metadata of the logits themselves.
    allow_missing_keys
        Pass over keys that a case does not have.

    Raises
    ------
    UsageError
        When called on another number of channels, or without MONAI's metadata in RAS+.
    """

    def __init__(
        self, keys: KeysCollection, plan: Plan, *, ref_key: Any = None, allow_missing_keys: bool = False
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.plan = plan
        self.ref_key = ref_key

    def __call__(self, data: Mapping[Any, Any]) -> dict[Any, Any]:
        """The case, with int32 MetaTensors (1, I, J, K) of label ids on the grid of the scan as loaded."""
        case = dict(data)
        channels = len(self.plan.output_names)
        for key in self.key_iterator(case):
            name = key if self.ref_key is None else self.ref_key
            network = grid_of(case[name], name, case[key].shape[1:])
            native = loaded_grid_of(case[name], name)
            logits = array_on(case[key], network)
            if len(logits) != channels:
                what = "regions" if self.plan.regions else "classes"
                raise UsageError(
                    f"{key!r}: {len(logits)} channels, plan {self.plan.name!r} has {channels} {what}"
                )
            ids = ids_of(restore(logits, network, native), self.plan, threshold=0.0)
            case[key] = to_tensor(ids[None].astype(np.int32), native, case[name].meta)
        return case


def _label_map(key: Any, array: NDArray[Any], geometry: Geometry) -> LabelMap:
    with np.errstate(invalid="ignore"):
        ids = array[0].astype(np.uint16)
    if len(array) != 1 or not np.array_equal(ids, array[0]):
        raise InputRefused(f"{key!r}: expected one channel of label ids from 0 to 65535", code="not-labels")
    return LabelMap(ids, geometry, LabelSet.from_ids(present_ids(ids)))
