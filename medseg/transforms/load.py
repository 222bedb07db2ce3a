"""Reading: medseg's readers behind MONAI's two interfaces."""

from __future__ import annotations

import os
from collections.abc import Hashable, Mapping, Sequence
from functools import reduce
from operator import add
from pathlib import Path
from typing import Any

import numpy as np
from monai.config import KeysCollection, PathLike
from monai.data import ImageReader
from monai.transforms import MapTransform
from monai.utils import ImageMetaKey, MetaKeys, ensure_tuple
from numpy.typing import DTypeLike, NDArray

from medseg.errors import InputRefused, UsageError
from medseg.io import files, read, read_labels
from medseg.io.raster import check_allow
from medseg.transforms import metadata
from medseg.volume import LabelMap, Volume


class VolumeReader(ImageReader):
    """Reads for MONAI whatever medseg reads, and refuses what medseg refuses.

    ``LoadImage(reader=VolumeReader(allow="tilt"))``, or by name,
    ``LoadImaged(keys, reader="medseg.transforms.VolumeReader", allow="tilt")``.

    Parameters
    ----------
    allow, series
        As in `medseg.read`.
    labels
        Read segmentations (`medseg.read_labels`): ids stay as they are, if ``LoadImage`` has a ``dtype`` that
        can hold them.
    """

    def __init__(
        self, allow: Sequence[str] = (), series: str | int | None = None, *, labels: bool = False
    ) -> None:
        super().__init__()
        self.allow = tuple(sorted(check_allow(allow)))
        self.series = series
        self.labels = labels

    def verify_suffix(self, filename: Sequence[PathLike] | PathLike) -> bool:
        """Whether all are folders, DICOM files, or files with an extension that medseg reads."""
        return all(
            path.is_dir() or bool(files.extension(path)) or files.is_dicom_file(path)
            for path in _paths(filename)
        )

    def read(self, data: Sequence[PathLike] | PathLike, **kwargs: Any) -> tuple[Path, ...]:
        """The paths to read; `get_data` reads them.

        ``LoadImage`` takes whatever ``read`` raises for "try the next reader", and would load a scan that
        medseg refuses with one that does not check. What `get_data` raises reaches the caller.
        """
        if kwargs:
            raise UsageError(f"VolumeReader.read takes no {', '.join(kwargs)}: give options to VolumeReader")
        return _paths(data)

    def get_data(self, img: Sequence[Path]) -> tuple[NDArray[Any], dict[str, Any]]:
        """Voxels and MONAI's metadata of paths that `read` returned.

        Returns
        -------
        array in the file's own type: (I, J, K), or (I, J) of a 2D image, with ``original_channel_dim`` NaN;
        several channels, or several paths, lead: (C, I, J, K) with ``original_channel_dim`` 0. And the
        metadata.

        Raises
        ------
        InputRefused
            As `medseg.read`, and ``grid-differs`` for several paths that do not share one grid.
        """
        load = read_labels if self.labels else read
        items = [(path.name, load(path, series=self.series, allow=self.allow)) for path in img]
        _check_one_grid(items)
        geometry = items[0][1].geometry
        array = metadata.drop_third_axis(_channels(items), geometry)
        meta = _describe(items)
        if len(array) > 1:
            return array, meta | {str(MetaKeys.ORIGINAL_CHANNEL_DIM): 0}
        return array[0], meta | {str(MetaKeys.ORIGINAL_CHANNEL_DIM): float("nan")}


class LoadVolumed(MapTransform):
    """Load the scans and label maps of a case, checked to lie on one grid.

    Parameters
    ----------
    keys
        Of scans: a path each, or several, which become channels. Loaded as float32 (C, I, J, K).
    label_keys
        Of segmentations: a path each. Loaded as int32 (1, I, J, K) with the file's own ids. DICOM
        segmentations and structure sets come on the grid of the first scan.
    allow
        As in `medseg.read`.
    series
        As in `medseg.read`; of scans alone.
    one_grid
        Refuse cases whose items do not lie on one grid (`Geometry.same_grid`). Without it a later transform
        has to bring them together.
    allow_missing_keys
        Pass over keys that a case does not have.

    Raises
    ------
    InputRefused
        When called: as `medseg.read` and `medseg.read_labels`; ``grid-differs``; ``non-finite`` for values
        that float32 cannot hold. The message ends in the code, as worker processes hand on nothing else.

    Notes
    -----
    2D images have no third axis: (C, I, J). ``Compose`` wraps what a transform raises in a ``RuntimeError``;
    the refusal is its ``__cause__``.
    """

    def __init__(
        self,
        keys: KeysCollection,
        *,
        label_keys: KeysCollection = (),
        allow: Sequence[str] = (),
        series: str | int | None = None,
        one_grid: bool = True,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(scans_then_labels(keys, label_keys), allow_missing_keys)
        self.label_keys = ensure_tuple(label_keys)
        self.scan_keys = self.keys[: len(self.keys) - len(self.label_keys)]
        self.allow = tuple(sorted(check_allow(allow)))
        self.series = series
        self.one_grid = one_grid

    def __call__(self, data: Mapping[Any, Any]) -> dict[Any, Any]:
        """The case, with a MetaTensor under each key in the place of its paths."""
        case = dict(data)
        scan = next((_paths(data[key])[0] for key in self.scan_keys if key in data), None)
        seen: list[tuple[str, Volume | LabelMap]] = []
        for key in self.key_iterator(case):
            try:
                items = (
                    self._labels(key, case[key], scan) if key in self.label_keys else self._scans(case[key])
                )
                seen = [*(seen if self.one_grid else ()), *items]
                _check_one_grid(seen)
                case[key] = self._tensor(key, case[key], items)
            except InputRefused as error:
                raise InputRefused(
                    f"{key!r}: {error} ({error.code})",
                    code=error.code,
                    path=error.path,
                    reasons=error.reasons,
                ) from error
        return case

    def _scans(self, value: Any) -> list[tuple[str, Volume | LabelMap]]:
        return [(path.name, read(path, series=self.series, allow=self.allow)) for path in _paths(value)]

    def _labels(self, key: Any, value: Any, scan: Path | None) -> list[tuple[str, Volume | LabelMap]]:
        path, *others = _paths(value)
        if others:
            raise UsageError(f"{key!r}: {1 + len(others)} label files, expected one that holds all ids")
        if scan is None or not files.is_dicom_file(path):
            return [(path.name, read_labels(path, allow=self.allow))]
        # DICOM's segmentations leave out empty slices, its contours have no grid: the scan completes both.
        return [(path.name, read_labels(path, scan=scan, series=self.series, allow=self.allow))]

    def _tensor(self, key: Any, value: Any, items: list[tuple[str, Volume | LabelMap]]) -> Any:
        array = _channels(items)
        wanted = np.int32 if key in self.label_keys else np.float32
        meta = _describe(items) | {str(ImageMetaKey.FILENAME_OR_OBJ): str(_paths(value)[0])}
        return metadata.to_tensor(_as_type(array, wanted), items[0][1].geometry, meta)


def scans_then_labels(keys: KeysCollection, label_keys: KeysCollection) -> tuple[Hashable, ...]:
    """All keys once; a key that is in both is one of labels."""
    labels = ensure_tuple(label_keys)
    return (*(key for key in ensure_tuple(keys) if key not in labels), *labels)


def _paths(value: Any) -> tuple[Path, ...]:
    """One path or several; a UsageError for what is neither."""
    found = value if isinstance(value, (list, tuple)) else (value,)
    if not found or not all(isinstance(path, str | os.PathLike) for path in found):
        kinds = ", ".join(sorted({type(path).__name__ for path in found})) or "nothing"
        raise UsageError(f"expected a path or a list of paths, found {kinds}")
    return tuple(Path(path).expanduser() for path in found)


def _check_one_grid(items: Sequence[tuple[str, Volume | LabelMap]]) -> None:
    (first_name, first), *others = items
    for name, item in others:
        a, b = first.geometry, item.geometry
        if a.same_grid(b):
            continue
        if a.shape != b.shape:
            found = f"{'x'.join(map(str, b.shape))} voxels and {'x'.join(map(str, a.shape))}"
        else:
            apart = f"corners up to {a.grid_distance_mm(b):.3g} mm apart"
            found = f"axes {b.orientation} and {a.orientation}, {apart}"
        raise InputRefused(
            f"{name} and {first_name} do not lie on one grid: {found}; resample one of them to the other",
            code="grid-differs",
        )


def _channels(items: Sequence[tuple[str, Volume | LabelMap]]) -> NDArray[Any]:
    """All channels, (C, I, J, K), in the files' own type where it is one."""
    arrays = [item.data if isinstance(item, Volume) else item.data[None] for _, item in items]
    return arrays[0] if len(arrays) == 1 else np.concatenate(arrays)


def _describe(items: Sequence[tuple[str, Volume | LabelMap]]) -> dict[str, Any]:
    """The first item's grid, the verdict on all."""
    return metadata.describe(items[0][1].geometry, reduce(add, (item.verdict for _, item in items)))


def _as_type(array: NDArray[Any], wanted: DTypeLike) -> NDArray[Any]:
    with np.errstate(over="ignore"):
        converted = array.astype(wanted, copy=False)
    if array.dtype.kind == "f" and array.dtype.itemsize > 4 and not np.isfinite(converted).all():
        largest = float(np.abs(array).max())
        raise InputRefused(f"values up to {largest:.3g} are infinite in float32", code="non-finite")
    return converted
