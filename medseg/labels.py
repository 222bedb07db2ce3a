"""LabelSet: which number in a label map means which structure."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

Colour = tuple[int, int, int]

# Okabe and Ito's palette (distinct for colour-blind readers), then Tableau's.
_PALETTE: tuple[Colour, ...] = (
    (230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66), (0, 114, 178), (213, 94, 0),
    (204, 121, 167), (225, 87, 89), (118, 183, 178), (89, 161, 79), (237, 201, 72), (176, 122, 161),
    (255, 157, 167), (156, 117, 95), (78, 121, 167), (242, 142, 43),
)  # fmt: skip
_SIDES = {"left": "right", "lh": "rh", "l": "r"}
_SIDE_WORDS = {**_SIDES, **{right: left for left, right in _SIDES.items()}}


@dataclass(frozen=True, slots=True)
class Label:
    """One structure: its id in label maps (1 to 65535), name, colour (RGB 0-255), SNOMED CT code."""

    id: int
    name: str
    colour: Colour
    snomed: str | None = None

    def __post_init__(self) -> None:
        if not 1 <= self.id <= 65535:
            raise ValueError(f"label id {self.id} ({self.name!r}): expected 1 to 65535; 0 is background")
        if not self.name.strip():
            raise ValueError(f"label {self.id} has an empty name")
        if len(self.colour) != 3 or not all(0 <= c <= 255 for c in self.colour):
            raise ValueError(f"label {self.id} has colour {self.colour}, expected three of 0-255")


@dataclass(frozen=True, slots=True)
class Pair:
    """A structure that is there on both sides: its name without the side, and the ids of its labels."""

    name: str
    left: int
    right: int


@dataclass(frozen=True, slots=True)
class LabelSet:
    """The structures of a label map, ordered by id; 0 is background and not in the list.

    Ids and names are unique. Background may have a name of its own (``membrane``).
    """

    labels: tuple[Label, ...] = ()
    background: str = "background"

    def __post_init__(self) -> None:
        object.__setattr__(self, "labels", tuple(sorted(self.labels, key=lambda label: label.id)))
        for what, values in (("id", [x.id for x in self.labels]), ("name", self.names)):
            repeated = {value for value, count in Counter[object](values).items() if count > 1}
            if repeated:
                raise ValueError(f"label {what} {sorted(map(str, repeated))} appears more than once")

    @classmethod
    def from_names(cls, names: Mapping[int, str]) -> LabelSet:
        """A label set from id to name, colours from the palette. An id 0 names the background."""
        ids = sorted(i for i in names if i != 0)
        labels = (Label(i, names[i], _PALETTE[n % len(_PALETTE)]) for n, i in enumerate(ids))
        return cls(tuple(labels), names.get(0, "background"))

    @classmethod
    def from_ids(cls, ids: Iterable[int]) -> LabelSet:
        """A label set for ids whose names nobody told: ``label 3``."""
        return cls.from_names({int(i): f"label {int(i)}" for i in ids if int(i) != 0})

    def __iter__(self) -> Iterator[Label]:
        return iter(self.labels)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, label_id: int) -> Label:
        for label in self.labels:
            if label.id == label_id:
                return label
        raise KeyError(f"no label {label_id}; there are {', '.join(map(str, self.ids))}")

    @property
    def ids(self) -> tuple[int, ...]:
        """Foreground ids, ascending."""
        return tuple(label.id for label in self.labels)

    @property
    def names(self) -> tuple[str, ...]:
        """Foreground names, in the order of `ids`."""
        return tuple(label.name for label in self.labels)

    @property
    def mirrored_ids(self) -> dict[int, int]:
        """For every label that has a partner on the other side, the partner's id (both ways).

        Partners differ in one word: left/right, lh/rh or l/r, in any case and between any
        separators (``Left-Hippocampus``, ``kidney_right``, ``hippocampus L``).
        """
        by_words = {_words(label.name): label.id for label in self.labels}
        mirrored = {}
        for label in self.labels:
            partner = by_words.get(_other_side(_words(label.name)))
            if partner is not None and partner != label.id:
                mirrored[label.id] = partner
        return mirrored

    @property
    def pairs(self) -> tuple[Pair, ...]:
        """Every left label with its partner, in the order of the left ids."""
        mirrored = self.mirrored_ids
        return tuple(
            Pair(_without_side(label.name) or f"{label.name}/{self[partner].name}", label.id, partner)
            for label in self.labels
            if (partner := mirrored.get(label.id)) is not None
            and mirrored.get(partner) == label.id
            and _side(_words(label.name)) in _SIDES
        )

    @property
    def one_sided_ids(self) -> tuple[int, ...]:
        """Labels that name a side but have no partner: a flip would turn them into a wrong side."""
        mirrored = self.mirrored_ids
        return tuple(
            label.id
            for label in self.labels
            if label.id not in mirrored and set(_words(label.name)) & set(_SIDE_WORDS)
        )


def _words(name: str) -> tuple[str, ...]:
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name)
    return tuple(re.findall(r"[a-z0-9]+", spaced.lower()))


def _other_side(words: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(_SIDE_WORDS.get(word, word) for word in words)


def _side(words: tuple[str, ...]) -> str | None:
    """The word that names the side; the first, should there be several."""
    return next((word for word in words if word in _SIDE_WORDS), None)


def _without_side(name: str) -> str:
    """The name as it is spelled, without words of a side and what separates them from the others."""
    pieces = re.split(r"([\W_]+|(?<=[a-z])(?=[A-Z]))", name)
    kept = ""
    for separator, word in zip(["", *pieces[1::2]], pieces[::2], strict=True):
        if word and word.lower() not in _SIDE_WORDS:
            kept += (separator if kept else "") + word
    return kept
