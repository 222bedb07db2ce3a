"""read_manifest of CSV, Parquet and JSON: values, and every problem at once with its line."""

from __future__ import annotations

import csv
import datetime
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from medseg.cohort import Manifest, ManifestCase, read_manifest, write_manifest
from medseg.errors import NotFound, UsageError

ROWS: list[dict[str, Any]] = [
    {
        "case_id": "007",
        "image": "scans/a, b.nii.gz",
        "age": 40.5,
        "site": "012",
        "note": 'says "well"\nor so',
    },
    {"case_id": "8", "image": "/data/8.nii.gz", "age": None, "site": "12", "note": "Müller's"},
    {"case_id": "Ä-9", "image": "~/9.nii.gz", "age": -1e-3, "site": None, "note": None},
]


def _save(path: Path, text: str | bytes) -> Path:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def _refusal(path: Path) -> list[str]:
    """The lines of the message, the first without the file's name."""
    with pytest.raises(UsageError) as refused:
        read_manifest(path)
    first, *lines = str(refused.value).split("\n")
    assert first.startswith(path.name)
    return [first, *(line.strip() for line in lines)]


def _check(found: Manifest, folder: Path) -> None:
    assert [case.case_id for case in found.cases] == ["007", "8", "Ä-9"]
    paths = [case.images for case in found.cases]
    assert paths[0] == (("", folder / "scans" / "a, b.nii.gz"),)
    assert paths[1] == (("", Path("/data/8.nii.gz")),)
    assert paths[2] == (("", Path.home() / "9.nii.gz"),)
    assert found.columns == ("age", "site", "note")
    for case, row in zip(found.cases, ROWS, strict=True):
        assert dict(case.columns) == {name: row[name] for name in found.columns}
        assert {type(v) for v in case.columns.values()} <= {str, float, type(None)}
        assert case.reference is None
        assert case.series is None


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize("ending", ["\n", "\r\n"])
def test_every_kind_of_csv_gives_the_same_cases(
    tmp_path: Path, delimiter: str, encoding: str, ending: str
) -> None:
    path = tmp_path / "cases.csv"
    with path.open("w", encoding=encoding, newline="") as file:
        rows = csv.DictWriter(file, list(ROWS[0]), delimiter=delimiter, lineterminator=ending)
        rows.writeheader()
        rows.writerows(ROWS)
    _check(read_manifest(path), tmp_path)


def test_parquet_and_json_give_the_same_cases(tmp_path: Path) -> None:
    frame = pd.DataFrame(ROWS).set_index("case_id").reset_index().astype({"site": "category"})
    frame.to_parquet(tmp_path / "cases.parquet")
    _check(read_manifest(tmp_path / "cases.parquet"), tmp_path)
    for name, document in (("list.json", ROWS), ("object.json", {"cases": ROWS})):
        (tmp_path / name).write_text(json.dumps(document))
        _check(read_manifest(tmp_path / name), tmp_path)


def test_a_csv_column_is_numbers_only_where_all_of_it_is(tmp_path: Path) -> None:
    columns = {
        "whole": (["1", " 2 ", "NA"], [1.0, 2.0, None]),
        "signed": (["-.5", "+1e3", "NaN"], [-0.5, 1000.0, None]),
        "code": (["007", "8", "9"], ["007", "8", "9"]),
        "date": (["2020-01-02", "2021-03-04", ""], ["2020-01-02", "2021-03-04", None]),
        "endless": (["1", "inf", "2"], ["1", "inf", "2"]),
        "beyond": (["1", "1e999", "2"], ["1", "1e999", "2"]),
        "long": (["12345678901234567", "1", "2"], ["12345678901234567", "1", "2"]),
        "python": (["1_000", "0x10", "1"], ["1_000", "0x10", "1"]),
        "none": (["", "null", "n/a"], [None, None, None]),
    }
    lines = [",".join(["case_id", "image", *columns])]
    lines += [",".join([f"c{n}", f"{n}.nii", *(cells[n] for cells, _ in columns.values())]) for n in range(3)]
    found = read_manifest(_save(tmp_path / "cases.csv", "\n".join(lines)))
    for name, (_, expected) in columns.items():
        assert [case.columns[name] for case in found.cases] == expected, name


def test_decimal_commas_are_numbers_where_semicolons_separate(tmp_path: Path) -> None:
    text = "sep=;\ncase_id;image;age;mixed\na;x;40,5;1,5\nb;y;39;1.5\n"
    found = read_manifest(_save(tmp_path / "cases.csv", text))
    assert [case.columns["age"] for case in found.cases] == [40.5, 39.0]
    assert [case.columns["mixed"] for case in found.cases] == ["1,5", "1.5"]


def test_types_of_parquet_are_respected(tmp_path: Path) -> None:
    frame = pd.DataFrame(
        {
            "case_id": [1, 2],
            "image": ["a.nii", "b.nii"],
            "digits": ["1", "2"],
            "whole": pd.array([3, None], dtype="Int64"),
            "truth": [True, False],
            "day": [datetime.date(2020, 1, 2), None],
            "huge": np.array([2**53 + 1, 1]),
            "small": np.array([0.5, np.nan], np.float32),
        }
    )
    frame.to_parquet(tmp_path / "cases.parquet")
    found = read_manifest(tmp_path / "cases.parquet")
    assert [case.case_id for case in found.cases] == ["1", "2"]
    assert dict(found.cases[0].columns) == {
        "digits": "1",
        "whole": 3.0,
        "truth": "true",
        "day": "2020-01-02",
        "huge": "9007199254740993",
        "small": 0.5,
    }
    assert [found.cases[1].columns[name] for name in ("whole", "day", "small")] == [None, None, None]


def test_channels_references_and_series_are_taken_from_their_columns(tmp_path: Path) -> None:
    text = (
        "image_t1,case_id,series,reference,image_flair\nt.nii,a,1.2.3,labels/a.nii.gz,../f.nii\nb,b,,NA,c\n"
    )
    path = _save(tmp_path / "cases.csv", text)
    first, second = read_manifest(path).cases
    assert first.images == (("t1", tmp_path / "t.nii"), ("flair", tmp_path / ".." / "f.nii"))
    assert first.reference == tmp_path / "labels" / "a.nii.gz"
    assert (first.series, second.series, second.reference) == ("1.2.3", None, None)


def test_every_problem_of_a_csv_is_listed_with_its_physical_line(tmp_path: Path) -> None:
    text = (
        "case_id,image,reference,label,note\n"
        'a,a.nii,,,"two\nlines"\n'
        ",,,,\n"
        "A,b.nii,b.nii,,\n"  # line 5
        "a,NA,,,\n"
        "b:c,d.nii,,,\n"
        "e,f.nii,\n"  # line 8
        "con.x,g.nii,,,\n"
        "\u0061\u0308,h.nii,,,\n"
        "\u00e4,i.nii,x/../i.nii,,\n"
    )
    first, *lines = _refusal(_save(tmp_path / "cases.csv", text))
    assert "10 problems" in first
    expected = [
        "column 'label' has the name of one that medseg writes",
        "line 5: case_id 'A' and 'a' on line 2 differ only",
        "line 5: image and reference are one file",
        "line 6: image is empty",
        "line 6: case_id 'a' is there already on line 2",
        "line 7: case_id 'b:c': it holds ':'",
        "line 8: 3 cells, the header has 5",
        "line 9: case_id 'con.x': Windows keeps",
        "line 11: image and reference are one file",
        "line 11: case_id 'ä' and 'a\u0308' on line 10 differ only",
    ]
    for beginning in expected:
        assert any(line.startswith(beginning) for line in lines), (beginning, lines)
    numbers = [int(line.split()[1][:-1]) for line in lines if line.startswith("line ")]
    assert numbers == sorted(numbers)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "no column case_id; there is: none"),
        ("case_id,image\n", "no cases"),
        ("Case_ID,picture\na,b\n", "no column case_id; there is: 'Case_ID', 'picture'"),
        ("case_id,image,image_t1\na,b,c\n", "columns image and image_t1"),
        ("case_id,image_\na,b\n", "column image_ lacks the channel's name"),
        ("case_id,image,x,x\na,b,1,2\n", "column 'x' is there more than once"),
        ("case_id,image,\na,b,c\n", "column 3 has no name"),
        ("case_id,image_a,image_b\na,./x,x\n", "line 2: image_a and image_b are one file"),
        ("case_id,image,reference\na,x/b,{folder}/x/../x/b\n", "line 2: image and reference are one file"),
        ("case_id,image,State\na,b,c\n", "column 'State' has the name"),
        ("case_id,image_t1,image_flair,Intensity_Mean_FLAIR\na,b,c,1\n", "column 'Intensity_Mean_FLAIR' has"),
        ('case_id,image\na,"b\nc,d\n', "line 2: no CSV from here on"),
        ("case_id,image\na,~nobody of that name/b\n", "line 2: image begins with ~, and there is no"),
        ("case_id,image\na,b\0c\n", "line 2: image holds a NUL character"),
        (b"case_id,image\na,b\nM\xfcller,c\n", "line 3: not UTF-8"),
        ("case_id,image\n a,b\n", "line 2: case_id ' a': it begins or ends with a space"),
        (f"case_id,image\n{'x' * 121},b\n", "line 2: case_id 'x"),
    ],
)
def test_what_is_wrong_with_a_csv_is_named(tmp_path: Path, text: str | bytes, expected: str) -> None:
    if isinstance(text, str):
        text = text.replace("{folder}", str(tmp_path))
    assert any(line.startswith(expected) for line in _refusal(_save(tmp_path / "cases.csv", text)))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[", "line 1: not JSON"),
        ("{}", "expected a list of objects"),
        ('[{"case_id": "a", "image": "b"}, 3]', "cases[1]: expected an object"),
        ('[{"case_id": "a"}, {"case_id": "b", "image": "c"}]', "cases[0]: image is empty"),
        ('[{"case_id": "a", "image": "b", "x": [1]}]', "cases[0]: 'x' holds a list"),
        ('[{"case_id": "a", "image": "b", "x": Infinity}]', "cases[0]: 'x' is infinite"),
        ('[{"case_id": "\\ud800", "image": "b"}]', "cases[0]: case_id '\\ud800': it holds bytes"),
        ('[{"case_id": "a", "image": "b", "x": ' + "9" * 5000 + "}]", "nested or numbers longer"),
        ("[" * 100_000, "nested or numbers longer"),
    ],
)
def test_what_is_wrong_with_a_json_is_named(tmp_path: Path, text: str, expected: str) -> None:
    assert expected in "\n".join(_refusal(_save(tmp_path / "cases.json", text)))


def test_what_is_wrong_with_a_parquet_is_named_by_row(tmp_path: Path) -> None:
    frame = pd.DataFrame({"case_id": ["a", "a"], "image": ["b", None], "x": [1.0, np.inf], "y": [[1], [2]]})
    frame.to_parquet(tmp_path / "cases.parquet")
    lines = _refusal(tmp_path / "cases.parquet")
    for text in ("column 'y' is of type list", "row 2: 'x' is infinite", "row 2: image is empty"):
        assert any(line.startswith(text) for line in lines), lines
    whole = (tmp_path / "cases.parquet").read_bytes()
    assert "cannot be read as Parquet" in _refusal(_save(tmp_path / "cut.parquet", whole[:-20]))[0]


def test_fifty_problems_are_shown_and_the_others_counted(tmp_path: Path) -> None:
    text = "case_id,image\n" + "".join(f"a/{n},x{n}\n" for n in range(70))
    lines = _refusal(_save(tmp_path / "cases.csv", text))
    assert "70 problems" in lines[0]
    assert len(lines) == 52
    assert lines[-1] == "and 20 more"


def test_no_problem_quotes_a_path_or_a_covariate(tmp_path: Path) -> None:
    rows = ["a,/data/Canary.nii,/data/Canary.nii,Canary", "a,~Canary/x,Canary", 'a?,Canary,Canary,"Canary']
    text = "case_id,image,reference,note\n" + "\n".join(rows)
    assert not re.search("Canary", "\n".join(_refusal(_save(tmp_path / "cases.csv", text))))


def test_some_missing_files_and_repeated_ones_are_no_problem(tmp_path: Path) -> None:
    _save(tmp_path / "there", "not read")
    text = "case_id,image\na,not there\nb,not there\nc,there\n"
    found = read_manifest(_save(tmp_path / "cases.csv", text))
    assert len(found.cases) == 3
    assert found.verdict.status == "ok"


def test_mixed_modalities_are_a_warning(tmp_path: Path) -> None:
    text = "case_id,image,Modality\na,b,MR\nc,d,mri\ne,f,CT\ng,h,\n"
    _save(tmp_path / "h", "not read")
    verdict = read_manifest(_save(tmp_path / "cases.csv", text)).verdict
    assert verdict.codes == ("mixed-modalities",)
    assert verdict.reasons[0].message.endswith("MR (2), CT (1)")
    assert read_manifest(_save(tmp_path / "cases.csv", text.replace("CT", "MR"))).verdict.status == "ok"


def test_sources_that_are_no_table_are_refused(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        read_manifest(tmp_path / "none.csv")
    with pytest.raises(UsageError, match=r"expected a table"):
        read_manifest(_save(tmp_path / "cases.xlsx", "PK"))


def test_a_written_manifest_reads_back_as_it_was(tmp_path: Path) -> None:
    cases = tuple(
        ManifestCase(
            f"c{n}",
            (("t1", tmp_path / f"~scan, {n}.nii"), ("flair", Path("/else where") / f'"{n}".nii')),
            None if n else tmp_path / "labels" / "ä.nii.gz",
            {"age": 0.1 + n if n else None, "group": 'a "b";\nc' if n else None},
            "1.2.3#1" if n else None,
        )
        for n in range(3)
    )
    manifest = Manifest(cases, ("age", "group"))
    path = write_manifest(manifest, tmp_path / "cases.csv")
    found = read_manifest(path)
    assert (found.cases, found.columns) == (manifest.cases, manifest.columns)
    with pytest.raises(UsageError, match="overwrite=True"):
        write_manifest(manifest, path)
    assert write_manifest(manifest, path, overwrite=True) == path
