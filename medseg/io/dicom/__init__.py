"""DICOM scans to rasters: from a folder, a zip, a DICOMDIR, or one file of a series."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg.errors import InputRefused
from medseg.io.dicom.aside import object_name
from medseg.io.dicom.geometry import Stack, is_colour
from medseg.io.dicom.objects import SetAside
from medseg.io.dicom.series import Listing, Series, ambiguity, choose, placed, split
from medseg.io.raster import Raster
from medseg.io.refusals import refused
from medseg.verdict import OK, Reason, Verdict

__all__ = ["Listing", "Series", "ambiguity", "choose", "find", "load", "read", "survey"]


def read(path: Path, *, series: str | int | None = None, allow: frozenset[str] = frozenset()) -> Raster:
    """Read one series.

    Parameters
    ----------
    path
        A folder (searched with its subfolders), a zip archive, a DICOMDIR, or one file, which means the
        series among the files beside it that holds the file.
    series
        An identifier or number (from 1) of `find`, where there are several.
    allow
        ``missing-slices`` fills gaps, ``uneven-spacing`` resamples along the stack, both linearly.

    Raises
    ------
    InputRefused
        ``several-series``, ``four-dimensional``, ``no-scan``, ``not-an-image``, ``segmentation`` and
        ``structure-set`` (for `read_labels`), ``bad-header``, ``unreadable`` and ``missing-files`` (of
        files that may be slices), what `geometry.stack` names about places, and what `pixels.read_frames`
        names about pixels.
    """
    listing = find(path)
    return load(path, choose(path, listing, series), allow, listing)


def find(path: Path) -> Listing:
    """The series at a path in the order of their numbers, from headers alone; of one file its own series."""
    from medseg.io.dicom.files import scan

    found = scan(path)
    series = split(found.frames)
    if not found.whole:
        series = tuple(item for item in series if any(p == path or p.samefile(path) for p in item.paths))
        if not series:
            _refuse_object(path, found.set_aside)
    return Listing(
        series=tuple(item for item in series if not item.aside),
        aside=tuple(item for item in series if item.aside),
        set_aside=found.set_aside,
        lost=found.lost,
    )


def load(
    path: Path, series: Series, allow: frozenset[str] = frozenset(), listing: Listing | None = None
) -> Raster:
    """Order, place and decode one series, and make the repairs that are allowed."""
    from medseg.io.dicom.pixels import read_frames
    from medseg.io.dicom.repair import interpolate_planes

    found = _sound(path, series, allow, listing)
    data = read_frames(found.frames)
    if found.planes is not None:
        data = interpolate_planes(data, found.planes, found.count)
    return _raster(path, found, data if data.ndim == 4 else data[None], listing)


def survey(
    path: Path, series: Series, allow: frozenset[str] = frozenset(), listing: Listing | None = None
) -> Raster:
    """As `load`, by headers alone: the voxels are a stand-in that takes no memory, all 0."""
    from medseg.io.dicom.pixels import check_frames

    found = _sound(path, series, allow, listing)
    check_frames(found.frames)
    channels = found.frames[0].image.samples
    return _raster(path, found, np.broadcast_to(np.uint8(0), (channels, *found.shape)), listing)


def _sound(path: Path, series: Series, allow: frozenset[str], listing: Listing | None) -> Stack:
    """The slices in their places, or the refusal that their faults are."""
    found = placed(path, series, allow, () if listing is None else listing.lost)
    faults = found.faults
    if not faults:
        return found
    raise InputRefused(
        f"{path.name}: " + "; ".join(fault.message for fault in faults),
        code=faults[0].code,
        path=path,
        reasons=[(fault.code, fault.message) for fault in faults],
    )


def _raster(path: Path, stack: Stack, data: NDArray[Any], listing: Listing | None) -> Raster:
    assert stack.affine is not None
    first = stack.frames[0].image
    return Raster(
        data=data,
        affine=stack.affine,
        path=path,
        paths=tuple(dict.fromkeys(f.image.source.path for f in stack.frames)),
        format="dicom",
        modality=first.modality,
        header={
            "dicom": {
                "SeriesInstanceUID": first.series_uid,
                "FrameOfReferenceUID": first.frame_of_reference,
                "SOPInstanceUID": tuple(f.image.sop_uid for f in stack.frames),
                "FrameNumber": tuple(f.number + 1 for f in stack.frames),
            }
        },
        verdict=stack.verdict + _warnings(stack, listing or Listing(())),
        is_2d=stack.is_2d,
        spacing_known=stack.spacing_known,
    )


def _warnings(stack: Stack, listing: Listing) -> Verdict:
    """What does not forbid reading, but should be known."""
    folders = {f.image.source.path.parent for f in stack.frames}
    empty = sum(item.code == "empty" and item.source.path.parent in folders for item in listing.set_aside)
    found = []
    if any(f.image.photometric == "MONOCHROME1" for f in stack.frames):
        found.append(Reason("white-is-zero", "small values mean bright in this scan"))
    if any(is_colour(f) for f in stack.frames):
        found.append(Reason("colour", "colours, not measured values: read as three channels"))
    if any(f.image.lossy for f in stack.frames):
        found.append(Reason("lossy", "the pixels have been compressed with loss"))
    if empty:
        text = f"{empty} empty file{'s' if empty > 1 else ''} beside the slices"
        found.append(Reason("empty-files", f"{text}; a slice at an end of the scan may have been one"))
    return Verdict("warning", tuple(found)) if found else OK


def _refuse_object(path: Path, set_aside: tuple[SetAside, ...]) -> None:
    """Refuse one file that is DICOM and no scan; a DICOMDIR stands for what it lists."""
    codes = [item.code for item in set_aside if item.source.path == path and item.source.name == path.name]
    if codes and codes[0] in ("segmentation", "structure-set"):
        from medseg.io.dicom import label_objects

        found = label_objects.find(path)
        assert found is not None
        raise found.refusal()
    if codes and codes[0] != "directory":
        text = f"a DICOM object that is no scan: {object_name(codes[0])}"
        raise refused(path, "not-an-image", text)
