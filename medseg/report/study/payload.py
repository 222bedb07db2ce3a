"""What the page's script works on: a description of the study, and its columns, an element each.

The script unpacks a column when it is first needed, so that a page of 100,000 cases opens at once.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from math import isfinite
from pathlib import Path
from typing import Any
from urllib.parse import unquote_to_bytes

import numpy as np
from numpy.typing import NDArray

from medseg.report.study.collect import STATUSES, CaseColumns
from medseg.report.study.columns import coded, pack_json, pack_numbers
from medseg.report.study.page import Agreement, Estimate, StudyPage, Value
from medseg.report.study.summary import spelled

MOST_EMBEDDED_BYTES = 12_000_000
_MOST_POINTS, _OUTERMOST = 2000, 200
_PICTURES = {b"\x89PNG": "image/png", b"\xff\xd8\xff": "image/jpeg"}


@dataclass(frozen=True, slots=True)
class Element:
    """A script element that holds data: its id, the type of what it holds, and that in base64."""

    id: str
    kind: str
    content: str


def description(page: StudyPage, kept: CaseColumns) -> dict[str, Any]:
    """All that the script must know before it unpacks a column."""
    return {
        "cases": len(kept.ids),
        "statuses": STATUSES,
        "scoreName": page.score_name,
        "hasScores": any(score == score for score in kept.scores),
        "labels": kept.labels,
        "measures": [{**asdict(measure), "heading": measure.heading} for measure in kept.measures],
        "groups": list(page.groups),
        "columns": [
            {"name": name, "kind": _kind(name, values, page.groups)} for name, values in kept.columns.items()
        ],
        "agreements": [_limits(agreement) for agreement in page.agreements],
    }


def elements(
    page: StudyPage, kept: CaseColumns, worst_first: NDArray[np.int64], embedded: Iterable[tuple[int, Path]]
) -> Iterator[Element]:
    """The columns and the embedded pictures, one at a time."""
    ranks = np.empty(len(kept.ids), np.int64)
    ranks[worst_first] = np.arange(len(kept.ids))
    yield _data("ids", pack_json(kept.ids))
    yield _data("statuses", pack_json(kept.statuses.tolist()))
    yield _data("scores", pack_numbers(kept.scores))
    yield _data("ranks", pack_json(ranks.tolist()))
    reasons = [[reason.code, reason.message] for reason in kept.reasons]
    yield _data("reasons", pack_json([reasons, kept.reason_places]))
    yield _data("pictures", pack_json(kept.pictures))
    yield _data("label-counts", pack_json(_label_counts(kept)))
    for n, (name, values) in enumerate(kept.columns.items()):
        yield _data(f"column-{n}", _pack_column(values, _kind(name, values, page.groups)))
    for i, label in enumerate(kept.labels):
        for j, measure in enumerate(kept.measures):
            yield _data(f"value-{i}-{j}", pack_numbers(kept.values[label, measure.name]))
    places = {case_id: n for n, case_id in enumerate(kept.ids)} if page.agreements else {}
    for n, agreement in enumerate(page.agreements):
        chosen = points_shown(agreement)
        means, differences = _means_and_differences([agreement.pairs[i] for i in chosen])
        cases = [places.get(agreement.pairs[i][0], -1) for i in chosen]
        yield _data(f"agreement-{n}-cases", pack_json(cases))
        yield _data(f"agreement-{n}-points", pack_numbers(np.concatenate((means, differences))))
    for place, file in embedded:
        content = file.read_bytes()
        kind = next((kind for start, kind in _PICTURES.items() if content.startswith(start)), None)
        if kind is not None:
            yield Element(f"picture-{place}", kind, base64.b64encode(content).decode("ascii"))


def choose_embedded(
    kept: CaseColumns, worst_first: NDArray[np.int64], folder: Path, most: int
) -> list[tuple[int, Path]]:
    """Case and picture of the worst cases that have one, up to a number and 12 MB of them.

    A picture whose file is missing counts as none; the page says so in its place.
    """
    chosen: list[tuple[int, Path]] = []
    size = 0
    for place in worst_first.tolist():
        if len(chosen) >= most:
            break
        link = kept.pictures[place]
        if link is None or not (file := folder / os.fsdecode(unquote_to_bytes(link))).is_file():
            continue
        size += file.stat().st_size
        if size > MOST_EMBEDDED_BYTES:
            break
        chosen.append((place, file))
    return chosen


def points_shown(agreement: Agreement) -> list[int]:
    """Which pairs are drawn: all up to 2000, else the 200 farthest from the bias and others evenly."""
    count = len(agreement.pairs)
    if count <= _MOST_POINTS:
        return list(range(count))
    _, differences = _means_and_differences(agreement.pairs)
    by_distance = np.argsort(-np.abs(differences - agreement.bias.value), kind="stable")
    others = np.sort(by_distance[_OUTERMOST:])
    spread = np.linspace(0, len(others) - 1, _MOST_POINTS - _OUTERMOST).round().astype(int)
    return [int(i) for i in np.sort(np.concatenate((by_distance[:_OUTERMOST], others[spread])))]


def _means_and_differences(
    pairs: Sequence[tuple[str, float, float]],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    both = np.array([pair[1:] for pair in pairs], np.float64).reshape(-1, 2)
    return both.mean(axis=1), both[:, 0] - both[:, 1]


def _label_counts(kept: CaseColumns) -> list[int]:
    """How many labels a case has: those whose first measure, most often the volume, is above 0."""
    counts = np.zeros(len(kept.ids), np.int64)
    for label in kept.labels:
        for measure in kept.measures[:1]:
            counts += np.array(kept.values[label, measure.name]) > 0
    counted: list[int] = counts.tolist()
    return counted


def _data(name: str, content: str) -> Element:
    return Element(f"data-{name}", "application/octet-stream", content)


def _kind(name: str, values: Sequence[Value], groups: Sequence[str]) -> str:
    """Numbers, unless cases are grouped by them or one of them is none."""
    numbers = all(v is None or (isinstance(v, int | float) and not isinstance(v, bool)) for v in values)
    return "number" if numbers and name not in groups else "text"


def _pack_column(values: Sequence[Value], kind: str) -> str:
    if kind == "number":
        return pack_numbers([float("nan") if value is None else float(value) for value in values])
    return pack_json(coded([None if value is None else spelled(value) for value in values]))


def _limits(agreement: Agreement) -> dict[str, Any]:
    return {
        "title": agreement.title,
        "unit": agreement.unit,
        "first": agreement.first,
        "second": agreement.second,
        "pairs": len(agreement.pairs),
        **{name: _estimate(getattr(agreement, name)) for name in ("bias", "lower", "upper")},
    }


def _estimate(estimate: Estimate) -> list[float | None]:
    numbers = (estimate.value, estimate.low, estimate.high)
    return [number if number is not None and isfinite(number) else None for number in numbers]
