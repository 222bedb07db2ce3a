"""DICOM objects that hold structures and no scan: which there are at a path, and what they say."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from medseg.errors import InputRefused
from medseg.io.dicom import files, rtstruct, seg, tags
from medseg.io.dicom.archives import is_archive
from medseg.io.dicom.elements import BadHeader, Parsed, read_dataset
from medseg.io.dicom.frames import frames_of, object_kind
from medseg.io.dicom.grids import ScanChoice
from medseg.io.dicom.objects import Frame, SetAside
from medseg.io.raster import Raster
from medseg.io.refusals import refused

_KINDS = {"segmentation": "a DICOM segmentation", "structure-set": "a DICOM structure set"}
_ON_SLIDES = (tags.PlanePositionSlideSequence, tags.TotalPixelMatrixColumns)


@dataclass(frozen=True, slots=True, eq=False)
class LabelObject:
    """A segmentation or a structure set: its file and its header.

    Parameters
    ----------
    path
        The file, or the archive that holds it.
    home
        Where its scan is looked for: the folder or archive that was named, else the file's folder.
    code
        As in `SetAside`: ``"segmentation"`` or ``"structure-set"``.
    parsed
        Its header.
    """

    path: Path
    home: Path
    code: str
    parsed: Parsed = field(repr=False)

    @property
    def structures(self) -> int:
        """How many segments or structures it lists."""
        sequence = tags.SegmentSequence if self.code == "segmentation" else tags.StructureSetROISequence
        return len(self.parsed.dataset.items(sequence))

    def refusal(self) -> InputRefused:
        """What to say to who wants to read it as a scan."""
        text = (
            f"{_KINDS[self.code]} of {self.structures} structures, no scan; read it with "
            "medseg.read_labels, or convert it with medseg convert --labels"
        )
        return refused(self.path, self.code, text)


def find(path: Path) -> LabelObject | None:
    """The segmentation or structure set that a path means: the file itself, or the only one in a folder.

    None where the path holds none. A folder, archive or DICOMDIR may hold scans besides.

    Raises
    ------
    InputRefused
        ``several-series`` where there are several of them, and what forbids to read headers.
    """
    if path.is_file() and not is_archive(path):
        parsed = files.read_object(path)
        code = object_kind(parsed)
        if code in _KINDS:
            return LabelObject(path, path.parent, code, parsed)
        if code != "directory":
            return None
    aside = [item for item in files.scan(path).set_aside if item.code in _KINDS]
    if len(aside) > 1:
        names = ", ".join(item.source.name for item in aside[:10])
        text = f"{len(aside)} segmentations or structure sets in there, expected one"
        raise refused(path, "several-series", f"{text}; name the file: {names}")
    if not aside:
        return None
    source = aside[0].source
    return LabelObject(source.path, path, aside[0].code, read_dataset(source))


def read(
    found: LabelObject,
    *,
    scan: Path | None = None,
    series: str | int | None = None,
    allow: frozenset[str] = frozenset(),
) -> Raster:
    """Read a segmentation or structure set, see `seg.read` and `rtstruct.read`.

    ``scan`` is the scan that the caller names, ``series`` and ``allow`` say how to read it.

    Raises
    ------
    InputRefused
        What those name, and ``whole-slide``.
    """
    choice = ScanChoice(found.home if scan is None else scan, scan is not None, series, allow)
    if found.code == "structure-set":
        return rtstruct.read(found.path, found.parsed, choice)
    return seg.read(found.path, found.parsed, _frames(found), choice)


def _frames(found: LabelObject) -> tuple[Frame, ...]:
    dataset = found.parsed.dataset
    try:
        groups = dataset.items(tags.PerFrameFunctionalGroupsSequence)[:1]
        tiled = (dataset.text(tags.DimensionOrganizationType) or "").startswith("TILED")
        if tiled or any(tag in holder for tag in _ON_SLIDES for holder in (dataset, *groups)):
            text = "a segmentation of a whole-slide image; medseg segments scans, not slides"
            raise refused(found.path, "whole-slide", text)
        frames = frames_of(found.parsed.source, found.parsed)
    except BadHeader as fault:
        raise refused(found.path, fault.code, f"{fault}; export the segmentation again") from None
    return () if isinstance(frames, SetAside) else frames
