"""What looks like a slip of the pen in groups and covariates, and would spoil a comparison without a word."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Sequence
from fractions import Fraction

from medseg.cohort.manifest.cases import Manifest, ManifestCase
from medseg.cohort.manifest.problems import Numbering
from medseg.cohort.manifest.values import is_digits, numbers_among
from medseg.verdict import OK, Verdict

# From here on the others in a column are more likely slips than meant: fewer numbers make no column of them.
_MOSTLY = Fraction(4, 5)
_FEWEST_NUMBERS = 3
_MOST_LISTED = 3
# A value of a group or a number is short. What is longer may be a remark on a person: not all of it is told.
_LONGEST_TOLD = 24


def doubtful_values(
    manifest: Manifest, lines: Sequence[int | None], numbering: Numbering, *, comma: bool = False
) -> Verdict:
    """Warnings of columns that are text for a few values only, and of values that differ in case or space.

    Parameters
    ----------
    manifest
        Its columns hold either texts or numbers, besides None.
    lines
        Where each case is, as ``numbering`` counts; a case without a place is called by its id.
    comma
        Whether numbers of the source may have decimal commas.

    Returns
    -------
    Verdict
        For each column at most a reason ``not-all-numbers``, where at least 80 % of its values and at least 3
        are numbers, but not all, and one ``values-alike``. A column that is text for digits alone (``007``,
        or more of them than a number keeps) holds identifiers, and is not told of.
    """
    verdict = OK
    for column in manifest.columns:
        counts = Counter(case.columns.get(column) for case in manifest.cases)
        texts = {value: count for value, count in counts.items() if isinstance(value, str)}
        others = _not_numbers(texts, comma=comma)
        if others:
            found = _places_of(others, column, manifest.cases, lines, numbering)
            total = sum(texts.values())
            numbers = total - sum(texts[text] for text in others)
            text = (
                f"{column}: {numbers} of {total} values are numbers; {found}; so the column is treated as "
                "text: correct what is no number, or leave its cell empty"
            )
            verdict += Verdict.of("warning", "not-all-numbers", text)
        alike = [_alike(values) for values in _sets_alike(texts)]
        if alike:
            text = f"{_listed(alike, len(alike), '; ')}; they count as different values: write them alike"
            verdict += Verdict.of("warning", "values-alike", f"{column}: {text}")
    return verdict


def _not_numbers(texts: dict[str, int], *, comma: bool) -> frozenset[str]:
    """The values that make a column text which is numbers for the most part; none of any other column."""
    numbers = numbers_among(texts, comma=comma)
    count, total = sum(texts[text] for text in numbers), sum(texts.values())
    others = frozenset(texts.keys() - numbers)
    if count < _FEWEST_NUMBERS or count < _MOSTLY * total or all(map(is_digits, others)):
        return frozenset()
    return others


def _places_of(
    texts: Collection[str],
    column: str,
    cases: Sequence[ManifestCase],
    lines: Sequence[int | None],
    numbering: Numbering,
) -> str:
    at = [n for n, case in enumerate(cases) if case.columns.get(column) in texts]
    told = [
        f"{numbering.place(lines[n]) or cases[n].case_id} has {_quoted(str(cases[n].columns[column]))}"
        for n in at[:_MOST_LISTED]
    ]
    return _listed(told, len(at), ", ")


def _sets_alike(texts: Collection[str]) -> list[list[str]]:
    """Texts that are the same but for case and the space around them, in the order of the source."""
    sets: defaultdict[str, list[str]] = defaultdict(list)
    for text in texts:
        sets[text.strip().casefold()].append(text)
    return [alike for alike in sets.values() if len(alike) > 1]


def _alike(values: Sequence[str]) -> str:
    ways = {
        "upper and lower case": {value.strip() for value in values},
        "spaces around them": {value.casefold() for value in values},
    }
    *most, last = map(_quoted, values)
    differing = " and in ".join(way for way, left in ways.items() if len(left) > 1)
    return f"{', '.join(most)} and {last} differ only in {differing}"


def _listed(told: Sequence[str], count: int, separator: str) -> str:
    more = f" and {count - _MOST_LISTED} more" if count > _MOST_LISTED else ""
    return separator.join(told[:_MOST_LISTED]) + more


def _quoted(value: str) -> str:
    return repr(value if len(value) <= _LONGEST_TOLD else f"{value[: _LONGEST_TOLD - 3]}...")
