"""Each label's numbers over cases, counted up as cases come."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from statistics import fmean, median, stdev
from typing import Any

from medseg.evaluation.cases import CaseScores
from medseg.evaluation.settings import Settings


class Tally:
    """Keeps the numbers of each label, and nothing else, of any number of cases."""

    def __init__(self, settings: Settings) -> None:
        self._fields = settings.fields
        self._values: dict[tuple[int, str], dict[str, array[float]]] = {}

    def add(self, case: CaseScores) -> None:
        """Count a case; one without labels changes nothing."""
        for label in case.labels:
            key = (label.id, label.name)
            if key not in self._values:
                self._values[key] = {name: array("d") for name in self._fields}
            for name, values in self._values[key].items():
                value = getattr(label, name)
                if value is not None:
                    values.append(value)

    def rows(self) -> list[dict[str, Any]]:
        """For each label and number: n, mean, standard deviation (n - 1) and median over cases.

        Cases where the number is missing do not count in n. A statistic that n does not allow is None with a
        reason. Labels of one id under several names stay apart.
        """
        return [
            {"id": label_id, "name": name, **{field: _statistics(v) for field, v in numbers.items()}}
            for (label_id, name), numbers in sorted(self._values.items())
        ]


def _statistics(values: Sequence[float]) -> dict[str, Any]:
    if not values:
        reason = {"code": "no-case", "message": "no case has this number; each says why"}
        return {"n": 0, "mean": None, "std": None, "median": None, "reason": reason}
    numbers = {"n": len(values), "mean": fmean(values), "std": None, "median": median(values)}
    if len(values) == 1:
        return {**numbers, "reason": {"code": "one-case", "message": "one case has no spread"}}
    return {**numbers, "std": stdev(values)}
