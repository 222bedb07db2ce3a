"""What read_manifest warns of in a table that can be used, but perhaps is not what was meant."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import pandas as pd
import pytest

from medseg.cohort import read_manifest


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with an image, so that nothing is said of missing ones."""
    (tmp_path / "0.nii").write_bytes(b"not read")
    return tmp_path


def _table(folder: Path, delimiter: str = ",", **columns: Sequence[str]) -> Path:
    path = folder / "cases.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file, delimiter=delimiter)
        rows.writerow(["case_id", "image", *columns])
        rows.writerows(
            [f"c{n}", f"{n}.nii", *cells] for n, cells in enumerate(zip(*columns.values(), strict=True))
        )
    return path


def _told(path: Path) -> list[tuple[str, str]]:
    return [(reason.code, reason.message) for reason in read_manifest(path).verdict.reasons]


def test_the_value_that_keeps_a_column_from_being_numbers_is_named_with_its_line(folder: Path) -> None:
    ages = [str(40 + n) for n in range(31)]
    ages[3:5] = ["6O", "NA"]
    path = _table(folder, age=ages)
    ((code, message),) = _told(path)
    assert code == "not-all-numbers"
    assert message.startswith(
        "age: 29 of 30 values are numbers; line 5 has '6O'; so the column is treated as"
    )
    assert {type(case.columns["age"]) for case in read_manifest(path).cases} == {str, type(None)}


@pytest.mark.parametrize(
    ("cells", "warned"),
    [
        (["1", "2", "3", "4", "x"], True),  # 80 % exactly
        (["1", "2", "3", "x"], False),
        (["1", "2", "x"], False),
        (["1.5", "2.5", "3", "4", "inf"], True),
        (["1", "2", "3", "4", "5"], False),
        (["8", "9", "10", "11", "007"], False),  # identifiers
        (["8", "9", "10", "11", "12345678901234567"], False),
        (["", "NA", "1", "2", "3"], False),
        (["1", "2", "3", "", "x"], False),  # 3 of 4
    ],
)
def test_columns_are_numbers_for_the_most_part_from_80_percent_and_three_on(
    folder: Path, cells: list[str], warned: bool
) -> None:
    assert [code for code, _ in _told(_table(folder, x=cells))] == ["not-all-numbers"] * warned


def test_decimal_commas_count_as_numbers_where_semicolons_separate(folder: Path) -> None:
    cells = ["40,5", "39,1", "41", "50,0", "n. a."]
    ((_, message),) = _told(_table(folder, ";", age=cells))
    assert message.startswith("age: 4 of 5 values are numbers; line 6 has 'n. a.'")
    assert _told(_table(folder, ",", age=cells)) == []


def test_the_first_lines_are_named_and_long_values_shortened(folder: Path) -> None:
    cells = [*map(str, range(20)), "Canary's remark, long and private", "-", "?", "?", "?"]
    ((_, message),) = _told(_table(folder, x=cells))
    assert "line 22 has \"Canary's remark, long...\", line 23 has '-', line 24 has '?' and 2 more;" in message


def test_values_that_differ_in_case_are_named(folder: Path) -> None:
    group = ["Control", "control", "patient", " control ", ""]
    ((code, message),) = _told(_table(folder, group=group, sex=["F", "M", "F", "M", ""]))
    assert code == "values-alike"
    assert message.startswith("group: 'Control' and 'control' differ only in upper and lower case;")


def test_values_that_differ_in_spaces_are_named_where_a_source_keeps_them(folder: Path) -> None:
    rows = [
        {"case_id": f"c{n}", "image": f"{n}.nii", "site": site, "group": group}
        for n, (site, group) in enumerate([("A", "x"), ("A ", "X "), ("B", "y")])
    ]
    (folder / "cases.json").write_text(json.dumps(rows))
    pd.DataFrame(rows).to_parquet(folder / "cases.parquet")
    for name in ("cases.json", "cases.parquet"):
        (_, site), (_, group) = _told(folder / name)
        assert "'A' and 'A ' differ only in spaces around them;" in site
        assert "'x' and 'X ' differ only in upper and lower case and in spaces around them;" in group


@pytest.mark.parametrize("there", [True, False])
def test_only_a_table_without_any_image_is_told_of(tmp_path: Path, there: bool) -> None:
    text = "case_id,image_t1,image_flair\na,scans/a.nii,scans/b.nii\nb,c.nii,dicom\n"
    (tmp_path / "cases.csv").write_text(text)
    (tmp_path / "scans").mkdir()
    if there:
        (tmp_path / "dicom").mkdir()  # a folder is an image too
        assert _told(tmp_path / "cases.csv") == []
    else:
        ((code, message),) = _told(tmp_path / "cases.csv")
        assert code == "no-image-found"
        assert message.startswith("none of the images (4) is there: are their paths relative to the table's")
        assert str(tmp_path) not in message


def test_no_more_images_are_looked_for_than_needed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def counted(function: Callable[[str], bool]) -> Callable[[str], bool]:
        def ask(path: str) -> bool:
            asked.append(str(path))
            return function(path)

        return ask

    found = _table(folder, x=["1"] * 100)
    lost = folder / "elsewhere.csv"
    lost.write_text("case_id,image\n" + "".join(f"c{n},scans/{n}.nii\n" for n in range(100)))
    for name in ("exists", "isdir"):
        monkeypatch.setattr(os.path, name, counted(getattr(os.path, name)))
    assert _told(found) == []
    assert [path for path in asked if path.endswith(".nii")] == [str(folder / "0.nii")]
    assert [code for code, _ in _told(lost)] == ["no-image-found"]
    assert [path for path in asked if "scans" in path] == [str(folder / "scans")]
