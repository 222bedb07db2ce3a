"""What is missing is counted with its reason, what cannot be analysed is refused, and no result holds NaN."""

from __future__ import annotations

import json
from dataclasses import fields, is_dataclass

import numpy as np
import pandas as pd
import pytest

from medseg.errors import UsageError
from medseg.evaluation.statistics import (
    Counts,
    Interval,
    LeftOut,
    agreement,
    bootstrap,
    bootstrap_difference,
    compare_groups,
    compare_paired,
    holm,
)

VOLUMES = pd.Series([3.1, 2.9, None, 3.6, 2.4, np.nan, 3.9, 3.3, 2.8], index=[f"sub-{n}" for n in range(9)])


def test_missing_values_are_counted_by_the_reason_given_or_as_missing():
    found = bootstrap(VOLUMES, what="volume", reasons={"sub-2": "truncated file", "sub-0": "not missing"})
    assert found.counts == Counts(9, 7, (LeftOut("no volume", 1), LeftOut("truncated file", 1)))
    assert found.text.endswith("2 of 9 cases were left out (no volume: 1, truncated file: 1).")


@pytest.mark.parametrize("missing", [None, np.nan, pd.NA])
def test_every_way_of_writing_a_missing_value_is_one(missing):
    found = bootstrap([1.0, 2.0, missing, 4.0, 5.0, 7.0])
    assert (found.counts.used, found.value) == (5, 3.8)


def test_series_pair_on_case_id_whatever_their_order_and_what_does_not_pair_is_counted():
    a = VOLUMES
    b = (VOLUMES - 0.1).sample(frac=1, random_state=3)
    b = b.drop("sub-4").astype("Float64")
    b["sub-7"] = pd.NA
    b["sub-new"] = 3.0
    found = bootstrap_difference(a, b, names=("A", "B"), reasons={"sub-5": "empty segmentation"})
    assert found.value == pytest.approx(0.1)
    assert found.counts == Counts(
        10,
        5,
        (
            LeftOut("empty segmentation", 1),
            LeftOut("no value of A", 1),
            LeftOut("no value of B", 1),
            LeftOut("not in A", 1),
            LeftOut("not in B", 1),
        ),
    )


def test_plain_sequences_pair_by_position_and_must_be_as_long():
    assert bootstrap_difference([1, 2, 3, 4, None, 6], [0, 0, 0, 0, 0, 0]).counts.used == 5
    with pytest.raises(UsageError, match="6 values, b has 5"):
        bootstrap_difference([1, 2, 3, 4, 5, 6], [1, 2, 3, 4, 5])
    with pytest.raises(UsageError, match="one has case ids and the other has none"):
        bootstrap_difference(VOLUMES, list(VOLUMES))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([1.0, 2.0, 3.0, 4.0, np.inf, 5.0], "infinite in 4"),
        ([1.0, None, None, 2.0, 3.0, 4.0], "4 remain of 6"),
        ([1.0, "large", 2.0, 3.0, 4.0, 5.0], "expected numbers"),
        (pd.Series([1.0, 2.0, 3.0, 4.0, 5.0, 6.0], index=list("abcade")), r"case ids repeat \(a\)"),
        (np.ones((6, 2)), r"shape \(6, 2\)"),
    ],
)
def test_values_that_cannot_be_analysed_are_refused_by_name(values, message):
    with pytest.raises(UsageError, match=message):
        bootstrap(values)


def test_an_interval_has_two_finite_ends_or_a_reason():
    assert Interval.none(0.95, "too few").low is None
    for low, high, missing in ((None, 1.0, None), (0.0, float("nan"), None), (None, None, None), (0, 1, "x")):
        with pytest.raises(ValueError, match="two finite ends or a reason"):
            Interval(low, high, 0.95, missing)


def _everything():
    rng = np.random.default_rng(2)
    truth = rng.gamma(9.0, 0.4, 24)
    a, b = truth + rng.normal(0, 0.1, 24), truth + rng.normal(0.1, 0.2, 24)
    table = pd.DataFrame({"v": a, "g": np.repeat(["x", "y", "z"], 8), "age": rng.normal(70, 5, 24)})
    same = np.full(8, 2.5)
    return [
        bootstrap(a),
        bootstrap(same),
        bootstrap_difference(a, b, "median", method="percentile"),
        compare_paired(a, b),
        compare_paired(same, same),
        compare_paired(a[:5], b[:5]),
        agreement(a, b),
        agreement(a, a, icc="C,1", limits="approximate"),
        agreement(same, same),
        compare_groups(table, "v", "g", ["age"]),
        compare_groups(table[table["g"] != "z"], "v", "g", ["age"], errors="classical"),
        holm({"left": 0.01, "right": None, "both": 0.04}),
    ]


@pytest.mark.parametrize("result", _everything(), ids=lambda result: type(result).__name__)
def test_every_result_is_json_without_nan_and_says_itself_in_one_sentence(result):
    plain = result.to_json()
    assert json.loads(json.dumps(plain, allow_nan=False)) == plain
    for sentence in (result.text, getattr(result, "methods_text", result.text)):
        assert sentence.endswith(".")
        assert not {"nan", "None", "inf"} & set(sentence.replace("(", " ").split())
    assert is_dataclass(result)
    with pytest.raises(AttributeError):  # frozen
        setattr(result, fields(result)[0].name, "other")


@pytest.mark.parametrize("result", _everything(), ids=lambda result: type(result).__name__)
def test_what_is_none_has_a_reason_beside_it(result):
    def walk(plain):
        if isinstance(plain, list):
            for one in plain:
                walk(one)
        elif isinstance(plain, dict):
            absent = {key for key, value in plain.items() if value is None and "missing" not in key}
            reasons = [value for key, value in plain.items() if "missing" in key and value]
            assert bool(absent) <= bool(reasons), plain
            for one in plain.values():
                walk(one)

    walk(result.to_json())
