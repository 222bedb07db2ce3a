"""read_manifest: which kind of source it is, and its cases, checked."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from medseg.cohort.manifest import bids as bids_dataset
from medseg.cohort.manifest import dicom_tree, images
from medseg.cohort.manifest.cases import Manifest
from medseg.cohort.manifest.checks import mixed_modalities, no_image_found, problems_of
from medseg.cohort.manifest.covariates import doubtful_values
from medseg.cohort.manifest.delimited import read_csv
from medseg.cohort.manifest.json_table import read_json
from medseg.cohort.manifest.parquet_table import read_parquet
from medseg.cohort.manifest.problems import Numbering, Problem, refuse
from medseg.cohort.manifest.rows import cases_of, reserved
from medseg.cohort.manifest.table import Table
from medseg.errors import MedsegError, NotFound, UsageError
from medseg.pipeline.options import Progress
from medseg.verdict import OK

_READERS: dict[str, Callable[[Path], Table]] = {
    ".csv": read_csv,
    ".tsv": read_csv,
    ".txt": read_csv,
    ".parquet": read_parquet,
    ".pq": read_parquet,
    ".json": read_json,
}
_NO_NUMBERS = Numbering()


def read_manifest(
    path: str | Path, *, bids: str | Sequence[str] = (), progress: Progress | None = None
) -> Manifest:
    """The case table of a study, checked as a whole before anything runs.

    Whether each file is there and can be read is not checked: that is for its case alone.

    Parameters
    ----------
    path
        - A table: CSV (comma, semicolon or tab; UTF-8), Parquet, or JSON (a list of objects, or
          ``{"cases": [...]}``). Columns ``case_id``; ``image``, or ``image_<channel>`` for each channel;
          optional ``reference`` (a label map) and ``series`` (of a DICOM folder); any other is a group or
          covariate. Paths are relative to the table's folder; ``~`` is the user's.
        - A folder of images: a case each, called by its file's name. Results of medseg are left out. With
          label maps of the same names in ``labelsTr`` beside ``imagesTr`` (``labels`` beside ``images``).
        - A BIDS dataset: a case for each subject, session and run, columns from participants.tsv.
        - A tree of DICOM studies: a case for each series, under a pseudonym.
    bids
        Which images of a BIDS dataset: ``"T1w"``, ``"acq-high_T1w"``, or one for each channel,
        ``["t1=T1w", "flair=FLAIR"]``. Without it T1w where nothing is more common, or the only kind.
    progress
        Called as ``progress("headers", done, total)`` while the headers of a DICOM tree are read.

    Returns
    -------
    Manifest
        In a CSV a column is numbers where all of its values are finite numbers without leading zeros; else
        text. Decimal commas are understood where semicolons separate. Parquet and JSON have types of their
        own; dates and truth values become texts. Empty cells, NA, N/A, NaN and null are missing. The verdict
        tells what was left out, and warns of mixed modalities, of columns that a few values keep from being
        numbers, of values that differ only in upper and lower case or in spaces around them, and of a table
        none of whose images is there. It quotes the beginnings of such values, and no paths.

    Raises
    ------
    NotFound
        If there is nothing.
    UsageError
        With every problem and its line: missing columns, repeated ids and ids that differ only in what some
        file systems ignore, ids that cannot name files, empty image cells, a reference that is the image,
        columns with names that medseg writes itself, rows of another length, no cases. Or if nobody can tell
        which images are meant.
    InputRefused
        Where the system does not let a DICOM tree be read.
    """
    path = Path(path)
    if not path.exists():
        raise NotFound(f"{path}: no such manifest: expected a table of cases, or a folder")
    chosen = (bids,) if isinstance(bids, str) else tuple(bids)
    try:
        manifest = _read_table(path, chosen) if path.is_file() else _read_folder(path, chosen, progress)
    except OSError as error:
        if isinstance(error, MedsegError):
            raise
        raise UsageError(f"the manifest cannot be read: {error.strerror or type(error).__name__}") from error
    return replace(manifest, verdict=manifest.verdict + mixed_modalities(manifest))


def _read_table(path: Path, bids: Sequence[str]) -> Manifest:
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise UsageError(
            f"{path.name}: no manifest: expected a table ({', '.join(_READERS)}), a folder of images, a BIDS "
            "dataset or a tree of DICOM studies"
        )
    if bids:
        raise UsageError(f"{path.name}: bids chooses among the images of a BIDS dataset; this is a table")
    table = reader(path)
    # Not resolved: relative paths are meant beside the name that the user gave, which may be a link.
    manifest, problems = cases_of(table, Path(os.path.abspath(path)).parent)  # noqa: PTH100
    problems += problems_of(manifest.cases, table.lines[: len(manifest.cases)], table.numbering)
    refuse([*table.problems, *problems], path.name, table.numbering)
    doubts = doubtful_values(manifest, table.lines, table.numbering, comma=table.comma)
    return replace(manifest, verdict=manifest.verdict + doubts + no_image_found(manifest.cases))


def _read_folder(path: Path, bids: Sequence[str], progress: Progress | None) -> Manifest:
    path = Path(os.path.abspath(path))  # noqa: PTH100
    problems: list[Problem] = []
    if (path / bids_dataset.DESCRIPTION).is_file():
        manifest, problems = bids_dataset.cases_in(path, bids)
        kind = "the BIDS dataset"
    elif bids:
        raise UsageError(
            f"bids chooses among the images of a BIDS dataset, and no {bids_dataset.DESCRIPTION} is there"
        )
    else:
        layout = images.find_layout(path)
        found = images.look_into(layout.images)
        looked = [found]
        if not found.images and layout.images != path:  # a folder of DICOM that happens to be called images
            found = images.look_into(path)
            looked.append(found)
        if found.images and found.has_dicom:
            raise UsageError(
                f"the folder holds images ({len(found.images)}) and also DICOM files: give one of the two a "
                "folder of its own, or list the cases in a CSV"
            )
        if found.images:
            manifest, problems = images.cases_in(found, layout)
            kind = "the folder of images"
        else:
            manifest, kind = dicom_tree.cases_in(path, progress), "the DICOM tree"
            only = "" if manifest.cases or manifest.verdict != OK else _only_segmentations(looked)
            if only:
                kind, problems = "the folder", [Problem(only)]
    if not manifest.cases and not problems:
        problems = [Problem(_nothing(manifest))]
    lines = [None] * len(manifest.cases)
    problems += reserved(manifest.columns, {channel for case in manifest.cases for channel, _ in case.images})
    problems += problems_of(manifest.cases, lines, _NO_NUMBERS)
    refuse(problems, kind, _NO_NUMBERS)
    return replace(manifest, verdict=manifest.verdict + doubtful_values(manifest, lines, _NO_NUMBERS))


def _only_segmentations(looked: Sequence[images.ImageFolder]) -> str:
    """What to say of folders without a scan; ``""`` where they hold no segmentation either."""
    kinds = {
        "results of medseg": sum(found.own for found in looked),
        "label maps (.seg.nrrd)": sum(found.label_files for found in looked),
    }
    told = ", ".join(f"{what}: {count}" for what, count in kinds.items() if count)
    return f"only segmentations and no scans ({told}): give the folder of the scans" if told else ""


def _nothing(manifest: Manifest) -> str:
    told = "; ".join(reason.message for reason in manifest.verdict.reasons)
    return (
        "no cases: expected images in the folder itself, imagesTr or images in it, a BIDS dataset, or DICOM "
        "series in its folders" + (f" ({told})" if told else "")
    )
