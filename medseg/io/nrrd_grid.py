"""Where a NRRD header places its image: the fields of space and orientation, read and written.

Format: http://teem.sourceforge.net/nrrd/format.html, section 4.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg.geometry import Geometry
from medseg.io.refusals import HeaderFault
from medseg.io.text_headers import Fields, numbers
from medseg.verdict import OK, Verdict

Vector = tuple[float, ...]

# Signs that turn a named space into RAS.
_ANATOMICAL = {
    "right-anterior-superior": (1, 1, 1), "ras": (1, 1, 1),
    "left-anterior-superior": (-1, 1, 1), "las": (-1, 1, 1),
    "left-posterior-superior": (-1, -1, 1), "lps": (-1, -1, 1),
}  # fmt: skip
# Spaces that do not say where left is; right-handed ones are taken as LPS, the other as LAS.
_OTHER = {
    "scanner-xyz": (-1, -1, 1), "3d-right-handed": (-1, -1, 1), "3d-left-handed": (-1, 1, 1),
    "scannerxyz": (-1, -1, 1), "": (-1, -1, 1),
}  # fmt: skip
_SPACES_WITH_TIME = {"rast": "ras", "last": "las", "lpst": "lps"}
_MM_PER_UNIT = {
    "mm": 1.0, "millimeter": 1.0, "millimeters": 1.0, "um": 1e-3, "µm": 1e-3, "micron": 1e-3, "microns": 1e-3,
    "micrometer": 1e-3, "cm": 10.0, "m": 1000.0, "": 1.0,
}  # fmt: skip
_MOST_AXES = 16  # NRRD_DIM_MAX of teem
_VECTORS = re.compile(r"\s*(?:(?:none|\([^()]*\))\s*)+", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Grid:
    """What a header says about space, in its own numbers, so that the same grid is written as it was.

    Parameters
    ----------
    space
        A name of the format's list in lower case, or ``""``.
    directions
        One vector in that space for each axis of the image (two or three); empty where there are none.
    origin
        The first voxel's centre; empty where it is not given.
    units
        Of the space's axes, names known here; empty where they are not given (millimetres).
    spacings
        Used where there are no directions; empty where unknown.
    """

    space: str = ""
    directions: tuple[Vector, ...] = ()
    origin: Vector = ()
    units: tuple[str, ...] = ()
    spacings: Vector = ()

    @property
    def spacing_known(self) -> bool:
        """Whether the header says how large a voxel is."""
        return bool(self.directions or self.spacings)

    def affine(self, dimensions: int) -> tuple[NDArray[np.float64], Verdict]:
        """Index to world RAS+ mm of an image of two or three dimensions, and what is odd about it."""
        matrix, verdict = np.eye(4), OK
        if self.directions:
            matrix = self._placed()
        elif self.spacings:
            matrix[range(dimensions), range(dimensions)] = self.spacings
        scales = [_MM_PER_UNIT[unit] for unit in self.units]
        if set(scales) - {1.0}:
            verdict = Verdict.of("warning", "units-converted", "lengths are converted to millimetres")
        scale = np.diag([*scales, *[1.0] * (3 - len(scales)), 1.0])
        if not self.directions:
            finding = "the file places the image in no space: left and right are a guess (i to the left)"
            verdict += Verdict.of("warning", "orientation-unknown", finding)
            return np.diag([-1.0, -1.0, 1.0, 1.0]) @ scale @ matrix, verdict
        if not self.origin:
            finding = "no space origin: the first voxel is taken to lie at 0, 0, 0"
            verdict += Verdict.of("warning", "position-unknown", finding)
        signs = _ANATOMICAL.get(self.space)
        if signs is None:
            signs = _OTHER[self.space]
            taken = "left-anterior-superior" if signs[1] > 0 else "left-posterior-superior"
            finding = f"the space {self.space or '(none)'} does not say where left is; taken as {taken}"
            verdict += Verdict.of("warning", "orientation-unknown", finding)
        return np.diag([*signs, 1.0]) @ scale @ matrix, verdict

    def _placed(self) -> NDArray[np.float64]:
        matrix = np.eye(4)
        vectors = np.zeros((len(self.directions), 3))
        vectors[:, : len(self.directions[0])] = self.directions
        matrix[:3, : len(vectors)] = vectors.T
        if len(vectors) == 2:
            normal = np.cross(vectors[0], vectors[1])
            with np.errstate(all="ignore"):  # two vectors in one line are refused with the grid
                matrix[:3, 2] = normal / np.linalg.norm(normal)
        matrix[: len(self.origin), 3] = self.origin
        return matrix

    def lines(self, channel_axis: int | None) -> list[str]:
        """The header lines that say so; ``channel_axis`` is where an axis without direction is put in."""
        if not self.directions:
            spacings = [_word(step) for step in self.spacings]
            if spacings and channel_axis is not None:
                spacings.insert(channel_axis, "nan")
            units = [f'"{unit}"' for unit in self.units]
            if units and channel_axis is not None:
                units.insert(channel_axis, '""')
            return [f"spacings: {' '.join(spacings)}"] * bool(spacings) + [
                f"units: {' '.join(units)}"
            ] * bool(units)
        words = [_vector(vector) for vector in self.directions]
        if channel_axis is not None:
            words.insert(channel_axis, "none")
        space = f"space: {self.space}" if self.space else f"space dimension: {len(self.directions[0])}"
        lines = [space, f"space directions: {' '.join(words)}"]
        if self.units:
            lines.append("space units: " + " ".join(f'"{unit}"' for unit in self.units))
        return lines + [f"space origin: {_vector(self.origin)}"] * bool(self.origin)


def read_grid(fields: Fields, channel_axis: int | None, dimensions: int) -> Grid:
    """The grid of a header, whose axis ``channel_axis`` is no direction in space.

    Raises
    ------
    HeaderFault
        If a field cannot be understood, or numbers are missing.
    """
    if "space directions" not in fields:
        return _unplaced(fields, channel_axis, dimensions)
    space = fields.get("space", "").lower()
    if space not in _ANATOMICAL and space not in _OTHER:
        raise HeaderFault("the field 'space' names none that medseg knows, or one with time in it")
    directions = tuple(v for v in vectors(fields["space directions"], "space directions") if v is not None)
    size = 3 if fields.get("space dimension", "3") != "2" or space else 2
    if len(directions) != dimensions or any(len(vector) != size for vector in directions):
        raise HeaderFault(f"space directions: expected {dimensions} with {size} numbers each")
    origin = vectors(fields["space origin"], "space origin") if "space origin" in fields else [()]
    if len(origin) != 1 or origin[0] is None or len(origin[0]) not in (0, size):
        raise HeaderFault(f"the field 'space origin' is not one vector of {size} numbers")
    units = _units(fields.get("space units", ""))
    if len(units) not in (0, size) or not all(unit in _MM_PER_UNIT for unit in units):
        raise HeaderFault(f"space units: expected {size} of {', '.join(filter(None, _MM_PER_UNIT))}")
    return Grid(space, directions, origin[0], units)


def without_time(fields: Fields) -> tuple[Fields, int | None]:
    """The fields of one volume of a file whose space has time as its fourth axis, and which axis that is.

    So ITK writes four dimensions, and Slicer the spaces that end in ``-time``. Any other header comes back as
    it is, with None.
    """
    found = vectors(fields["space directions"], "space directions") if "space directions" in fields else []
    told = [vector for vector in found if vector is not None and len(vector) == 4]
    along = [axis for axis, vector in enumerate(told) if vector[3] != 0]
    if len(told) != 4 or len(found) != 4 or len(along) != 1 or any(told[along[0]][:3]):
        return fields, None
    one = Fields(fields)
    one["space directions"] = " ".join(
        "none" if axis == along[0] else _vector(vector[:3]) for axis, vector in enumerate(told)
    )
    one["space dimension"] = "3"
    if "space" in fields:
        name = fields["space"].lower()
        one["space"] = _SPACES_WITH_TIME.get(name, name.removesuffix("-time"))
    if "space origin" in fields:
        origin = vectors(fields["space origin"], "space origin")
        if len(origin) != 1 or origin[0] is None or len(origin[0]) != 4:
            raise HeaderFault("the field 'space origin' is not one vector of 4 numbers")
        one["space origin"] = _vector(origin[0][:3])
    if "space units" in fields:
        one["space units"] = " ".join(f'"{unit}"' for unit in _units(fields["space units"])[:3])
    return one, along[0]


def _unplaced(fields: Fields, channel_axis: int | None, dimensions: int) -> Grid:
    steps = _spatial(numbers(fields.get("spacings", ""), "spacings"), channel_axis)
    units = _spatial(_units(fields.get("units", "")), channel_axis)
    if len(steps) != dimensions or not all(step > 0 and np.isfinite(step) for step in steps):
        return Grid()
    if len(units) != dimensions:
        return Grid(spacings=steps)
    if not all(unit in _MM_PER_UNIT for unit in units):
        return Grid()  # pixels, or lengths that medseg does not know
    return Grid(units=units, spacings=steps)


def _spatial(values: Sequence[Any], channel_axis: int | None) -> tuple[Any, ...]:
    return tuple(value for axis, value in enumerate(values) if axis != channel_axis)


def _units(text: str) -> tuple[str, ...]:
    quoted = re.findall(r'"([^"]*)"', text)
    return tuple(word.strip().lower() for word in (quoted or text.split()))


def vectors(text: str, field: str) -> list[Vector | None]:
    """``(1,0,0) none (0,1,0)`` as tuples and None."""
    if not _VECTORS.fullmatch(text):
        raise HeaderFault(f"the field '{field}' is not vectors in brackets")
    words = re.findall(r"none|\([^)]*\)", text.lower())
    if len(words) > _MOST_AXES:
        raise HeaderFault(f"the field '{field}' has {len(words)} vectors; NRRD has {_MOST_AXES} axes at most")
    return [None if word == "none" else numbers(word[1:-1], field, ",") for word in words]


def grid_of(geometry: Geometry, stored: Grid | None) -> Grid:
    """The grid to write: ``stored`` where it is this very one, else in left-posterior-superior, exactly."""
    if stored is not None and stored.spacing_known == geometry.spacing_known:
        dimensions = len(stored.directions or stored.spacings) or (2 if geometry.is_2d else 3)
        same = np.array_equal(stored.affine(dimensions)[0], geometry.affine)
        if same and (dimensions == 3 or geometry.is_2d):
            return stored
    matrix = np.diag([-1.0, -1.0, 1.0]) @ geometry.affine[:3]
    columns = [tuple(float(n) for n in matrix[:, axis]) for axis in range(4)]
    return Grid("left-posterior-superior", tuple(columns[:3]), columns[3])


def _vector(values: Sequence[float]) -> str:
    return "(" + ",".join(map(_word, values)) + ")"


def _word(value: float) -> str:
    return repr(float(value) + 0.0)  # no minus before zero
