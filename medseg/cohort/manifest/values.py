"""Texts of a table to values: numbers where a whole column is numeric, else text."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence

from medseg.cohort.manifest.cases import Value

MISSING = frozenset({"", "NA", "N/A", "n/a", "NaN", "nan", "null", "NULL"})
# A leading zero makes an identifier (007), and so do more digits than a float keeps.
_NUMBER = re.compile(r"[+-]?(?:(?:0|[1-9][0-9]*)(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]{1,4})?")
_WHOLE = re.compile(r"[+-]?[0-9]{16,}")
_DIGITS = re.compile(r"[0-9]+")


def values_of(texts: Sequence[str], *, comma: bool = False) -> list[Value]:
    """The values of one column. Space around a text does not count; equal values are one object.

    A column with a single value that is no finite number is text as a whole, and each value then stays as it
    is written. With ``comma`` a column without a single point may have decimal commas.
    """
    distinct = {text: text.strip() for text in set(texts)}
    known = {text for text in distinct.values() if text not in MISSING}
    values: dict[str, Value] = {text: text for text in known}
    points = {text: text.replace(",", ".") if comma else text for text in known}
    if comma and any("." in text for text in known):
        points = {text: text for text in known}
    if known and all(map(_is_number, points.values())):
        values = {text: float(number) for text, number in points.items()}
    found = {text: values.get(stripped) for text, stripped in distinct.items()}
    return [found[text] for text in texts]


def numbers_among(texts: Iterable[str], *, comma: bool = False) -> frozenset[str]:
    """Those of a column's texts that `values_of` would take for numbers if all others were missing.

    With ``comma`` as many as possible: those with decimal commas, or those with points; of a tie the latter.
    """
    texts = tuple(texts)
    with_points = frozenset(text for text in texts if _is_number(text))
    if not comma:
        return with_points
    commas = (text for text in texts if "." not in text)
    return max(with_points, frozenset(text for text in commas if _is_number(text.replace(",", "."))), key=len)


def is_digits(text: str) -> bool:
    """Whether a text is nothing but decimal digits, as identifiers are that begin with 0."""
    return _DIGITS.fullmatch(text) is not None


def is_missing(text: str) -> bool:
    """Whether a cell says that there is nothing."""
    return text.strip() in MISSING


def _is_number(text: str) -> bool:
    return (
        _NUMBER.fullmatch(text) is not None and _WHOLE.fullmatch(text) is None and math.isfinite(float(text))
    )
