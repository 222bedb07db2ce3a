"""The file of a study's page: what it holds, in which order, and that no text of a study becomes markup."""

from __future__ import annotations

import base64
import hashlib
import math
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Context, Decimal
from urllib.parse import unquote

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medseg.report.study import Agreement, Counts, Estimate, Measure, StudyCase, StudyPage, StudyTable
from medseg.report.study import collect as collecting
from medseg.report.study.columns import pack_numbers
from medseg.report.study.payload import points_shown
from medseg.report.study.write import write_study_page
from medseg.verdict import Verdict
from tests.report.study_data import (
    HOSTILE,
    LABELS,
    MEASURES,
    PageReader,
    decoded_numbers,
    made_cases,
    made_page,
    png_bytes,
)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """The made study, the cases it was made of, and the page as read back; 30 pictures are embedded."""
    folder = tmp_path_factory.mktemp("study")
    path = write_study_page(made_page(folder), folder / "report.html", embedded_pictures=30)
    return made_cases(folder, 120), PageReader(path.read_text(encoding="utf-8")), path


def _plain(**changes):
    page = StudyPage("Study", datetime(2026, 1, 1, tzinfo=UTC), Counts(1, 1, 0), (StudyCase("a"),))
    return replace(page, **changes)


@given(st.lists(st.floats(allow_nan=True, allow_infinity=True)))
def test_numbers_keep_four_significant_digits(values):
    for value, found in zip(values, decoded_numbers(pack_numbers(values)), strict=True):
        if not math.isfinite(value) or abs(value) > 1e300:
            assert found is None
        elif abs(value) <= 1e-300:
            assert found == 0
        else:
            nearest = Context(prec=4).create_decimal(Decimal(value))
            assert abs(Decimal(found) - nearest) <= abs(nearest) * Decimal("1e-9") or (
                # half way between two decimals, where the last bit decides
                abs(abs(Decimal(value) - Decimal(found)) - abs(Decimal(value) - nearest))
                <= abs(Decimal(value)) * Decimal("1e-12")
            )


def test_every_value_of_every_case_is_in_the_page(written):
    cases, page, _ = written
    assert page.json("ids") == [case.case_id for case in cases]
    for i, label in enumerate(LABELS):
        for j, measure in enumerate(MEASURES):
            expected = [case.labels.get(label, {}).get(measure.name) for case in cases]
            found = page.numbers(f"value-{i}-{j}")
            assert [value is None for value in found] == [value is None for value in expected]
            for value, right in zip(found, expected, strict=True):
                assert right is None or value == pytest.approx(right, rel=5e-4)
    names = [column["name"] for column in page.study["columns"]]
    assert page.numbers(f"column-{names.index('age')}") == [case.columns["age"] for case in cases]
    texts, codes = page.json(f"column-{names.index('note')}")
    assert [texts[code] for code in codes] == [case.columns["note"] for case in cases]


def test_text_of_a_study_never_becomes_markup(written):
    _, page, path = written
    assert [attrs.get("type") for tag, attrs in page.tags if tag == "script" and "id" not in attrs] == [None]
    assert not [attrs for _, attrs in page.tags if any(name.startswith("on") for name in attrs)]
    assert not [tag for tag, attrs in page.tags if tag == "img" or "src" in attrs]
    assert "{{ 7 * 7 }}" in page.text
    for hostile in HOSTILE[:3]:
        assert hostile in page.text  # as it is, as text
        assert hostile not in path.read_text(encoding="utf-8")


def test_the_pages_policy_allows_its_own_script_and_style_and_no_request_but_for_pictures(written):
    _, page, _ = written
    [policy] = [a["content"] for _, a in page.tags if a.get("http-equiv") == "Content-Security-Policy"]
    rules = dict(rule.split(" ", 1) for rule in policy.split("; "))
    for rule, content in (("script-src", page.own_script), ("style-src", page.style)):
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert rules.pop(rule) == f"'sha256-{digest}'"
    assert rules == {
        "default-src": "'none'",
        "img-src": "'self' file: data:",
        "base-uri": "'none'",
        "form-action": "'none'",
    }


def test_cases_are_ranked_from_the_worst_to_the_best(written):
    cases, page, _ = written
    tiers = {"failed": 0, "refused": 1, "warning": 2, "repaired": 4, "ok": 5}

    def badness(n):
        case, status = cases[n], cases[n].verdict.status
        return (3, case.score, n) if case.score is not None and tiers[status] > 1 else (tiers[status], 0, n)

    order = sorted(range(len(cases)), key=badness)
    assert page.json("ranks") == [order.index(n) for n in range(len(cases))]


def test_the_worst_pictures_are_embedded_and_the_others_linked(written):
    cases, page, path = written
    ranks, links = page.json("ranks"), page.json("pictures")
    with_picture = [n for n, case in enumerate(cases) if case.picture and case.picture.is_file()]
    worst = sorted(with_picture, key=lambda n: ranks[n])[:30]
    embedded = {
        int(name[8:]): content for name, content in page.scripts.items() if name.startswith("picture-")
    }
    assert embedded.keys() == set(worst)
    for n, (kind, content) in embedded.items():
        assert (kind, base64.b64decode(content)) == ("image/png", png_bytes(n))
    for case, link in zip(cases, links, strict=True):
        assert (link is None) == (case.picture is None)
        assert link is None or path.parent / unquote(link) == case.picture
        assert link is None or not set(link) & set("#? \\")


def test_pictures_stop_being_embedded_where_they_would_make_the_page_too_large(tmp_path, monkeypatch):
    monkeypatch.setattr("medseg.report.study.payload.MOST_EMBEDDED_BYTES", 3 * len(png_bytes(0)) + 20)
    path = write_study_page(made_page(tmp_path), tmp_path / "report.html")
    page = PageReader(path.read_text(encoding="utf-8"))
    assert 1 <= sum(name.startswith("picture-") for name in page.scripts) <= 3


def test_reasons_are_counted_by_case(written):
    cases, page, _ = written
    reasons, places = page.json("reasons")
    for case, own in zip(cases, places, strict=True):
        expected = [[reason.code, reason.message] for reason in case.verdict.reasons]
        assert [reasons[n] for n in own] == expected
    counts = Counter((c.verdict.status, code) for c in cases for code in set(c.verdict.codes))
    shown = {(attrs["data-status"], attrs["data-code"]) for _, attrs in page.tags if "data-code" in attrs}
    assert shown == counts.keys()


def test_values_that_would_make_the_page_too_large_are_left_out_and_named(tmp_path, monkeypatch):
    monkeypatch.setattr(collecting, "MOST_NUMBERS", 120 * 3)
    path = write_study_page(made_page(tmp_path), tmp_path / "report.html")
    page = PageReader(path.read_text(encoding="utf-8"))
    assert [measure["name"] for measure in page.study["measures"]] == ["volume_ml"]
    assert "it leaves out mean intensity: the study's table has all values" in page.text


def test_points_far_from_the_bias_are_always_drawn():
    rng = np.random.default_rng(0)
    a = rng.normal(5, 1, 9000)
    b = a + rng.normal(0.1, 0.3, 9000)
    pairs = [(str(n), float(x), float(y)) for n, (x, y) in enumerate(zip(a, b, strict=True))]
    agreement = Agreement("v", "mL", "a", "b", pairs, Estimate(-0.1), Estimate(-0.7), Estimate(0.5))
    shown = points_shown(agreement)
    assert len(shown) == len(set(shown)) == 2000
    farthest = sorted(range(9000), key=lambda n: -abs(pairs[n][1] - pairs[n][2] + 0.1))[:200]
    assert set(farthest) <= set(shown)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"cases": (StudyCase("a"), StudyCase("b"), StudyCase("a"))}, "'a' appears twice"),
        ({"cases": (StudyCase("a", labels={"liver": {}}),)}, r"'a' has the label \['liver'\]"),
        (
            {"labels": ("liver",), "cases": (StudyCase("a", labels={"liver": {"volume": 1.0}}),)},
            r"'a' has the measure \['volume'\]",
        ),
    ],
)
def test_cases_that_contradict_the_page_are_refused_and_nothing_is_written(tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        write_study_page(_plain(**changes), tmp_path / "report.html")
    assert list(tmp_path.iterdir()) == []


def test_a_picture_outside_of_the_pages_folder_is_refused_without_naming_its_path(tmp_path):
    (tmp_path / "study").mkdir()
    picture = tmp_path / "secret name.png"
    page = _plain(cases=(StudyCase("a", picture=picture),))
    with pytest.raises(ValueError, match="'a': its picture is not below the folder") as caught:
        write_study_page(page, tmp_path / "study" / "report.html")
    assert "secret" not in str(caught.value)


def test_names_and_rows_must_fit_together():
    with pytest.raises(ValueError, match=r"label \['liver'\] appears more than once"):
        _plain(labels=("liver", "liver"))
    with pytest.raises(ValueError, match=r"measure \['v'\]"):
        _plain(measures=(Measure("v", "Volume"), Measure("v", "Vol")))
    with pytest.raises(ValueError, match="row 1: 1 values, expected 2"):
        StudyTable("T", ("a", "b"), ((1, 2), (3,)))


def test_a_study_of_failures_only_makes_a_page(tmp_path):
    case = StudyCase("lone \udcff", Verdict.of("failed", "unreadable", "surrogate \udcff"))
    path = write_study_page(_plain(counts=Counts(1, 0, 1), cases=(case,)), tmp_path / "report.html")
    page = PageReader(path.read_text(encoding="utf-8"))
    assert page.json("ids") == ["lone \udcff"]
    assert "surrogate" in page.text


def test_progress_is_told_and_may_cancel(tmp_path):
    told = []

    def progress(*arguments):
        told.append(arguments)
        if len(told) == 3:
            raise KeyboardInterrupt

    page = _plain(counts=Counts(5000, 5000, 0), cases=(StudyCase(str(n)) for n in range(5000)))
    with pytest.raises(KeyboardInterrupt):
        write_study_page(page, tmp_path / "report.html", progress=progress)
    assert told == [("cases", 0, 5000), ("cases", 1000, 5000), ("cases", 2000, 5000)]
    assert list(tmp_path.iterdir()) == []
