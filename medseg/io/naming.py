"""Structures as label files describe them, made into a `LabelSet`.

Formats allow what a label set does not: structures without a name or under one name twice, colours in other
spaces, codes of other schemes. All of them are settled here, by the same rules for every format.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from medseg.labels import Colour, Label, LabelSet
from medseg.verdict import OK, Verdict

# White point D65 and the sRGB matrix, as dcmqi, 3D Slicer and highdicom take them.
_WHITE = (0.950456, 1.0, 1.088754)
_XYZ_TO_RGB = (
    (3.2404542, -1.5371385, -0.4985314),
    (-0.9692660, 1.8760108, 0.0415560),
    (0.0556434, -0.2040259, 1.0572252),
)
_SCT_CODE = re.compile(r"[0-9]{6,18}")


@dataclass(frozen=True, slots=True)
class Structure:
    """One structure as a file describes it; ``name`` may be empty, or another one's as well."""

    id: int
    name: str = ""
    colour: Colour | None = None
    snomed: str | None = None


def label_set(structures: Sequence[Structure]) -> tuple[LabelSet, Verdict]:
    """A label set of structures with different ids (1 to 65535), and what had to be settled.

    A structure without a name is called ``label 3`` by its id. Where several have one name, each takes its
    id behind it (warning ``labels-renamed``). Colours come from the palette where the file has none.
    """
    ids = [structure.id for structure in structures]
    names = [_one_line(structure.name) or f"label {structure.id}" for structure in structures]
    shared = {name for name, count in Counter(names).items() if count > 1}
    taken = set(names)
    for n, name in enumerate(names):
        if name in shared:
            names[n] = _free(f"{name} {ids[n]}", taken)
            taken.add(names[n])
    plain = {label.id: label for label in LabelSet.from_names(dict(zip(ids, names, strict=True)))}
    labels = LabelSet(tuple(_told(plain[structure.id], structure) for structure in structures))
    if not shared:
        return labels, OK
    text = f"{len(shared)} names stand for several structures each; the ids are added to them"
    return labels, Verdict.of("warning", "labels-renamed", text)


def with_unnamed(labels: LabelSet, ids: Sequence[int]) -> LabelSet:
    """A label set with more ids: ``label 3``, or ``unnamed label 3`` where a structure has that name."""
    taken = set(labels.names)
    extra = []
    for label in LabelSet.from_ids(ids):
        name = label.name if label.name not in taken else _free(f"unnamed {label.name}", taken)
        extra.append(Label(label.id, name, label.colour))
        taken.add(name)
    return LabelSet((*labels.labels, *extra), labels.background)


def snomed_code(scheme: str | None, value: str | None) -> str | None:
    """The SNOMED CT code of a coded concept, None where it has none.

    ``SCT`` codes are taken as they are. Those of the older schemes (``T-62000`` of ``SRT``) go through the
    table that DICOM publishes for them (PS3.16, annex O).
    """
    if not value:
        return None
    if scheme in ("SRT", "SNM3", "99SDM"):
        from pydicom.sr._snomed_dict import mapping

        value = mapping["SRT"].get(value, "")
    elif scheme != "SCT":
        return None
    return value if _SCT_CODE.fullmatch(value) else None


def rgb_of_cielab(words: Sequence[int]) -> Colour | None:
    """RGB 0-255 of DICOM's 16-bit CIELab triple (PS3.3 C.10.7.1.1): L 0 to 100, a and b -128 to 127."""
    if len(words) != 3:
        return None
    lightness, a, b = words[0] / 65535 * 100, words[1] / 65535 * 255 - 128, words[2] / 65535 * 255 - 128
    fy = (lightness + 16) / 116
    xyz = [w * _inverse_lab(f) for w, f in zip(_WHITE, (fy + a / 500, fy, fy - b / 200), strict=True)]
    red, green, blue = (_srgb(sum(m * v for m, v in zip(row, xyz, strict=True))) for row in _XYZ_TO_RGB)
    return red, green, blue


def _inverse_lab(f: float) -> float:
    return f**3 if f > 6 / 29 else 3 * (6 / 29) ** 2 * (f - 4 / 29)


def _srgb(linear: float) -> int:
    value = 12.92 * linear if linear <= 0.0031308 else 1.055 * linear ** (1 / 2.4) - 0.055
    return min(255, max(0, round(value * 255)))


def _told(label: Label, structure: Structure) -> Label:
    return Label(label.id, label.name, structure.colour or label.colour, structure.snomed)


def _one_line(name: str) -> str:
    return name.strip(" \t\0") if name.strip(" \t\0").strip() else ""


def _free(name: str, taken: set[str]) -> str:
    while name in taken:
        name += "'"
    return name
