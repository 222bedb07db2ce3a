"""Left and right: structures in pairs that lie on the other side than in the other cases."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from medseg.datasets.checking.facts import CaseFacts
from medseg.datasets.checking.findings import Finding, Place
from medseg.datasets.dataset import Dataset
from medseg.labels import LabelSet, Pair
from medseg.report.planes import normal_axis

# Two centres closer along left-right say nothing; nor does a lone one so near the middle of the image.
_LEAST_MM = 2.0


def findings_of_sides(facts: Sequence[CaseFacts], dataset: Dataset) -> Iterator[Finding]:
    """Cases whose left structure lies to the right of its partner (R of RAS+ grows to the patient's right).

    Where most cases of a pair are like that, it is one finding about the dataset: its labels or its files are
    mirrored; the cases that differ from the rest are found all the same. A structure without its partner is
    held against the middle of the image, and found where more than half of the other cases disagree.
    """
    labels = dataset.labels or LabelSet()
    for pair in labels.pairs:
        offsets = {n: offset for n, one in enumerate(facts) if (offset := _offset(one, pair)) is not None}
        mirrored = sum(offset < 0 for offset in offsets.values())
        if not offsets:
            continue
        is_mirrored = mirrored > len(offsets) / 2
        if is_mirrored:
            text = (
                f"{labels[pair.left].name} lies to the patient's right of {labels[pair.right].name} in "
                f"{mirrored} of {len(offsets)} cases"
            )
            yield Finding("sides-mirrored", "", None, text, pair.left, weight=mirrored)
        for n, offset in offsets.items():
            if (offset < 0) != is_mirrored:
                yield _swapped(facts[n], pair, labels, abs(offset))


def _offset(one: CaseFacts, pair: Pair) -> float | None:
    """How far the right structure lies to the right of the left one in mm; None where nobody can tell."""
    left, right = one.structures.get(pair.left), one.structures.get(pair.right)
    if one.grid.is_2d or not one.grid.spacing_known:
        return None  # a picture does not say where the patient's right is
    if left is not None and right is not None:
        offset = right.centre[0] - left.centre[0]
    else:
        lone = left or right
        if lone is None:
            return None
        middle = float(one.grid.corners[:, 0].mean())
        offset = (lone.centre[0] - middle) * (1.0 if lone is right else -1.0)
        half = float(one.grid.corners[:, 0].max()) - middle
        if abs(offset) < 0.1 * half:
            return None
    return offset if abs(offset) >= _LEAST_MM else None


def _swapped(one: CaseFacts, pair: Pair, labels: LabelSet, apart: float) -> Finding:
    left = pair.left if pair.left in one.structures else pair.right
    place = one.structures[left].place
    place = Place(place.index, normal_axis(one.grid, "axial"))
    both = pair.left in one.structures and pair.right in one.structures
    of_what = f"{labels[pair.right].name} ({pair.right})" if both else "the middle"
    name = f"{labels[left].name} ({left})"
    text = f"{name} lies on the other side of {of_what} than in other cases ({apart:.0f} mm)"
    return Finding("sides-swapped", one.case.id, one.case.label, text, pair.left, apart, place)
