"""What a manifest says: one entry per case, checked before anything runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from medseg.verdict import OK, Verdict

# A covariate: a text, a number, or nothing.
Value = str | float | None


@dataclass(frozen=True, slots=True)
class ManifestCase:
    """One case of a cohort.

    Parameters
    ----------
    case_id
        Names the case in every output; unique, also where upper and lower case are not told apart.
    images
        The name of each channel and its file or DICOM folder; one pair named ``""`` for a lone image.
    reference
        A label map to compare with, or None.
    columns
        Groups and covariates by column, as the manifest has them.
    series
        The UID of the DICOM series to take, where a folder holds several; None where it needs no choice.
    """

    case_id: str
    images: tuple[tuple[str, Path], ...]
    reference: Path | None = None
    columns: Mapping[str, Value] = field(default_factory=dict)
    series: str | None = None


@dataclass(frozen=True, slots=True)
class Manifest:
    """The case table of a study.

    Parameters
    ----------
    cases
        In the order of the source, which is the order of every table.
    columns
        Names of the groups and covariates, in the order of the source.
    verdict
        Warnings, such as mixed modalities.
    """

    cases: tuple[ManifestCase, ...]
    columns: tuple[str, ...] = ()
    verdict: Verdict = OK
