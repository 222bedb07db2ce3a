"""DICOM objects that hold structures and no scan: which there are at a path, and what they say."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from medseg.errors import InputRefused
from medseg.io.dicom import files, losses, rtstruct, seg, tags
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
    structures
        How many segments or structures it lists.
    parsed
        Its header.
    """

    path: Path
    home: Path
    code: str
    structures: int
    parsed: Parsed = field(repr=False)

    @property
    def modality(self) -> str:
        """DICOM's code for what it is."""
        return "SEG" if self.code == "segmentation" else "RTSTRUCT"

    @property
    def content(self) -> str:
        """What it holds, for people."""
        return f"{self.structures} structure{'' if self.structures == 1 else 's'}"

    def refusal(self) -> InputRefused:
        """What to say to who wants to read it as a scan."""
        text = f"{_KINDS[self.code]} of {self.content}, no scan; read it with medseg.read_labels"
        return refused(self.path, self.code, f"{text}, or convert it with medseg convert --labels")


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
        with files.interpreting(parsed.source):
            code = object_kind(parsed)
        if code is not None and code in _KINDS:
            return _label_object(path, path.parent, code, parsed)
        if code != "directory":
            return None
    there = files.scan(path)
    aside = [item for item in there.set_aside if item.code in _KINDS]
    if len(aside) > 1:
        names = ", ".join(item.source.name for item in aside[:10])
        text = f"{len(aside)} segmentations or structure sets in there, expected one"
        raise refused(path, "several-series", f"{text}; name the file: {names}")
    if not aside:
        return None
    source = aside[0].source
    for item in losses.concerning(there.lost, [source.path]):
        if item.code != losses.MISSING:
            text = f"besides {source.name}, {item.name} might be a segmentation: {item.message}"
            raise refused(path, item.code, f"{text}; or name the file to read")
    with files.interpreting(source):
        return _label_object(source.path, path, aside[0].code, read_dataset(source))


def _label_object(path: Path, home: Path, code: str, parsed: Parsed) -> LabelObject:
    sequence = tags.SegmentSequence if code == "segmentation" else tags.StructureSetROISequence
    with files.interpreting(parsed.source):
        structures = len(parsed.dataset.items(sequence))
    return LabelObject(path, home, code, structures, parsed)


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
        What those name, ``whole-slide``, and ``bad-header`` for whatever is malformed in its header.
    """
    choice = ScanChoice(found.home if scan is None else scan, scan is not None, series, allow)
    with files.interpreting(found.parsed.source):
        if found.code == "structure-set":
            return rtstruct.read(found.path, found.parsed, choice)
        return seg.read(found.path, found.parsed, _frames(found), choice)


def _frames(found: LabelObject) -> tuple[Frame, ...]:
    dataset = found.parsed.dataset
    groups = dataset.items(tags.PerFrameFunctionalGroupsSequence)
    tiled = (dataset.text(tags.DimensionOrganizationType) or "").startswith("TILED")
    if tiled or any(tag in holder for tag in _ON_SLIDES for holder in (dataset, *groups[:1])):
        text = "a segmentation of a whole-slide image; medseg segments scans, not slides"
        raise refused(found.path, "whole-slide", text)
    frames = frames_of(found.parsed.source, found.parsed)
    if not groups and not isinstance(frames, SetAside):
        # Taken for one plain image, it would lose the others.
        raise BadHeader(f"NumberOfFrames is {frames[0].image.frames}, but none is described")
    return () if isinstance(frames, SetAside) else frames
