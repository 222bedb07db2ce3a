"""The design matrix of a group comparison: group means and centred covariates, or why it cannot be made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from medseg.errors import UsageError
from medseg.evaluation.statistics.results import Counts
from medseg.evaluation.statistics.samples import FEWEST, Reasons, column, count, listed, refuse_few

if TYPE_CHECKING:
    import pandas as pd

_FEWEST_FREE = 5  # residual degrees of freedom: below that t intervals are wide and HC3 errors unsteady
_SAME = 1e-7  # of a column's norm: what is left of it beyond the columns before it


@dataclass(frozen=True, slots=True)
class Design:
    """``response`` (n,) and ``matrix`` (n, groups + covariate columns) of the cases analysed.

    The first columns tell the groups apart, without an intercept; covariates are centred. So a group's
    coefficient is its mean at the mean of every covariate: its adjusted mean.
    """

    response: NDArray[np.float64]
    matrix: NDArray[np.float64]
    groups: tuple[str, ...]
    sizes: tuple[int, ...]
    covariates: tuple[str, ...]
    counts: Counts


def build_design(
    table: pd.DataFrame,
    value: str,
    group: str,
    covariates: Sequence[str],
    categorical: Sequence[str],
    case_id: str,
    reasons: Reasons | None,
) -> Design:
    """Leave out incomplete cases, code groups and covariates, and refuse what cannot be told apart.

    Parameters
    ----------
    table
        One row per case. Case ids are in the column ``case_id`` where there is one, else in the index.
    value, group, covariates, categorical
        Column names. A covariate is categorical if it is in ``categorical`` or not numeric (text, booleans,
        pandas' categories); the first level in order is the one that others are coded against.
    reasons
        Why a case has no value, by case id.

    Raises
    ------
    UsageError
        A column is absent or not numeric, case ids repeat, fewer than two groups or than five cases in one,
        a covariate is constant, has a level with a single case, follows from the columns before it, or too
        few cases are left for the number of columns.
    """
    names = (value, group, *covariates)
    absent = [name for name in (*names, *categorical) if name not in table.columns]
    if absent:
        raise UsageError(f"columns {listed(absent)} are absent; the table has {listed(table.columns, 20)}")
    again = {name for name in (case_id, *names) if (case_id, *names).count(name) > 1}
    again |= set(categorical) - set(covariates)
    if again:
        raise UsageError(
            f"{listed(sorted(again))}: expected value, group, each covariate and the case id to be "
            "different columns, and categorical to name covariates"
        )
    rows = table.set_index(case_id) if case_id in table.columns else table
    numbers = column(rows[value], value)
    lacks = np.column_stack([numbers.isna(), *(rows[name].isna() for name in names[1:])])
    complete: NDArray[np.bool_] = ~np.any(lacks, axis=1)
    first = lacks[~complete].argmax(axis=1)
    why = [
        (reasons or {}).get(case, f"no {names[place]}")
        for case, place in zip(rows.index[~complete], first, strict=True)
    ]
    counts = count(len(rows), why)
    refuse_few(counts, value)
    rows = rows.loc[complete]
    codes, groups, sizes = _groups(rows[group], group)
    blocks = {name: _columns(rows[name], name, name in categorical) for name in covariates}
    matrix = np.hstack([codes, *blocks.values()])
    _refuse_collinear(codes, blocks, group)
    free = len(rows) - matrix.shape[1]
    if free < _FEWEST_FREE:
        raise UsageError(
            f"{len(rows)} cases for {len(groups)} groups and {matrix.shape[1] - len(groups)} columns of "
            f"covariates leave {free} degrees of freedom; expected {_FEWEST_FREE} or more: "
            "drop covariates, merge levels, or add cases"
        )
    response = numbers[complete].to_numpy()
    if np.ptp(response) == 0:
        raise UsageError(f"{value} is {response[0]:g} in every case: there is no difference to analyse")
    return Design(response, matrix, groups, sizes, tuple(covariates), counts)


def _groups(
    values: pd.Series[Any], name: str
) -> tuple[NDArray[np.float64], tuple[str, ...], tuple[int, ...]]:
    levels = _levels(values)
    sizes = tuple(int((values == level).sum()) for level in levels)
    if len(levels) < 2:
        raise UsageError(
            f"{name}: only {listed(levels)} among the complete cases; expected two groups or more"
        )
    tiny = [f"{level} ({size})" for level, size in zip(levels, sizes, strict=True) if size < FEWEST]
    if tiny:
        raise UsageError(
            f"{name}: fewer than {FEWEST} complete cases in {listed(tiny)}: merge groups, leave such a "
            "group's rows out, or drop the covariates that its cases lack"
        )
    codes = np.column_stack([(values == level).to_numpy(np.float64) for level in levels])
    return codes, tuple(map(str, levels)), sizes


def _columns(values: pd.Series[Any], name: str, categorical: bool) -> NDArray[np.float64]:
    """A covariate as centred columns of unit variance: mm3 beside years would be ill conditioned."""
    from pandas.api.types import is_bool_dtype, is_numeric_dtype

    values = values.infer_objects()  # a column of numbers and None is of objects
    if categorical or is_bool_dtype(values) or not is_numeric_dtype(values):
        levels = _levels(values)
        single = [level for level in levels if (values == level).sum() == 1]
        if single and len(levels) > 1:
            raise UsageError(
                f"covariate {name}: a single case has {listed(single)}; its own coefficient would fit it "
                "exactly: merge levels, or leave the case out"
            )
        columns = [(values == level).to_numpy(np.float64) for level in levels[1:]]
    else:
        columns = [column(values, name).to_numpy()]
        levels = list(np.unique(columns[0])[:2])
    if len(levels) < 2:
        raise UsageError(
            f"covariate {name}: {levels[0]} in every complete case, so it explains nothing: drop it"
        )
    block = np.column_stack(columns)
    block = block - block.mean(axis=0)
    scaled: NDArray[np.float64] = block / block.std(axis=0)
    return scaled


def _levels(values: pd.Series[Any]) -> list[Any]:
    """The levels that occur, in the order of pandas' categories where there are some, else sorted."""
    import pandas as pd

    if isinstance(values.dtype, pd.CategoricalDtype):
        present = set(values.unique())
        return [level for level in values.dtype.categories if level in present]
    return sorted(values.unique(), key=lambda level: (str(type(level)), level))


def _refuse_collinear(codes: NDArray[np.float64], blocks: dict[str, NDArray[np.float64]], group: str) -> None:
    """Name the first covariate that the groups and the covariates before it determine."""
    before, known = codes / np.linalg.norm(codes, axis=0), [group]
    for name, block in blocks.items():
        for one in block.T / np.linalg.norm(block, axis=0)[:, None]:
            rest = one - before @ np.linalg.lstsq(before, one)[0]
            if np.linalg.norm(rest) < _SAME:
                raise UsageError(
                    f"covariate {name} is collinear: {' and '.join(known)} determine it, so its effect "
                    f"cannot be told from theirs: drop {name}, or what it repeats"
                )
            before = np.column_stack([before, one])
        known.append(name)
