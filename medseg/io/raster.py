"""Raster: what a file reader found, before anyone has judged it; and the judgement.

Readers and writers of the formats deal in rasters. `to_volume` and `to_label_map` turn one into a
`Volume` or a `LabelMap`, or refuse it by name, by the same rules for every format.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg.errors import InputRefused, UsageError
from medseg.geometry import Geometry
from medseg.io.naming import with_unnamed
from medseg.labels import LabelSet
from medseg.verdict import OK, Reason, Verdict
from medseg.volume import LabelMap, Source, Volume, present_ids

ALLOWABLE = ("missing-slices", "uneven-spacing", "tilt", "shear", "non-finite")
SHEAR_ACCEPTED_DEGREES = 0.1
_LARGEST_ID = 65535
# From a tenth of an atom to a kilometre: a grid beyond comes from a damaged header.
_SMALLEST_VOXEL_MM, _LARGEST_VOXEL_MM, _FARTHEST_MM = 1e-9, 1e6, 1e9


@dataclass(frozen=True, slots=True, eq=False)
class Raster:
    """Voxels (C, I, J, K) as a file gives them, and what it says about them.

    Parameters
    ----------
    data, affine
        The array, scaled as the file asks, and index to world RAS+ mm.
    path, paths
        What the caller named, and the files read (one unless the format is DICOM or a pair).
    format, modality, header
        As in `Source`.
    verdict
        Findings of the format's reader that do not refuse the file.
    labels
        Names that the file itself gives to ids, if any.
    layers
        Of a segmentation whose structures overlap: one label set for each channel of ``data``, which is a
        layer. Empty for everything else.
    """

    data: NDArray[Any]
    affine: NDArray[np.float64]
    path: Path
    paths: tuple[Path, ...]
    format: str
    modality: str | None = None
    header: Mapping[str, Any] = field(default_factory=dict, repr=False)
    verdict: Verdict = OK
    is_2d: bool = False
    spacing_known: bool = True
    labels: LabelSet | None = None
    layers: tuple[LabelSet, ...] = ()

    @property
    def source(self) -> Source:
        """Where it came from, for the `Volume`."""
        named = {} if self.labels is None else {"names": self.labels.names}
        return Source(self.paths, self.format, self.modality, {**self.header, **named})


def check_allow(allow: Sequence[str]) -> frozenset[str]:
    """The words of ``allow``, or a `UsageError` that lists the valid ones."""
    words = (allow,) if isinstance(allow, str) else tuple(allow)
    unknown = sorted(set(words) - set(ALLOWABLE))
    if unknown:
        raise UsageError(f"allow={', '.join(unknown)}: there is only {', '.join(ALLOWABLE)}")
    return frozenset(words)


def to_volume(raster: Raster, allow: frozenset[str] = frozenset()) -> Volume:
    """Judge a raster: a `Volume` with its verdict, or `InputRefused`."""
    if raster.layers:
        cure = "read them with read_labels or convert --labels; each layer is a label map"
        raise _refused(raster, "segmentation", f"{len(raster.layers)} layers of segments, no scan; {cure}")
    geometry, verdict = _geometry(raster, allow)
    data, repair = _finite(raster, allow)
    return Volume(data, geometry, raster.source, raster.verdict + verdict + repair)


def to_geometry(raster: Raster, allow: frozenset[str] = frozenset()) -> Geometry:
    """Judge the grid of a raster alone."""
    return _geometry(raster, allow)[0]


def to_label_map(
    raster: Raster,
    labels: LabelSet | None = None,
    allow: frozenset[str] = frozenset(),
    layer: int | None = None,
) -> LabelMap:
    """Judge a raster as one segmentation: ids are whole numbers from 0 to 65535, or it is refused.

    ``layer`` (from 1) chooses where structures overlap.
    """
    count = max(1, len(raster.layers))
    if layer is None and count > 1:
        text = f"its structures overlap, they take {count} label maps"
        cure = f"choose one with layer=1 to {count}, or read all with read_label_layers"
        raise _refused(raster, "overlapping-labels", f"{text}; {cure}")
    if layer is not None and not 1 <= layer <= count:
        raise UsageError(f"{raster.path.name}: layer={layer}, there {_are(count)}, counted from 1")
    return to_label_layers(raster, labels, allow, None if layer is None else layer - 1)[0]


def to_label_layers(
    raster: Raster,
    labels: LabelSet | None = None,
    allow: frozenset[str] = frozenset(),
    only: int | None = None,
) -> tuple[LabelMap, ...]:
    """Judge a raster as a segmentation of one layer or more, all of them or ``only`` one (from 0)."""
    geometry, verdict = _geometry(raster, allow)
    if raster.data.shape[0] != max(1, len(raster.layers)):
        raise _refused(raster, "not-labels", f"{raster.data.shape[0]} channels, expected one with label ids")
    known = raster.layers or (raster.labels,)
    chosen = range(len(known)) if only is None else (only,)
    maps = []
    for n in chosen:
        data = _ids(raster, raster.data[n])
        names, naming = _names(raster, data, labels, known[n])
        maps.append(LabelMap(data, geometry, names, raster.source, raster.verdict + verdict + naming))
    return tuple(maps)


def _are(count: int) -> str:
    return "is only one" if count == 1 else f"are {count}"


def smallest_unsigned(data: NDArray[Any]) -> NDArray[Any]:
    """The same ids in uint8 if they fit, else uint16 (a copy only where the type changes)."""
    fits = data.dtype.itemsize == 1 or int(data.max(initial=0)) <= 255
    return data.astype(np.uint8 if fits else np.uint16, copy=False)


def _refused(raster: Raster, code: str, message: str) -> InputRefused:
    return InputRefused(f"{raster.path.name}: {message}", code=code, path=raster.path)


def _geometry(raster: Raster, allow: frozenset[str]) -> tuple[Geometry, Verdict]:
    try:
        geometry = Geometry(raster.data.shape[1:], raster.affine, raster.is_2d, raster.spacing_known)
    except ValueError as error:
        raise _refused(raster, "bad-header", f"{error}. The grid cannot be placed in space") from None
    sizes, farthest = geometry.spacing, float(np.abs(geometry.corners).max())
    if min(sizes) < _SMALLEST_VOXEL_MM or max(sizes) > _LARGEST_VOXEL_MM or not farthest < _FARTHEST_MM:
        finding = (
            f"voxels of {' x '.join(f'{s:.3g}' for s in sizes)} mm, up to {farthest:.3g} mm from the origin"
        )
        raise _refused(raster, "bad-header", f"{finding}. The grid cannot be placed in space")
    degrees = geometry.shear_degrees
    # Down to a millionth of a degree more than the limit is the file's own rounding.
    if degrees <= SHEAR_ACCEPTED_DEGREES + 1e-6:
        return geometry, OK
    code = "tilt" if raster.format == "dicom" else "shear"
    finding = f"the axes are {degrees:.2f} degrees away from right angles"
    if not allow & {"tilt", "shear"}:
        raise _refused(
            raster, code, f"{finding}; allow={code} keeps them so, exactly, else resample the scan first"
        )
    kept = "kept as they are (allowed); programs built on ITK open that as .nrrd or .mha, not as .nii.gz"
    return geometry, Verdict.of("warning", code, f"{finding}, {kept}")


def _finite(raster: Raster, allow: frozenset[str]) -> tuple[NDArray[Any], Verdict]:
    data = raster.data
    # A sum is finite only if every term is: one pass without a temporary for the ordinary scan.
    with np.errstate(all="ignore"):
        if data.dtype.kind != "f" or np.isfinite(data.sum(dtype=np.float64)):
            return data, OK
    bad = ~np.isfinite(data)
    count = int(bad.sum())
    if count == 0:
        return data, OK  # finite values whose sum overflows
    finding = f"{count} of {data.size} voxels are not finite (NaN or infinite)"
    if count == data.size:
        raise _refused(raster, "non-finite", f"{finding}: nothing is left of the scan")
    if "non-finite" not in allow:
        raise _refused(raster, "non-finite", f"{finding}; allow=non-finite sets them to 0")
    repair = Verdict.of("repaired", "non-finite", f"{finding}, set to 0")
    return np.where(bad, data.dtype.type(0), data), repair


def _ids(raster: Raster, data: NDArray[Any]) -> NDArray[Any]:
    if raster.layers:  # a copy of its own, so that one layer does not keep all of them alive
        data = np.array(data, order="F")
    if data.dtype.kind == "f":
        whole = np.rint(data)
        if not np.array_equal(whole, data):
            raise _refused(raster, "not-labels", "values that are not whole numbers, expected label ids")
        data = whole
    low, high = data.min(), data.max()
    if low < 0 or high > _LARGEST_ID:
        raise _refused(raster, "not-labels", f"ids from {low:.0f} to {high:.0f}, expected 0 to {_LARGEST_ID}")
    if data.dtype.kind == "u" and data.dtype.itemsize <= 2:
        return data
    return smallest_unsigned(data.astype(np.uint16))


def _names(
    raster: Raster, data: NDArray[Any], labels: LabelSet | None, own: LabelSet | None
) -> tuple[LabelSet, Verdict]:
    """What the ids mean: as the caller says, else as the file does."""
    present = present_ids(data)
    known = labels if labels is not None else own
    if known is None:
        return LabelSet.from_ids(present), OK
    named = set(known.ids)
    unnamed = [i for i in present if i not in named]
    if not unnamed:
        return known, OK
    if labels is not None:
        raise _refused(
            raster, "unknown-labels", f"ids {unnamed[:10]} are not among the labels {list(known.ids)[:20]}"
        )
    reason = Reason("labels-unnamed", f"the file names no structure for ids {unnamed[:10]}")
    return with_unnamed(known, unnamed), Verdict("warning", (reason,))
