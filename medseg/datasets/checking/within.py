"""Findings of one case, from its facts alone."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import replace

from medseg.datasets.checking.facts import CaseFacts
from medseg.datasets.checking.findings import Finding
from medseg.datasets.dataset import Dataset
from medseg.labels import LabelSet

_AXES = "ijk"
FEWEST = 4  # with fewer cases there is no telling what is usual


def findings_of(facts: CaseFacts, dataset: Dataset) -> Iterator[Finding]:
    """Everything about a case that needs no other case to be seen."""
    case, label = facts.case, facts.case.label
    if facts.is_constant:
        yield Finding("constant-image", case.id, facts.image_file, "a channel has one value everywhere")
    if not facts.ids:
        yield Finding("empty-labels", case.id, label, "the label map holds nothing")
    yield from _unknown(facts, dataset)
    name = name_in(dataset.labels)
    for label_id, structure in facts.structures.items():
        for gap in structure.gaps:
            count = gap.last - gap.first + 1
            where = f"slice {gap.first}" if count == 1 else f"slices {gap.first} to {gap.last}"
            text = (
                f"{name(label_id)} is missing on {where} along {_AXES[gap.axis]}, but there before and after"
            )
            yield Finding("slices-unlabelled", case.id, label, text, label_id, count, gap.place)
        if structure.islands is not None:
            tiny = structure.islands
            pieces = "a piece" if tiny.count == 1 else f"{tiny.count} pieces"
            text = (
                f"{name(label_id)} has {pieces} of up to {tiny.largest} voxel{'s' * (tiny.largest > 1)} "
                f"apart from the rest ({structure.voxels} voxels in all)"
            )
            yield Finding("tiny-islands", case.id, label, text, label_id, tiny.count, tiny.place)


def _unknown(facts: CaseFacts, dataset: Dataset) -> Iterator[Finding]:
    if dataset.labels is None:
        return
    known = {*dataset.labels.ids, dataset.ignore_label}
    for label_id in facts.ids:
        if label_id not in known:
            expected = ", ".join(map(str, dataset.labels.ids[:20]))
            place = facts.structures[label_id].place
            text = f"id {label_id} occurs, expected 0, {expected}"
            yield Finding("unknown-labels", facts.case.id, facts.case.label, text, label_id, place=place)


def with_usual_islands_once(findings: list[Finding], cases: int) -> list[Finding]:
    """The findings, islands of a label that more than half of the cases have as one: it is made of pieces."""
    of_label: defaultdict[int | None, list[Finding]] = defaultdict(list)
    for one in findings:
        if one.code == "tiny-islands":
            of_label[one.label].append(one)
    kept = [one for one in findings if one.code != "tiny-islands"]
    for islands in of_label.values():
        if cases >= FEWEST and len(islands) > cases / 2:
            worst = max(islands, key=lambda one: one.weight)
            text = f"{worst.message}; {len(islands)} of {cases} cases have such pieces, this one most"
            islands = [replace(worst, message=text)]
        kept += islands
    return kept


def name_in(labels: LabelSet | None) -> Callable[[int], str]:
    """How a label is called in messages."""
    names = {} if labels is None else dict(zip(labels.ids, labels.names, strict=True))
    return lambda label_id: f"{names[label_id]} ({label_id})" if label_id in names else f"label {label_id}"
