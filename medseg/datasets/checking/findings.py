"""Findings: a code, how grave, where, what, and what to do."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

Severity = Literal["fault", "note"]

# A fault spoils training or its scores; a note may be as it should be. Anything that keeps a file from being
# read is a fault under the reader's own code.
_NOTES = frozenset(
    ("contrast-differs", "empty-labels", "image-without-label", "label-absent", "near-duplicate",
     "orientation-differs", "same-patient", "spacing-differs", "tiny-islands")
)  # fmt: skip
_CURES = {
    "bad-points": "correct the line",
    "channels": "give every case the same images, in one order",
    "constant-image": "export the image again",
    "contrast-differs": "see whether this is the sequence that the others are of; else take the case out",
    "duplicate-image": "keep one of the cases: else one may train and the other validate",
    "duplicate-labels": "see which image the labels belong to, and draw the other's",
    "empty-labels": "nothing, if the case has no structure; else draw it, or take the case out",
    "grid-differs": "resample the labels onto the image's grid (nearest neighbour), or export both again",
    "image-without-label": "draw its labels, or leave it: it does not train",
    "label-absent": "take the label out of the dataset's list, or see whether its id is right",
    "near-duplicate": "see whether both show one scan; if so, keep one",
    "non-finite": "export the image again, or set such voxels to 0 by a script of your own",
    "orientation-differs": "nothing: medseg turns it; see whether the sides are right",
    "other-modality": "take the case out, or give it to a dataset of its own",
    "same-patient": "count them as one: let them train together or validate together",
    "several-volumes": "split it: medseg data import",
    "sides-mirrored": "see whether left and right are mixed up in the labels or mirrored in the files",
    "sides-swapped": "swap the two labels of this case, or correct the file's orientation",
    "slices-unlabelled": "draw the slices between, e.g. medseg in napari: interpolate",
    "spacing-differs": "see whether the header is right",
    "tiny-islands": "remove them, if they are slips of the brush",
    "unknown-labels": "name the id in the dataset's labels, or correct the label map",
}
_DEFAULT_CURE = "correct the file, or take the case out"


@dataclass(frozen=True, slots=True)
class Place:
    """A voxel (i, j, k) that shows a finding, and the array axis that the picture looks along."""

    index: tuple[int, int, int]
    axis: int


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was found.

    Parameters
    ----------
    code
        Stable and machine-readable, e.g. ``"slices-unlabelled"``.
    case
        The case's id; "" where it is of the dataset.
    file
        The file to look at, where it is one.
    message
        What was found, with numbers.
    label
        The structure that it is about, None where it is about none or all.
    weight
        How bad among findings of its code; the sheet shows the worst first.
    place
        Where a picture shows it.
    remedy
        What to do, where that is not the same for all findings of the code.
    """

    code: str
    case: str
    file: Path | None
    message: str
    label: int | None = None
    weight: float = 0.0
    place: Place | None = None
    remedy: str = ""

    @property
    def severity(self) -> Severity:
        """``"fault"`` or ``"note"``, which follows from the code."""
        return "note" if self.code in _NOTES else "fault"

    @property
    def cure(self) -> str:
        """What to do about it: the remedy of this one, or what follows from its code."""
        return self.remedy or _CURES.get(self.code, _DEFAULT_CURE)

    def to_json(self) -> dict[str, Any]:
        """An entry of ``findings`` in the ``data check --json`` document."""
        return {
            "code": self.code,
            "severity": self.severity,
            "case": self.case or None,
            "file": None if self.file is None else str(self.file),
            "label": self.label,
            "message": self.message,
            "cure": self.cure,
        }


def gravest_first(findings: list[Finding]) -> tuple[Finding, ...]:
    """Faults before notes, of one code together with the heaviest first, then by case."""
    return tuple(
        sorted(findings, key=lambda one: (one.severity, one.code, -one.weight, one.case, one.message))
    )
