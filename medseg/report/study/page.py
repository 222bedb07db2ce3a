"""What stands on the page of a study. Plain values: nothing here knows how a study is run or stored."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from medseg.verdict import OK, Verdict

Value = str | float | int | bool | None


@dataclass(frozen=True, slots=True)
class Measure:
    """One thing that is measured of every label.

    Parameters
    ----------
    name
        As it is spelled in `StudyCase.labels` (``"volume_ml"``).
    title
        As people read it (``"Volume"``).
    unit
        ``"mL"``; empty where there is none.
    description
        A sentence for people who have not read the code.
    """

    name: str
    title: str
    unit: str = ""
    description: str = ""

    @property
    def heading(self) -> str:
        """The title with its unit: ``Volume (mL)``."""
        return f"{self.title} ({self.unit})" if self.unit else self.title


@dataclass(frozen=True, slots=True)
class StudyCase:
    """One case of the study, done, refused or failed.

    Parameters
    ----------
    case_id
        What the case is called in the study. Unique; any text.
    verdict
        Its status and the named reasons.
    columns
        Group and covariates by name; None is missing. A column whose values are all numbers is
        shown as numbers, any other as text.
    labels
        By the label's name and the measure's name: the value, None where it is missing.
    score
        How good the segmentation is, 1 at best: estimated, or Dice against a reference. None if
        nobody knows; such a case is ranked by its verdict.
    picture
        A PNG or JPEG. It may be missing, which the page states. Pictures that are not embedded are
        linked, so they must lie in the page's folder or below it.
    """

    case_id: str
    verdict: Verdict = OK
    columns: Mapping[str, Value] = field(default_factory=dict)
    labels: Mapping[str, Mapping[str, float | None]] = field(default_factory=dict)
    score: float | None = None
    picture: Path | None = None


@dataclass(frozen=True, slots=True)
class StudyTable:
    """A table of results that is shown as it is given.

    Parameters
    ----------
    title
        Its heading.
    columns
        The columns' headings; the first column heads each row.
    rows
        As many values as there are columns, in each. Numbers are shown with 4 significant digits,
        text as it is, None as a dash.
    note
        What a reader must know to read it: test, correction, numbers of missing values.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Value]]
    note: str = ""

    def __post_init__(self) -> None:
        for n, row in enumerate(self.rows):
            if len(row) != len(self.columns):
                raise ValueError(
                    f"table {self.title!r}, row {n}: {len(row)} values, expected {len(self.columns)}"
                )


@dataclass(frozen=True, slots=True)
class Estimate:
    """A number and its 95 % confidence interval, None where that is unknown."""

    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True)
class Agreement:
    """Two measurements of the same cases, for a Bland-Altman plot.

    Parameters
    ----------
    title
        What is compared, unique on the page (``"Volume, left hippocampus"``).
    unit
        Of both measurements and of their difference.
    first, second
        What the measurements are called (``"medseg"``, ``"reference"``). Differences are first
        minus second.
    pairs
        ``(case_id, a, b)``, finite; a case that lacks one of them is left out.
    bias, lower, upper
        The mean difference and the limits of agreement.
    """

    title: str
    unit: str
    first: str
    second: str
    pairs: Sequence[tuple[str, float, float]]
    bias: Estimate
    lower: Estimate
    upper: Estimate


@dataclass(frozen=True, slots=True)
class Counts:
    """How many cases a study has, and how far it has come."""

    total: int
    done: int
    failed: int
    pending: int = 0


@dataclass(frozen=True, slots=True)
class StudyPage:
    """All that is shown of a study.

    Parameters
    ----------
    title
        Heading and title of the page.
    created
        When the page was made; its time zone is shown where it has one.
    counts
        Refused cases count as failed: they have no segmentation.
    cases
        Read once, from first to last; a generator keeps memory low. Worst cases are found by
        `write_study_page`, in whatever order they come.
    labels
        Names of the structures in the order in which they are offered. A case may lack some.
    measures
        What is measured of each, the most important first: where a page would grow too large, the
        last ones are left out, which the page states.
    facts
        Short facts for the summary by name: model, its hash, backend, version of medseg.
    methods
        The paragraph for a paper, plain text; blank lines part paragraphs.
    warnings
        What a reader must know before anything else.
    groups
        Names of columns that cases are grouped and filtered by, the default first.
    score_name
        What `StudyCase.score` is: ``"Estimated Dice"``, ``"Dice against the reference"``.
    comparisons, agreements
        Tables of statistics; pairs of measurements for Bland-Altman plots.
    """

    title: str
    created: datetime
    counts: Counts
    cases: Iterable[StudyCase]
    labels: Sequence[str] = ()
    measures: Sequence[Measure] = ()
    facts: Mapping[str, str] = field(default_factory=dict)
    methods: str = ""
    warnings: Sequence[str] = ()
    groups: Sequence[str] = ()
    score_name: str = "Score"
    comparisons: Sequence[StudyTable] = ()
    agreements: Sequence[Agreement] = ()

    def __post_init__(self) -> None:
        names = {
            "label": self.labels,
            "measure": [measure.name for measure in self.measures],
            "agreement": [agreement.title for agreement in self.agreements],
        }
        for what, given in names.items():
            repeated = sorted(name for name, count in Counter(given).items() if count > 1)
            if repeated:
                raise ValueError(f"{what} {repeated[:5]} appears more than once, expected unique names")
