"""A JSON list of cases to columns; types are JSON's own."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from medseg.cohort.manifest.cases import Value
from medseg.cohort.manifest.problems import Numbering, Problem, refuse
from medseg.cohort.manifest.table import Table, is_special
from medseg.cohort.manifest.values import is_missing
from medseg.errors import UsageError

_CASES = "cases"
_INDICES = Numbering("cases[{}]")
_LARGEST_WHOLE = 2**53  # a float keeps every whole number up to it


def read_json(path: Path) -> Table:
    """The case table in a JSON file: a list of objects, or one object whose ``cases`` is such a list.

    Raises
    ------
    UsageError
        If it is anything else.
    """
    entries = _entries(path)
    faults = [
        Problem("expected an object with case_id and image", n)
        for n, entry in enumerate(entries)
        if not isinstance(entry, dict)
    ]
    refuse(faults, path.name, _INDICES)
    names = tuple(dict.fromkeys(name for entry in entries for name in entry))
    texts: dict[str, list[str]] = {}
    values: dict[str, list[Value]] = {}
    problems: list[Problem] = []
    for name in names:
        cells = [entry.get(name) for entry in entries]
        problems += _faults(name, cells)
        if is_special(name):
            texts[name] = ["" if cell is None else _text(cell) for cell in cells]
        else:
            values[name] = _values(cells)
    return Table(names, texts, values, range(len(entries)), _INDICES, problems)


def _entries(path: Path) -> list[Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8-sig"))
    except UnicodeDecodeError as error:
        raise UsageError(f"{path.name}: not UTF-8: save it as UTF-8") from error
    except json.JSONDecodeError as error:
        raise UsageError(f"{path.name}: line {error.lineno}: not JSON: {error.msg}") from error
    except (RecursionError, ValueError) as error:  # ValueError: a number of thousands of digits
        raise UsageError(f"{path.name}: nested or numbers longer than anything in a case table") from error
    if isinstance(found, dict):
        found = found.get(_CASES)
    if not isinstance(found, list):
        raise UsageError(
            f'{path.name}: expected a list of objects, or {{"{_CASES}": [...]}}, each with case_id and image'
        )
    return found


def _faults(name: str, cells: list[Any]) -> list[Problem]:
    faults = [] if _is_unicode(name) else [Problem(f"column {name!r} holds half a character")]
    for n, cell in enumerate(cells):
        if isinstance(cell, dict | list):
            faults.append(Problem(f"{name!r} holds a list or an object; expected a text or a number", n))
        elif isinstance(cell, float) and math.isinf(cell):
            faults.append(Problem(f"{name!r} is infinite; expected a finite number or null", n))
        elif isinstance(cell, str) and not _is_unicode(cell):
            faults.append(Problem(f"{name!r} holds half a character (a lone surrogate)", n))
    return faults


def _values(cells: list[Any]) -> list[Value]:
    """Floats where every value is a number that a float keeps, else texts; equal ones are one object."""
    known = [cell for cell in cells if not _is_none(cell)]
    convert = float if known and all(_is_number(cell) for cell in known) else _text
    shared: dict[Value, Value] = {}
    return [None if _is_none(c) else shared.setdefault(value := convert(c), value) for c in cells]


def _is_none(cell: Any) -> bool:
    if isinstance(cell, str):
        return is_missing(cell)
    return cell is None or cell != cell  # NaN is not equal to itself


def _is_number(cell: Any) -> bool:
    if isinstance(cell, bool):
        return False
    return isinstance(cell, float) or (isinstance(cell, int) and abs(cell) <= _LARGEST_WHOLE)


def _text(cell: Any) -> str:
    if isinstance(cell, bool):
        return "true" if cell else "false"
    return cell if isinstance(cell, str) else repr(cell)


def _is_unicode(text: str) -> bool:
    return text.isascii() or not any("\ud800" <= letter <= "\udfff" for letter in text)
