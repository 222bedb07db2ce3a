"""participants.tsv: groups and covariates of each subject, without what may tell who it is."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from medseg.cohort.manifest.cases import Value
from medseg.cohort.manifest.delimited import LINES, read_columns
from medseg.cohort.manifest.problems import Problem
from medseg.cohort.manifest.table import by_row, is_special
from medseg.cohort.manifest.values import values_of
from medseg.verdict import OK, Verdict

_SUBJECT = "participant_id"
# Whole words of a column's name, by which it may hold a name, a number or a date of a person.
_TELLING = frozenset(
    ("name", "names", "surname", "forename", "firstname", "lastname", "initials", "birth", "birthday",
     "birthdate", "dob", "date", "day", "time", "datetime", "id", "ids", "identifier", "mrn", "pid", "uid",
     "ssn", "nhs", "insurance", "address", "street", "city", "postcode", "zip", "phone", "telephone", "fax",
     "email", "mail", "photo", "comment", "comments", "note", "notes", "remark", "remarks")
)  # fmt: skip
_WORDS = re.compile(r"[a-z]+")

Participants = tuple[tuple[str, ...], Mapping[str, Mapping[str, Value]], list[Problem], Verdict]


def participants(path: Path) -> Participants:
    """Names of the columns, the values of each subject (``sub-01``), problems and warnings.

    A column whose name speaks of a person's name, number or dates is left out and named in a warning: a
    study's table is shared more readily than the dataset. Without a file there are no columns.
    """
    if not path.is_file():
        return (), {}, [], OK
    found = read_columns(path, _SUBJECT)
    problems = [Problem(f"{path.name}, {LINES.tell(problem)}") for problem in found.problems]
    if _SUBJECT not in found.names:
        return (), {}, [*problems, Problem(f"{path.name}: no column {_SUBJECT}")], OK
    cells = dict(zip(found.names, found.cells, strict=True))
    subjects = ["sub-" + cell.strip().removeprefix("sub-") for cell in cells.pop(_SUBJECT)]
    if len(set(subjects)) < len(subjects):
        problems.append(Problem(f"{path.name}: a participant_id is there more than once"))
    left_out = [name for name in cells if is_special(name) or _TELLING & set(_WORDS.findall(name.lower()))]
    columns = tuple(name for name in cells if name not in left_out)
    values = [values_of(cells[name]) for name in columns]
    rows = by_row(values, len(subjects))
    by_subject = {
        subject: dict(zip(columns, row, strict=True)) for subject, row in zip(subjects, rows, strict=True)
    }
    return columns, by_subject, problems, _left_out(left_out)


def _left_out(names: list[str]) -> Verdict:
    if not names:
        return OK
    text = f"columns of participants.tsv that may tell who it is are left out: {', '.join(names)}"
    return Verdict.of("warning", "columns-left-out", text)
