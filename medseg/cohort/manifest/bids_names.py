"""Names of files in BIDS: entities and a suffix, and how an image is asked for by them.

Source: BIDS specification 1.10, "File name structure".
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from medseg.errors import UsageError

_ENDINGS = (".nii.gz", ".nii")
_ENTITY = re.compile(r"([a-z]+)-([A-Za-z0-9+]+)")
_SUFFIX = re.compile(r"[A-Za-z0-9]+")
_OF_CASE = ("sub", "ses", "run")


@dataclass(frozen=True, slots=True)
class BidsName:
    """``sub-01_ses-2_acq-high_T1w.nii.gz``: entities as pairs, in their order, and the suffix."""

    entities: tuple[tuple[str, str], ...]
    suffix: str

    @property
    def case_id(self) -> str:
        """Subject, session and run: ``sub-01_ses-2_run-1``."""
        return "_".join(f"{key}-{value}" for key, value in self.entities if key in _OF_CASE)

    @property
    def subject(self) -> str:
        """``sub-01``."""
        return f"sub-{dict(self.entities)['sub']}"

    @property
    def others(self) -> tuple[tuple[str, str], ...]:
        """The entities that are no part of the case's id."""
        return tuple(entity for entity in self.entities if entity[0] not in _OF_CASE)

    @property
    def kind(self) -> str:
        """What `Wanted` asks for it by: ``acq-high_T1w``."""
        return "_".join([*(f"{key}-{value}" for key, value in self.others), self.suffix])


@dataclass(frozen=True, slots=True)
class Wanted:
    """One channel of each case: its name, ``""`` for a lone image, and which images it is."""

    channel: str
    entities: frozenset[tuple[str, str]]
    suffix: str

    def fits(self, name: BidsName) -> bool:
        """Whether an image has the suffix, and all of the entities."""
        return name.suffix == self.suffix and self.entities <= set(name.entities)


def parse_name(name: str) -> BidsName | None:
    """A file's name as BIDS has it; None where it is none of a NIfTI image of a subject."""
    ending = next((ending for ending in _ENDINGS if name.endswith(ending)), None)
    if ending is None:
        return None
    *parts, suffix = name.removesuffix(ending).split("_")
    entities = [_ENTITY.fullmatch(part) for part in parts]
    if not parts or not _SUFFIX.fullmatch(suffix) or not all(entities):
        return None
    pairs = tuple((found[1], found[2]) for found in entities if found is not None)
    return BidsName(pairs, suffix) if pairs[0][0] == "sub" else None


def parse_wanted(texts: Sequence[str]) -> tuple[Wanted, ...]:
    """``["T1w"]``, ``["acq-high_T1w"]``, ``["T1w", "FLAIR"]`` or ``["t1=T1w", "flair=FLAIR"]``.

    Several are the channels of each case, called by their suffix unless told otherwise.

    Raises
    ------
    UsageError
        If one does not read so, or two have one name.
    """
    found = [_parse(text) for text in texts]
    names = [wanted.channel or wanted.suffix for wanted in found]
    if len(set(names)) < len(names):
        raise UsageError(
            f"bids={','.join(texts)}: a channel is there twice; name them, as in t1=acq-a_T1w,t1b=acq-b_T1w"
        )
    if len(found) == 1:
        return tuple(found)
    return tuple(Wanted(name, one.entities, one.suffix) for name, one in zip(names, found, strict=True))


def _parse(text: str) -> Wanted:
    channel, told, selector = text.rpartition("=")
    *parts, suffix = selector.strip().split("_")
    entities = [_ENTITY.fullmatch(part) for part in parts]
    if not _SUFFIX.fullmatch(suffix) or not all(entities) or (told and not channel.strip()):
        raise UsageError(
            f"bids={text!r}: expected a suffix as in T1w, with entities as in acq-high_T1w, or with the name "
            "of a channel as in flair=FLAIR"
        )
    pairs = frozenset((found[1], found[2]) for found in entities if found is not None)
    return Wanted(channel.strip(), pairs, suffix)
