"""DICOM series, from a folder or from one of their files, to rasters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from medseg.errors import InputRefused, UsageError
from medseg.io.dicom.geometry import Stack, stack
from medseg.io.dicom.headers import Slice, read_slice, scan_folder
from medseg.io.dicom.pixels import read_pixels
from medseg.io.raster import Raster


@dataclass(frozen=True, slots=True, eq=False)
class Series:
    """One series of a folder: its identifier, as ``series=`` takes it, and its slices."""

    id: str
    slices: tuple[Slice, ...]

    @property
    def modality(self) -> str | None:
        """``"CT"``, ``"MR"``, ... as the first slice says."""
        return self.slices[0].modality

    @property
    def summary(self) -> str:
        """What it is, without any text of the header."""
        first = self.slices[0]
        modality = first.modality or "unknown modality"
        return f"{modality}, {len(self.slices)} x {first.columns}x{first.rows}"


def read(
    path: Path, *, series: str | int | None = None, allow: frozenset[str] = frozenset()
) -> Raster:
    """Read one series.

    Parameters
    ----------
    path
        A folder (searched with its subfolders), or one file, which means its series among the files
        beside it.
    series
        SeriesInstanceUID, or the number (from 1) of `find_series`, where there are several.

    Raises
    ------
    InputRefused
        ``several-series``, ``no-scan``, ``missing-slices``, ``uneven-spacing``, ``four-dimensional``,
        ``repeated-positions``, ``duplicate-slices``, ``several-orientations``, ``localizer``,
        ``multi-frame``, ``colour``, ``undecodable``, ``bad-header`` and what `geometry` names.
    """
    chosen = choose(path, find_series(path), series)
    return load(path, chosen)


def find_series(path: Path) -> tuple[Series, ...]:
    """The series at a path, in the order of their numbers and identifiers."""
    if path.is_dir():
        slices = scan_folder(path, nested=True)
    else:
        wanted = read_slice(path)
        if wanted is None:
            raise InputRefused(
                f"{path.name}: a DICOM object that is no scan (a report, segmentation or directory)",
                code="not-an-image",
                path=path,
            )
        slices = [s for s in scan_folder(path.parent, nested=False) if s.series == wanted.series]
    groups: dict[tuple[str, str], list[Slice]] = {}
    for item in slices:
        groups.setdefault(item.series, []).append(item)
    uids = [uid for uid, _ in groups]
    ordered = sorted(groups, key=lambda key: (len(key[1]), key[1], key[0]))
    return tuple(
        # Copies of one image may share a UID under different numbers.
        Series(uid if uids.count(uid) == 1 else f"{uid}#{number}", tuple(groups[uid, number]))
        for uid, number in ordered
    )


def choose(path: Path, found: Sequence[Series], series: str | int | None) -> Series:
    """The series asked for, or the only one."""
    if not found:
        raise InputRefused(
            f"{path.name}: no DICOM scan in there; for a folder of other scans name the files, as in "
            f"{path.name}/*.nii.gz",
            code="no-scan",
            path=path,
        )
    listed = "; ".join(f"{n}: {item.summary}, {item.id}" for n, item in enumerate(found, 1))
    if series is None:
        if len(found) > 1:
            raise InputRefused(
                f"{path.name}: {len(found)} series, expected one. Choose with series=N or its UID: {listed}",
                code="several-series",
                path=path,
            )
        return found[0]
    by_name = {item.id: item for item in found} | {str(n): item for n, item in enumerate(found, 1)}
    if str(series) not in by_name:
        raise UsageError(f"{path.name}: series={series} is not there; there is {listed}")
    return by_name[str(series)]


def load(path: Path, series: Series) -> Raster:
    """Order, place and decode one series."""
    placed = stack(series.slices)
    if placed.faults or placed.affine is None:
        raise _refusal(path, placed)
    first = placed.slices[0]
    return Raster(
        data=read_pixels(placed.slices)[None],
        affine=placed.affine,
        path=path,
        paths=tuple(s.path for s in placed.slices),
        format="dicom",
        modality=first.modality,
        header={
            "dicom": {
                "SeriesInstanceUID": first.series_uid,
                "FrameOfReferenceUID": first.frame_of_reference,
                "SOPInstanceUID": tuple(s.sop_uid for s in placed.slices),
            }
        },
        verdict=placed.verdict,
        is_2d=placed.is_2d,
        spacing_known=placed.spacing_known,
    )


def _refusal(path: Path, placed: Stack) -> InputRefused:
    faults = placed.faults
    return InputRefused(
        f"{path.name}: " + "; ".join(fault.message for fault in faults),
        code=faults[0].code,
        path=path,
        reasons=[(fault.code, fault.message) for fault in faults],
    )
