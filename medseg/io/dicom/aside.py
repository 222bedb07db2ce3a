"""What lies beside the scans of a folder and is not read: counted and named, never silently dropped."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from medseg.io.dicom.losses import MISSING, named_few
from medseg.io.dicom.series import Listing

# By the codes of `objects.SetAside`: one of them, several of them.
NAMES: dict[str, tuple[str, str]] = {
    "localizer": ("localizer (scout)", "localizers (scouts)"),
    "colour-page": (
        "colour page without a place in the patient",
        "colour pages without a place in the patient",
    ),
    "secondary-capture": ("secondary capture", "secondary captures"),
    "dose-report": ("dose report", "dose reports"),
    "report": ("report, document or presentation", "reports, documents or presentations"),
    "segmentation": ("segmentation", "segmentations"),
    "structure-set": ("radiotherapy structure set", "radiotherapy structure sets"),
    "dose": ("radiotherapy dose", "radiotherapy doses"),
    "plan": ("radiotherapy plan", "radiotherapy plans"),
    "directory": ("DICOMDIR", "DICOMDIRs"),
    "whole-slide": ("whole-slide microscopy image", "whole-slide microscopy images"),
    "waveform": ("waveform", "waveforms"),
    "not-an-image": ("DICOM object without an image", "DICOM objects without an image"),
    "not-dicom": ("file that is not DICOM", "files that are not DICOM"),
    "empty": ("empty file", "empty files"),
    "unreadable": ("file that cannot be read", "files that cannot be read"),
    "bad-header": ("file with a broken header", "files with broken headers"),
    "corrupt": ("damaged file", "damaged files"),
    "size-mismatch": ("damaged file", "damaged files"),
    "too-large": ("file with a header beyond all use", "files with headers beyond all use"),
}
_CURES = {
    "segmentation": "for medseg.read_labels",
    "structure-set": "for medseg.read_labels",
}


@dataclass(frozen=True, slots=True)
class Aside:
    """``count`` things of one kind that were set aside, and a sentence about them."""

    code: str
    count: int
    message: str

    def to_json(self) -> dict[str, str | int]:
        """One entry of ``set_aside`` in the ``inspect --json`` document."""
        return {"code": self.code, "count": self.count, "message": self.message}


def summarise(listing: Listing) -> tuple[Aside, ...]:
    """What was set aside, by kind: images first, then files; of those that may be slices the names."""
    images: dict[str, list[str]] = {}
    broken: dict[str, list[str]] = {}
    counts = Counter(item.code for item in listing.set_aside)
    for item in listing.lost:
        if item.code != MISSING:
            broken.setdefault(item.code, []).append(item.name)
            counts[item.code] += 1
    for series in listing.aside if listing.series else ():  # else they are all there is, and listed as series
        images.setdefault(series.aside, []).append(series.id)
        counts[series.aside] += len(series.frames)
    codes = sorted(counts, key=list(NAMES).index)
    return tuple(
        Aside(code, counts[code], _message(code, counts[code], images.get(code, []), broken.get(code, [])))
        for code in codes
    )


def object_name(code: str) -> str:
    """What one object of a code is called, and what reads it."""
    name = NAMES.get(code, NAMES["not-an-image"])[0]
    return f"{name} ({_CURES[code]})" if code in _CURES else name


def _message(code: str, count: int, ids: list[str], files: list[str]) -> str:
    text = f"{count} {NAMES.get(code, NAMES['not-an-image'])[count > 1]}"
    if ids:
        return f"{text}, series {named_few(ids)}"
    if files:
        return f"{text} ({named_few(files)})"
    return f"{text} ({_CURES[code]})" if code in _CURES else text
