"""A patient who must be met nowhere: his names, and the search for any shred of them.

A shred of four letters counts, so that a name which a mutation has damaged is still recognised.
"""

from __future__ import annotations

FAMILY, GIVEN = "Zqxjvkwq", "Wkjzqxvq"
CANARY = f"{FAMILY}^{GIVEN}"
BIRTH_DATE = "19370213"
_SHREDS = tuple({name.lower()[n : n + 4] for name in (FAMILY, GIVEN) for n in range(len(name) - 3)})
_MARKS = (*_SHREDS, BIRTH_DATE)
_MARKS_UTF8 = tuple(mark.encode() for mark in _MARKS)
_MARKS_UTF16 = tuple(mark.encode("utf-16-le") for mark in _MARKS)


def leaks(text: str) -> bool:
    """Whether a text names the patient, in part or in whole."""
    lowered = text.lower()
    return any(mark in lowered for mark in _MARKS)


def leaks_bytes(content: bytes) -> bool:
    """Whether bytes name the patient, in UTF-8 or UTF-16."""
    lowered = content.lower()
    return any(mark in lowered for mark in (*_MARKS_UTF8, *_MARKS_UTF16))
