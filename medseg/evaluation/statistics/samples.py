"""Values of cases, some missing, to the arrays that are analysed and the count of what was left out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from math import ceil, log10
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from medseg.errors import UsageError
from medseg.evaluation.statistics.results import Counts, LeftOut

if TYPE_CHECKING:
    import pandas as pd

    Values: TypeAlias = pd.Series[Any] | Sequence[float | None] | NDArray[np.floating]
Reasons: TypeAlias = Mapping[Hashable, str]

# Below five cases no rank test or resampling can speak of 95 %: the smallest p of four pairs is 1/8.
FEWEST = 5


def column(values: Values, what: str) -> pd.Series[Any]:
    """The values as a float64 column indexed by case id (a Series' own index, else the position).

    None, NaN and pandas' NA are missing. Infinity, text and repeated case ids are refused.
    """
    import pandas as pd

    series = values if isinstance(values, pd.Series) else pd.Series(_one_axis(values, what), dtype=object)
    if not series.index.is_unique:
        again = series.index[series.index.duplicated()].unique()
        raise UsageError(
            f"{what}: case ids repeat ({listed(again)}); expected one value per case: take one label's rows, "
            "or the mean over each case's labels"
        )
    try:
        numbers = pd.to_numeric(series).astype("Float64").astype("float64")
    except (TypeError, ValueError) as error:
        raise UsageError(f"{what}: expected numbers or missing values; {error}") from error
    infinite = numbers.index[np.isinf(numbers.to_numpy())]
    if len(infinite):
        raise UsageError(
            f"{what}: infinite in {listed(infinite)}; expected finite numbers: "
            "leave such a value missing, with a reason"
        )
    return numbers


def sample(values: Values, reasons: Reasons | None, what: str) -> tuple[NDArray[np.float64], Counts]:
    """The values that are there, in the order given, and the count of the others.

    Parameters
    ----------
    values
        One per case, None or NaN where missing; a Series' index holds the case ids, else positions do.
    reasons
        Why a case has no value, by case id; others are counted as ``"no <what>"``.
    what
        What the values are, for messages.

    Raises
    ------
    UsageError
        Fewer than five values are there.
    """
    series = column(values, what)
    missing = series.index[series.isna()]
    counts = count(len(series), [(reasons or {}).get(case, f"no {what}") for case in missing])
    refuse_few(counts, what)
    return series.dropna().to_numpy(), counts


def pairs(
    a: Values, b: Values, names: tuple[str, str], reasons: Reasons | None
) -> tuple[NDArray[np.float64], NDArray[np.float64], Counts]:
    """The values of two raters or models on the cases that both have, in the order of ``a``.

    Two Series are paired on their indices, which hold case ids; two other sequences by position, of one
    length. The count speaks of all cases of either; a case without ``reasons`` is counted under what it
    lacks: ``"not in <name>"`` if there is no row, ``"no value of <name>"`` if the value is missing.

    Raises
    ------
    UsageError
        One is a Series and the other is not, the lengths differ, or fewer than five cases pair up.
    """
    import pandas as pd

    if isinstance(a, pd.Series) != isinstance(b, pd.Series):
        raise UsageError(
            f"{names[0]} and {names[1]}: one has case ids and the other has none; expected two pandas Series "
            "indexed by case id, or two plain sequences in the same order"
        )
    x, y = column(a, names[0]), column(b, names[1])
    if not isinstance(a, pd.Series) and len(x) != len(y):
        raise UsageError(
            f"{names[0]} has {len(x)} values, {names[1]} has {len(y)}: expected one per case from both, in "
            "the same order; give pandas Series indexed by case id to pair cases that only some have"
        )
    rows = x.index, y.index
    cases = x.index.append(y.index.difference(x.index, sort=False))
    x, y = x.reindex(cases), y.reindex(cases)
    lacks_x = set(cases[x.isna()])
    left_out = []
    for case in cases[x.isna() | y.isna()]:
        one = 0 if case in lacks_x else 1
        how = f"no value of {names[one]}" if case in rows[one] else f"not in {names[one]}"
        left_out.append((reasons or {}).get(case, how))
    both = x.notna() & y.notna()
    counts = count(len(cases), left_out)
    refuse_few(counts, f"pairs of {names[0]} and {names[1]}")
    return x[both].to_numpy(), y[both].to_numpy(), counts


def difference(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """a - b to twelve digits of the largest value.

    What comes after them is the rounding of decimal numbers: in binary 0.3 - 0.2 is not 0.2 - 0.1, which
    would break ties and make constant differences vary.
    """
    largest = float(np.abs(np.concatenate([a, b])).max())
    return np.round(a - b, 12 - ceil(log10(largest))) if largest else a - b


def count(given: int, left_out: Sequence[str]) -> Counts:
    """Counts from one reason per case left out; the most frequent reason first, ties by name."""
    found = sorted(Counter(left_out).items(), key=lambda item: (-item[1], item[0]))
    return Counts(given, given - len(left_out), tuple(LeftOut(*one) for one in found))


def refuse_few(counts: Counts, what: str, fewest: int = FEWEST) -> None:
    """Refuse an analysis of too few cases."""
    if counts.used < fewest:
        raise UsageError(
            f"{what}: {counts.used} remain of {counts.given}{counts.text}; expected {fewest} or more: "
            "add cases, or report the values themselves"
        )


def listed(items: Iterable[object], most: int = 5) -> str:
    """The first few, by name, and how many more there are."""
    every = [str(item) for item in items]
    return ", ".join(every[:most]) + (f" and {len(every) - most} more" if len(every) > most else "")


def _one_axis(values: Any, what: str) -> list[Any]:
    array = np.asarray(values, dtype=object)
    if array.ndim != 1:
        raise UsageError(f"{what} of shape {array.shape}: expected one value per case")
    return list(array)
