"""Findings that only show beside the other cases: copies, outliers, structures on the wrong side."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterator, Sequence

import numpy as np

from medseg.datasets.checking.facts import CaseFacts
from medseg.datasets.checking.findings import Finding
from medseg.datasets.checking.within import FEWEST, name_in
from medseg.datasets.dataset import Dataset

# Two images are near copies where 1 - the correlation of their thumbnails is below _NEAR, and far below what
# is usual between an image and the one most like it: crops of one organ are less alike (0.15 in the
# Decathlon's hippocampus) than heads on one grid (0.01). A copy with noise of a tenth of its range has 0.03
# and 0.0001 there.
_NEAR, _NEARER_THAN_USUAL = 0.05, 0.25
_NEAR_WHERE_FEW = 0.005
_SPACING_FACTOR = 3.0
_RANK_APART, _RANK_DEVIATIONS = 0.35, 5.0
_BLOCK = 512


def findings_across(facts: Sequence[CaseFacts], dataset: Dataset) -> Iterator[Finding]:
    """Everything that needs several cases to be seen, except sides."""
    yield from _copies(facts)
    yield from _patients(facts)
    yield from _unlike(facts, "channels", lambda one: one.channels, "number of channels {}, of the others {}")
    yield from _unlike(facts, "other-modality", lambda one: one.modality, "{}, the others are {}")
    yield from _unlike(
        facts, "orientation-differs", lambda one: one.grid.orientation, "the axes run {}, the others' {}"
    )
    yield from _spacings(facts)
    yield from _contrasts(facts, dataset)
    yield from _absent(facts, dataset)


def _copies(facts: Sequence[CaseFacts]) -> Iterator[Finding]:
    groups = _groups(facts, lambda one: one.image_digest)
    for same in groups:
        others = ", ".join(one.case.id for one in same[1:])
        text = f"the same image as {others}, voxel by voxel"
        yield Finding("duplicate-image", same[0].case.id, same[0].image_file, text, weight=len(same))
    copied = {id(one) for same in groups for one in same}
    for same in _groups(facts, lambda one: one.label_digest or None):
        if not all(id(one) in copied for one in same):
            others = ", ".join(one.case.id for one in same[1:])
            text = f"the same label map as {others}, voxel by voxel, with another image"
            yield Finding("duplicate-labels", same[0].case.id, same[0].case.label, text, weight=len(same))
    yield from _near(facts)


def _near(facts: Sequence[CaseFacts]) -> Iterator[Finding]:
    """Pairs of images that are alike beyond what is usual in the dataset; exact copies are left out."""
    different = list({one.image_digest: one for one in facts}.values())
    nearest = np.full(len(different), np.inf)
    pairs: list[tuple[float, int, int]] = []
    thumbs = np.array([one.thumbnail for one in different])
    for start in range(0, len(different), _BLOCK):
        unlike = 1.0 - thumbs[start : start + _BLOCK] @ thumbs.T
        for row in range(len(unlike)):
            unlike[row, start + row] = np.inf
        nearest[start : start + _BLOCK] = unlike.min(axis=1)
        for row, column in np.argwhere(unlike < _NEAR):
            if column > start + row:
                pairs.append((float(unlike[row, column]), start + int(row), int(column)))
    limit = _NEAR_WHERE_FEW
    if len(different) >= FEWEST:
        limit = min(_NEAR, _NEARER_THAN_USUAL * float(np.median(nearest)))
    for distance, first, second in pairs:
        if distance < limit:
            one, other = different[first], different[second]
            text = f"nearly the same image as {other.case.id} (correlation {1 - distance:.4f}, seen small)"
            yield Finding("near-duplicate", one.case.id, one.image_file, text, weight=1 - distance)


def _patients(facts: Sequence[CaseFacts]) -> Iterator[Finding]:
    for same in _groups(facts, lambda one: one.case.patient):
        others = ", ".join(one.case.id for one in same[1:])
        text = f"of the same patient as {others}: folds may part them, and scores come out too good"
        yield Finding("same-patient", same[0].case.id, same[0].image_file, text, weight=len(same))


def _groups(facts: Sequence[CaseFacts], key: Callable[[CaseFacts], Hashable | None]) -> list[list[CaseFacts]]:
    """Cases that share a key, where several do; those whose key is None are left out."""
    found: defaultdict[Hashable, list[CaseFacts]] = defaultdict(list)
    for one in facts:
        value = key(one)
        if value is not None:
            found[value].append(one)
    return [same for same in found.values() if len(same) > 1]


def _unlike(
    facts: Sequence[CaseFacts], code: str, key: Callable[[CaseFacts], object], text: str
) -> Iterator[Finding]:
    """Cases unlike more than half of all, where there is such a majority."""
    counts = Counter(key(one) for one in facts)
    usual, count = counts.most_common(1)[0] if counts else (None, 0)
    if len(facts) < FEWEST or count <= len(facts) / 2:
        return
    for one in facts:
        if key(one) != usual:
            told = text.format(*("unnamed" if value is None else value for value in (key(one), usual)))
            yield Finding(code, one.case.id, one.image_file, told)


def _spacings(facts: Sequence[CaseFacts]) -> Iterator[Finding]:
    """Voxels three times as long or short along a world axis as the median's."""
    if len(facts) < FEWEST:
        return
    all_mm = np.array([_world_spacing(one) for one in facts])
    median = np.median(all_mm, axis=0)
    for one, mm in zip(facts, all_mm, strict=True):
        factor = float(np.exp(np.abs(np.log(mm / median)).max()))
        if factor > _SPACING_FACTOR:
            text = f"voxels of {_words(mm)} mm (R, A, S), the median case has {_words(median)} mm"
            yield Finding("spacing-differs", one.case.id, one.image_file, text, weight=factor)


def _world_spacing(one: CaseFacts) -> list[float]:
    order = one.grid.closest_world_axes
    return [one.grid.spacing[order.index(axis)] for axis in range(3)]


def _contrasts(facts: Sequence[CaseFacts], dataset: Dataset) -> Iterator[Finding]:
    """Structures that are dark where they are bright in the others, as in another sequence."""
    name = name_in(dataset.labels)
    ids = sorted({label_id for one in facts for label_id in one.ranks})
    worst: dict[str, tuple[float, int, float, float, CaseFacts]] = {}
    for label_id in ids:
        having = [one for one in facts if label_id in one.ranks]
        if len(having) < FEWEST:
            continue
        ranks = np.array([one.ranks[label_id] for one in having])
        median = float(np.median(ranks))
        deviation = 1.4826 * float(np.median(np.abs(ranks - median)))  # of a normal distribution
        limit = max(_RANK_APART, _RANK_DEVIATIONS * deviation)
        for one, rank in zip(having, ranks.tolist(), strict=True):
            apart = abs(rank - median)
            if apart > limit and apart > worst.get(one.case.id, (0.0,))[0]:
                worst[one.case.id] = (apart, label_id, rank, median, one)
    for case_id, (apart, label_id, rank, median, one) in worst.items():
        text = (
            f"{name(label_id)} is brighter than {rank:.0%} of the image, in the median case than {median:.0%}"
        )
        place = one.structures[label_id].place
        yield Finding("contrast-differs", case_id, one.image_file, text, label_id, apart, place)


def _absent(facts: Sequence[CaseFacts], dataset: Dataset) -> Iterator[Finding]:
    if dataset.labels is None or len(facts) < len(dataset.cases):  # it may be in a case that was not read
        return
    found = {label_id for one in facts for label_id in one.ids}
    for label in dataset.labels:
        if label.id not in found:
            yield Finding("label-absent", "", None, f"{label.name} ({label.id}) is in no case", label.id)


def _words(mm: Sequence[float]) -> str:
    return " x ".join(f"{value:.3g}" for value in mm)
