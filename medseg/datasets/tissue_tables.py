"""The tables of a dataset of label maps: what each value is, and how bright it is in a contrast.

``labels.csv`` has a row per value of the maps: ``label_in_map``; ``segmentation_label`` and
``segmentation_name``, what the network learns there, 0 for background; and ``intensity_class``: values with
one number look alike. Value 0 is air, of class 0 and label 0. Priors of a contrast lie beside it as
``<contrast>_priors.csv``, with ``label_in_map`` and ``<contrast>_mean_centre``, ``_mean_sd``,
``_std_centre``, ``_std_sd``, on a scale of 0 to 255.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

from pydantic import ValidationError

from medseg.errors import InputRefused
from medseg.labels import LabelSet
from medseg.plans import ContrastSpec, IntensityPrior, TissueSpec

TABLE = "labels.csv"
_PRIORS = "_priors.csv"
_COLUMNS = ("label_in_map", "segmentation_label", "segmentation_name", "intensity_class")
_PRIOR_FIELDS = {"mean_centre": "mean", "mean_sd": "mean_sd", "std_centre": "std", "std_sd": "std_sd"}

Row = dict[str, str]


def read_label_set(folder: Path) -> LabelSet:
    """Ids and names of what is segmented.

    Raises
    ------
    InputRefused
        ``bad-labels-csv`` if the table lacks a column, holds no number where one is due, gives a label two
        names, or one name to two labels.
    """
    names: dict[int, str] = {}
    for line, row in _rows(folder / TABLE, _COLUMNS):
        label = _whole(row, "segmentation_label", folder / TABLE, line)
        name = row["segmentation_name"].strip()
        if names.setdefault(label, name) != name:
            raise _refusal(folder / TABLE, f"line {line}: label {label} is {names[label]!r} and {name!r}")
    if not any(names):
        raise _refusal(folder / TABLE, "no row has a segmentation_label above 0: nothing is to be learnt")
    try:
        return LabelSet.from_names(names)
    except ValueError as error:
        raise _refusal(folder / TABLE, str(error)) from error


def read_tissues(folder: Path) -> tuple[TissueSpec, ...]:
    """The values that the maps may hold.

    Raises
    ------
    InputRefused
        ``bad-labels-csv`` as `read_label_set`, if a value occurs twice, or if 0 is not air.
    """
    file = folder / TABLE
    tissues: dict[int, TissueSpec] = {}
    for line, row in _rows(file, _COLUMNS):
        value, segment, intensity = (
            _whole(row, column, file, line)
            for column in ("label_in_map", "segmentation_label", "intensity_class")
        )
        if value in tissues:
            raise _refusal(file, f"line {line}: value {value} occurs twice")
        try:
            tissues[value] = TissueSpec(value=value, segment=segment, intensity=intensity)
        except ValidationError as error:
            raise _refusal(file, f"line {line}: {_faults(error)}") from error
    air = tissues.get(0)
    if air is None or air.segment or air.intensity:
        raise _refusal(file, "expected a row of air: label_in_map 0, segmentation_label 0, intensity_class 0")
    if len(tissues) > 256:
        raise _refusal(file, f"{len(tissues)} values, at most 256 are supported: merge some")
    return tuple(tissues.values())


def read_contrasts(folder: Path, tissues: Sequence[TissueSpec]) -> dict[str, ContrastSpec]:
    """Each contrast that has a table of priors, by name.

    Raises
    ------
    InputRefused
        ``bad-labels-csv`` if a table lacks a column, holds no number where one is due, names a value that
        is no tissue, or gives one intensity class two priors.
    """
    class_of = {tissue.value: tissue.intensity for tissue in tissues}
    return {
        (name := file.name.removesuffix(_PRIORS)): _contrast(file, name, class_of)
        for file in sorted(folder.glob(f"*{_PRIORS}"))
    }


def _contrast(file: Path, name: str, class_of: dict[int, int]) -> ContrastSpec:
    columns = {f"{name}_{column}": field for column, field in _PRIOR_FIELDS.items()}
    priors: dict[int, IntensityPrior] = {}
    for line, row in _rows(file, ("label_in_map", *columns)):
        value = _whole(row, "label_in_map", file, line)
        if value not in class_of:
            raise _refusal(file, f"line {line}: value {value} is not in {TABLE}")
        try:
            prior = IntensityPrior(**{field: float(row[column]) for column, field in columns.items()})
        except ValidationError as error:
            raise _refusal(file, f"line {line}: {_faults(error)}") from error
        except ValueError as error:
            raise _refusal(file, f"line {line}: {error}") from error
        if priors.setdefault(class_of[value], prior) != prior:
            raise _refusal(
                file,
                f"line {line}: value {value} has other priors than another of intensity class "
                f"{class_of[value]}: values of one class look alike",
            )
    return ContrastSpec(priors=priors)


def _rows(file: Path, columns: Sequence[str]) -> list[tuple[int, Row]]:
    """The table's rows with their lines; a cell that is not there is empty."""
    try:
        with file.open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.DictReader(stream, restval="")
            rows = list(enumerate(reader, start=2))
    except (UnicodeDecodeError, csv.Error) as error:
        raise _refusal(file, f"not a CSV table in UTF-8: {error}") from error
    header = list(reader.fieldnames or ())
    if missing := [column for column in columns if column not in header]:
        raise _refusal(file, f"columns {', '.join(missing)} are missing; there are {', '.join(header)}")
    if not rows:
        raise _refusal(file, "the table holds no row")
    return rows


def _whole(row: Row, column: str, file: Path, line: int) -> int:
    text = row[column].strip()
    if not (text.isascii() and text.isdecimal()):
        raise _refusal(file, f"line {line}, {column}: {text!r}, expected a whole number")
    return int(text)


def _faults(error: ValidationError) -> str:
    return "; ".join(f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors())


def _refusal(file: Path, what: str) -> InputRefused:
    return InputRefused(f"{file}: {what}", code="bad-labels-csv", path=file)
