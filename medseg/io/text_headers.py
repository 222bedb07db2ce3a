"""Text headers (NRRD, MetaImage): their lines, and numbers out of them.

Nothing here quotes a value: a header's text may name the patient.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from medseg.io.refusals import HeaderFault, refused

_LARGEST_HEADER = 1 << 20
# Longer words are no numbers, and Python would take its time over them.
_LONGEST_NUMBER = 64
_WHOLE = re.compile(r"[+-]?[0-9]{1,18}")
_NUMBER = re.compile(
    r"[+-]?(?:(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?|nan|inf|infinity)", re.IGNORECASE
)


class Fields(dict[str, str]):
    """The fields of a text header by name; one that is missing is a `HeaderFault`."""

    def __missing__(self, key: str) -> str:
        raise HeaderFault(f"the field '{key}' is missing")


def wholes(text: str, field: str) -> tuple[int, ...]:
    """The whole numbers, parted by white space, of a field."""
    words = text.split()
    if not all(len(word) <= _LONGEST_NUMBER and _WHOLE.fullmatch(word) for word in words):
        raise HeaderFault(f"the field '{field}' is not whole numbers")
    return tuple(int(word) for word in words)


def whole(text: str, field: str) -> int:
    """The one whole number of a field."""
    found = wholes(text, field)
    if len(found) != 1:
        raise HeaderFault(f"the field '{field}' holds {len(found)} numbers, expected one")
    return found[0]


def numbers(text: str, field: str, separator: str | None = None) -> tuple[float, ...]:
    """The numbers of a field; NaN and infinity are numbers here."""
    words = [word.strip() for word in text.split(separator)]
    if not all(len(word) <= _LONGEST_NUMBER and _NUMBER.fullmatch(word) for word in words):
        raise HeaderFault(f"the field '{field}' is not numbers")
    return tuple(float(word) for word in words)


def read_text_header(path: Path, is_last: Callable[[str], bool]) -> tuple[list[str], int]:
    """The lines of a text header up to the one that ends it, and the position of the byte after it.

    Raises
    ------
    InputRefused
        ``bad-header`` if no such line comes within a megabyte.
    """
    lines: list[str] = []
    with path.open("rb") as file:
        while file.tell() < _LARGEST_HEADER:
            line = file.readline(_LARGEST_HEADER)
            text = line.rstrip(b"\r\n").decode("utf-8", errors="replace")
            if not line and lines and is_last(""):
                return lines, file.tell()  # a detached header may end with the file
            if not line:
                break
            lines.append(text)
            if is_last(text):
                return lines, file.tell()
    raise refused(path, "bad-header", "the header does not end")
