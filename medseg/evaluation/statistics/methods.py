"""A methods paragraph that can be pasted into a paper."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

from medseg.errors import UsageError
from medseg.evaluation.statistics.results import LeftOut, to_plain
from medseg.evaluation.statistics.wording import joined


@dataclass(frozen=True, slots=True)
class StudyFacts:
    """What a study was made with and of.

    Attributes
    ----------
    cases, analysed
        Given, and used. Every other case is counted once in ``failed`` or ``excluded``.
    failed, excluded
        Cases without a result, and cases set aside by decision, each by reason.
    model, model_sha256
        Name of the model and the hash of its bundle.
    versions
        (package, version); see `software_versions`.
    parameters
        (name, value) of the segmentation's settings, as the paper should print them.
    definitions
        One sentence per measure: ``"Surface Dice is the share of both surfaces, by area, within 1 mm."``
    analyses
        One sentence per analysis: the ``methods_text`` of the statistics' results.
    """

    cases: int
    analysed: int
    model: str
    model_sha256: str
    versions: tuple[tuple[str, str], ...]
    failed: tuple[LeftOut, ...] = ()
    excluded: tuple[LeftOut, ...] = ()
    parameters: tuple[tuple[str, str], ...] = ()
    definitions: tuple[str, ...] = ()
    analyses: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        apart = _total(self.failed) + _total(self.excluded)
        if min(self.cases, self.analysed) < 0 or self.analysed + apart != self.cases:
            raise UsageError(
                f"{self.cases} cases, {self.analysed} analysed, {_total(self.failed)} failed, "
                f"{_total(self.excluded)} excluded: expected the three to add up to all cases"
            )

    def to_json(self) -> dict[str, Any]:
        """Plain values, by the names above."""
        plain: dict[str, Any] = to_plain(self)
        return plain


def methods_paragraph(facts: StudyFacts) -> str:
    """The facts as one paragraph: model and settings, cases, definitions, analyses, versions.

    Pure text of what is given; repeated sentences are written once.
    """
    settings = joined(f"{name}: {value}" for name, value in facts.parameters)
    sentences = [
        f"Structures were segmented with the model {facts.model} (SHA-256 {facts.model_sha256})"
        + (f" with these settings: {settings}." if settings else "."),
        f"Of {_cases(facts.cases)}, {facts.analysed} {_were(facts.analysed)} analysed"
        + _apart(facts.failed, "could not be processed", "no case failed")
        + _apart(facts.excluded, f"{_were(_total(facts.excluded))} excluded", "none was excluded")
        + ".",
        *dict.fromkeys(facts.definitions),
        *dict.fromkeys(facts.analyses),
        f"Software: {joined(f'{name} {number}' for name, number in facts.versions)}.",
    ]
    return " ".join(sentences)


def software_versions(
    packages: Sequence[str] = ("numpy", "scipy", "pandas", "statsmodels"),
) -> tuple[tuple[str, str], ...]:
    """Versions of medseg, Python, and the packages that are installed here.

    Raises
    ------
    importlib.metadata.PackageNotFoundError
        One of the packages is not installed.
    """
    return (
        ("medseg", version("medseg")),
        ("Python", platform.python_version()),
        *((name, version(name)) for name in packages),
    )


def _apart(found: tuple[LeftOut, ...], what: str, none: str) -> str:
    if not found:
        return f"; {none}"
    return f"; {_total(found)} {what} ({', '.join(f'{one.reason}: {one.n}' for one in found)})"


def _total(found: tuple[LeftOut, ...]) -> int:
    return sum(one.n for one in found)


def _cases(n: int) -> str:
    return f"{n} case{'' if n == 1 else 's'}"


def _were(n: int) -> str:
    return "was" if n == 1 else "were"
