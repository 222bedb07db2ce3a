"""check_anatomy: does a segmentation look like the anatomy that the model knows?"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg.geometry import Geometry
from medseg.labels import LabelSet
from medseg.models import Anatomy, Structure
from medseg.quality.pose import Floats, Pose, fit_pose
from medseg.verdict import OK, Reason, Verdict
from medseg.volume import LabelMap, count_ids

CODE = "outside-scope-anatomy"

_MOST_VOXELS = 8_000_000  # looked at; of a larger map every second or third voxel along its axes
_FOUND = 0.1  # of its typical share in the volume, for a structure to count as found
_SMALLEST_ML = 2.0  # structures below are not missed: a network loses them first, in good scans too
_AT_BORDER_MM = 10.0  # a place so close to the end of the field of view may well be outside
_WHOLE_ENOUGH = 6  # structures that do not touch the border, to find the pose by them alone
_NAMED = 3  # structures in a message

# Of a fit. Lengths are in mm.
_VOLUME_ROOM = 1.3
_TURN = 50.0  # heads nod and lie askew by up to 35 degrees or so
_SLACK_MM, _SLACK = 5.0, 1.5
_STRETCH = 0.1
_COMPLETE = 0.6
_FOUND_SHARE = (
    0.6  # without all of the cerebellum, brain-stem and hippocampi, two thirds of a brain's are left
)
_STRANGE = 0.25
_SIZE_ROOM = 2.0
_SIDES = 1.5
_CUT = 1.4  # of a ball, 70 % are then left
_ROUNDS = 10


@dataclass(frozen=True, slots=True, eq=False)
class _Found:
    """Volumes in mL, centres in world mm (medians along the axes), what touches the border, by label.

    ``cut_mm2`` is the largest area that the labels have on one side of the field of view.
    """

    volume: dict[int, float]
    centre: dict[int, Floats]
    at_border: frozenset[int]
    cut_mm2: float


def check_anatomy(labels: LabelMap, anatomy: Anatomy) -> Verdict:
    """Whether a segmentation has the structures that it should have, as large and where they should be.

    A network that is given something else than it was made for labels it all the same. What it then finds is
    no anatomy: structures are missing, or lie where they cannot.

    Typical places are matched to the found ones by a shift, a turn and a scale, so that where a head lies,
    how it is held and how large it is do not matter. A structure whose place is outside the field of view, or
    within 10 mm of its end, is not missed, as long as most structures and most of the expected volume are
    there. Structures below 2 mL are not missed either: a network loses them first, in good scans too.

    Parameters
    ----------
    labels
        A model's result; labels that ``anatomy`` does not name are ignored.
    anatomy
        What `fit_anatomy` learnt.

    Returns
    -------
    Verdict
        ``ok``, or ``warning`` with one reason, ``outside-scope-anatomy``, which says what is wrong. ``ok``
        too where nothing is labelled (that has a warning of its own), and where voxels have no known size.
    """
    if not labels.geometry.spacing_known:
        return OK
    wanted = anatomy.structures
    found = _measured(labels, [structure.id for structure in wanted])
    total = sum(found.volume.values())
    if total == 0:
        return OK
    faults = _amount(total, anatomy) + _cut(found, total, anatomy) + _balance(found, labels.labels, anatomy)
    share = total / sum(structure.volume_ml for structure in wanted)
    seen = [one for one in wanted if found.volume[one.id] >= _FOUND * share * one.volume_ml]
    pose = _pose(seen, found)
    faults += _pose_faults(pose, anatomy) if pose else []
    sound = pose if pose and not _pose_faults(pose, anatomy) else None
    faults += _places(wanted, seen, found, sound, labels, anatomy)
    if sound:
        faults += _completeness(wanted, found, sound, anatomy)
    if not faults:
        return OK
    text = f"what was found is not the anatomy that the model knows: {'; '.join(faults)}"
    return Verdict("warning", (Reason(CODE, text),))


def fit_anatomy(label_maps: Iterable[LabelMap]) -> Anatomy:
    """Learn where structures lie and how large they are, from label maps that are right and whole.

    Places are those of a generalised Procrustes mean (Gower, Psychometrika 40, 1975): every map's centres are
    shifted, turned and scaled onto the mean of all, which is then taken anew. How far a structure may lie
    from its place is one and a half times the largest distance seen, also where the maps are stretched or
    pressed by a tenth along an axis, and 5 mm. A structure may be half as large as the smallest seen and
    twice as large as the largest.

    Parameters
    ----------
    label_maps
        In the labels of the model's output. A label that is missing from one of them is left out.

    Raises
    ------
    ValueError
        If there is no map, or no label that all of them have.
    """
    label_set = LabelSet()
    maps: list[_Found] = []
    for labels in label_maps:
        label_set = labels.labels
        maps.append(_measured(labels, labels.labels.ids))
    ids = [i for i in label_set.ids if all(i in one.centre for one in maps)]
    if not ids:
        raise ValueError(f"an anatomy is learnt from label maps that share labels, got {len(maps)} without")
    points = [np.array([one.centre[i] for i in ids]) for one in maps]
    volumes = np.array([[one.volume[i] for i in ids] for one in maps])
    mean, scales = _procrustes(points)
    sizes = volumes / scales[:, None] ** 3
    apart = np.max([_distances(one * stretch, mean) for one in points for stretch in _stretches()], axis=0)
    typical = np.median(sizes, axis=0)
    smallest, largest = sizes.min(axis=0) / typical / _SIZE_ROOM, sizes.max(axis=0) / typical * _SIZE_ROOM
    totals = volumes.sum(axis=1)
    left, right = _sides(label_set, ids)
    size = np.array((scales.min() / _VOLUME_ROOM, scales.max() * _VOLUME_ROOM))
    spread = totals.min() / _VOLUME_ROOM**3, totals.max() * _VOLUME_ROOM**3
    return Anatomy(
        structures=tuple(
            Structure(
                id=i,
                volume_ml=_rounded(volume),
                centre_mm=(_tenth(centre[0]), _tenth(centre[1]), _tenth(centre[2])),
                within_mm=_tenth(_SLACK * far + _SLACK_MM),
                size=(_rounded(least), _rounded(most)),
            )
            for i, volume, centre, far, least, most in zip(
                ids, typical, mean, apart, smallest, largest, strict=True
            )
        ),
        volume_ml=(_rounded(spread[0]), _rounded(spread[1])),
        scale=(_rounded(size[0]), _rounded(size[1])),
        turn_degrees=_TURN,
        left_to_right=(_rounded(1 / _SIDES), _SIDES) if left and right else None,
        cut=_CUT,
        complete=_COMPLETE,
        found=_FOUND_SHARE,
        strange=_STRANGE,
    )


def _measured(labels: LabelMap, ids: Sequence[int]) -> _Found:
    data, geometry = labels.data, labels.geometry
    steps = [1, 1, 1]
    while np.prod([-(-n // s) for n, s in zip(data.shape, steps, strict=True)]) > _MOST_VOXELS:
        finest = min(range(3), key=lambda axis: geometry.spacing[axis] * steps[axis])
        steps[finest] += 1
    position = np.zeros(max(int(data.max(initial=0)), *ids) + 1, np.int64)
    position[list(ids)] = np.arange(1, len(ids) + 1)
    classes = position[data[tuple(slice(None, None, step) for step in steps)]]
    where = np.nonzero(classes)
    numbers = classes[where] - 1
    counts = np.bincount(numbers, minlength=len(ids))
    voxel_ml = geometry.voxel_volume_mm3 * float(np.prod(steps)) / 1000
    middles = np.stack(
        [
            _medians(numbers, along, n, counts) * step
            for along, n, step in zip(where, classes.shape, steps, strict=True)
        ],
        axis=1,
    )
    world = geometry.index_to_world(middles)
    at_border, cut_mm2 = _border(data, geometry, ids)
    return _Found(
        volume={label: float(count) * voxel_ml for label, count in zip(ids, counts, strict=True)},
        centre={label: point for label, point, count in zip(ids, world, counts, strict=True) if count},
        at_border=at_border,
        cut_mm2=cut_mm2,
    )


def _medians(
    numbers: NDArray[np.int64], along: NDArray[np.int64], length: int, counts: NDArray[np.int64]
) -> Floats:
    """Of each number the (lower) median of its positions along an axis; 0 where it does not occur."""
    table = np.bincount(numbers * length + along, minlength=len(counts) * length).reshape(-1, length)
    medians: Floats = (table.cumsum(axis=1) * 2 < counts[:, None]).sum(axis=1).astype(np.float64)
    return medians


def _border(data: NDArray[Any], geometry: Geometry, ids: Sequence[int]) -> tuple[frozenset[int], float]:
    """Which labels lie on the outermost layers, and the largest area in mm2 that they have on one of them."""
    faces: set[int] = set()
    largest = 0.0
    for axis, n in enumerate(data.shape):
        if n == 1:
            continue
        one, other = (geometry.affine[:3, a] for a in range(3) if a != axis)
        area = float(np.linalg.norm(np.cross(one, other)))
        for end in (0, -1):
            counts = count_ids(np.take(data, end, axis=axis))
            there = [i for i in ids if i in counts]
            faces.update(there)
            largest = max(largest, area * sum(counts[i] for i in there))
    return frozenset(faces), largest


def _procrustes(points: list[Floats]) -> tuple[Floats, Floats]:
    """The mean shape (N, 3) in its mean size and attitude, and each shape's size beside it."""
    mean = np.mean([one - one.mean(axis=0) for one in points], axis=0)
    size = np.sqrt((mean**2).sum())
    scales = np.ones(len(points))
    for _ in range(_ROUNDS):
        poses = [fit_pose(mean, one) for one in points]
        if any(pose is None for pose in poses):
            return mean, np.array([np.sqrt(((one - one.mean(axis=0)) ** 2).sum()) / size for one in points])
        known = [pose for pose in poses if pose is not None]
        back = [
            (one - pose.shift) @ pose.rotation / pose.scale for one, pose in zip(points, known, strict=True)
        ]
        mean = np.mean(back, axis=0)
        mean = mean - mean.mean(axis=0)
        mean *= size / np.sqrt((mean**2).sum())
        scales = np.array([pose.scale for pose in known])
    return mean, scales


def _stretches() -> list[Floats]:
    steps = (1 - _STRETCH, 1 + _STRETCH)
    ones = [np.ones(3)]
    for axis in range(3):
        for step in steps:
            stretch = np.ones(3)
            stretch[axis] = step
            ones.append(stretch)
    return ones


def _distances(points: Floats, mean: Floats) -> Floats:
    pose = fit_pose(mean, points)
    if pose is None:
        return np.zeros(len(points))
    distances: Floats = np.linalg.norm(pose.place(mean) - points, axis=1) / pose.scale
    return distances


def _pose(seen: Sequence[Structure], found: _Found) -> Pose | None:
    """By structures that lie wholly in the field of view, where there are enough of them."""
    whole = [one for one in seen if one.id not in found.at_border]
    used = whole if len(whole) >= _WHOLE_ENOUGH else seen
    expected = np.array([one.centre_mm for one in used]).reshape(-1, 3)
    return fit_pose(expected, np.array([found.centre[one.id] for one in used]).reshape(-1, 3))


def _pose_faults(pose: Pose, anatomy: Anatomy) -> list[str]:
    faults = []
    low, high = anatomy.scale
    if not low <= pose.scale <= high:
        faults.append(
            f"its structures lie {pose.scale:.2g} times as far apart as usual "
            f"(expected {low:.2g} to {high:.2g}): wrong units of the spacing?"
        )
    if pose.degrees > anatomy.turn_degrees:
        ways = ("left and right exchanged", "back to front", "upside down")
        turned = [way for axis, way in enumerate(ways) if pose.rotation[axis, axis] < 0]
        faults.append(
            f"it is turned by {pose.degrees:.0f} degrees ({' and '.join(turned) or 'axes exchanged'}): "
            "does the header give the right orientation?"
        )
    return faults


def _amount(total: float, anatomy: Anatomy) -> list[str]:
    low, high = anatomy.volume_ml
    if low <= total <= high:
        return []
    return [f"{total:.3g} mL in all (expected {low:.3g} to {high:.3g})"]


def _cut(found: _Found, total: float, anatomy: Anatomy) -> list[str]:
    if found.cut_mm2 <= anatomy.cut * (1000 * total) ** (2 / 3):
        return []
    return [
        f"the field of view ends inside, on {found.cut_mm2 / 100:.0f} cm2: does the scan show only a part?"
    ]


def _balance(found: _Found, label_set: LabelSet, anatomy: Anatomy) -> list[str]:
    if anatomy.left_to_right is None:
        return []
    left, right = (sum(found.volume[i] for i in ids) for ids in _sides(label_set, list(found.volume)))
    low, high = anatomy.left_to_right
    if low * right <= left <= high * right:
        return []
    side, other = ("left", "right") if left < right else ("right", "left")
    share = 100 * min(left, right) / max(left, right)
    return [f"the {side} side has {share:.0f} % of the volume of the {other} one: half of it missing?"]


def _places(
    wanted: Sequence[Structure],
    seen: Sequence[Structure],
    found: _Found,
    pose: Pose | None,
    labels: LabelMap,
    anatomy: Anatomy,
) -> list[str]:
    """Structures that were not found, or are not where and as large as they should be."""
    names = {label.id: label.name for label in labels.labels}
    expected = [one for one in wanted if one.volume_ml >= _SMALLEST_ML] or list(wanted)
    lost = [one for one in expected if one not in seen]
    if len(lost) > (1 - anatomy.found) * len(expected):
        return [f"{len(lost)} of {len(expected)} structures not found: {_listed(lost, names)}"]
    if pose is None:
        return []
    expected = [one for one in expected if _in_view(one, pose, labels.geometry)]
    strange = [one for one in expected if one in lost or _is_odd(one, found, pose)]
    if len(strange) <= anatomy.strange * len(expected):
        return []
    counted = f"{len(strange)} of {len(expected)} structures"
    return [f"{counted} not found, out of place or of a wrong size: {_listed(strange, names)}"]


def _is_odd(one: Structure, found: _Found, pose: Pose) -> bool:
    """Out of its place, or far too large or small; not told of what the field of view cuts."""
    if one.id in found.at_border:
        return False
    low, high = one.size
    size = found.volume[one.id] / (one.volume_ml * pose.scale**3)
    return not low <= size <= high or _distance(one, found, pose) > one.within_mm


def _completeness(wanted: Sequence[Structure], found: _Found, pose: Pose, anatomy: Anatomy) -> list[str]:
    expected = {one.id: one.volume_ml * pose.scale**3 for one in wanted}
    share = sum(min(found.volume[i], ml) for i, ml in expected.items()) / sum(expected.values())
    if share >= anatomy.complete:
        return []
    return [f"{100 * share:.0f} % of the expected volume found: does the scan show only a part?"]


def _in_view(one: Structure, pose: Pose, geometry: Geometry) -> bool:
    index = geometry.world_to_index(pose.place(np.array([one.centre_mm])))[0]
    room = _AT_BORDER_MM / np.array(geometry.spacing)
    return bool(((index >= room) & (index <= np.array(geometry.shape) - 1 - room)).all())


def _distance(one: Structure, found: _Found, pose: Pose) -> float:
    """In mm of the typical anatomy."""
    away = pose.place(np.array([one.centre_mm]))[0] - found.centre[one.id]
    return float(np.linalg.norm(away)) / pose.scale


def _sides(label_set: LabelSet, ids: Sequence[int]) -> tuple[list[int], list[int]]:
    pairs = [pair for pair in label_set.pairs if pair.left in ids and pair.right in ids]
    return [pair.left for pair in pairs], [pair.right for pair in pairs]


def _listed(structures: Sequence[Structure], names: dict[int, str]) -> str:
    """The largest ones by name."""
    largest = sorted(structures, key=lambda one: -one.volume_ml)
    text = ", ".join(names.get(one.id, f"label {one.id}") for one in largest[:_NAMED])
    return text if len(largest) <= _NAMED else f"{text} ..."


def _rounded(value: float) -> float:
    return float(f"{value:.4g}")


def _tenth(value: float) -> float:
    return round(float(value), 1)
