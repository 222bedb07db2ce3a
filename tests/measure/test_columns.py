"""The data dictionary names every number that is measured, and the docs explain each."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from medseg.measure import measure_columns
from medseg.measure.columns import ONLY_2D
from tests.measure.structures import ball, described

PAGE = Path(__file__).parents[2] / "docs" / "measurements.md"


@pytest.mark.parametrize("is_2d", [False, True])
def test_values_stand_in_the_order_of_the_dictionary_and_are_of_their_kind(is_2d: bool) -> None:
    mask = ball((9, 8, 1 if is_2d else 7), 3.2)
    values = described(mask, scan=np.ones(mask.shape), is_2d=is_2d).values
    kinds = {column.name: column.kind for column in measure_columns()}
    assert list(values) == [name for name in kinds if is_2d or name not in ONLY_2D]
    types = {"number": float, "count": int, "truth": bool}
    for name, value in values.items():
        assert value is None or type(value) is types[kinds[name]], name


def test_names_occur_once_also_with_several_channels() -> None:
    names = [column.name for column in measure_columns(("t1", "t2", "flair"))]
    assert len(names) == len(set(names))


def test_the_page_about_measurements_explains_every_column_with_its_unit() -> None:
    rows = dict(re.findall(r"^\| `(\w+)` \|([^|]*)\|", PAGE.read_text(encoding="utf-8"), re.MULTILINE))
    assert {name: unit.strip() for name, unit in rows.items()} == {
        column.name: column.unit for column in measure_columns()
    }
