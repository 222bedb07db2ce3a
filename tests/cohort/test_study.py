"""What is made of a study that was run: scores, report, status."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nibabel
import numpy as np
import pandas as pd
import pytest
from scipy import stats

import medseg
from medseg.cli.app import main
from medseg.errors import NotFound, UsageError
from tests.cohort.studies import InProcess, expected_labels, save_scan, write_manifest
from tests.threshold_model import OFFSETS, save_threshold_model, threshold_plan

CASES = 10


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> medseg.Study:
    """Ten cases in two groups, references that are the right answer moved by a voxel, and a cut file."""
    folder = tmp_path_factory.mktemp("cohort")
    rows = []
    for n in range(CASES):
        scan = save_scan(folder / f"s{n}.nii.gz", n)
        shifted = np.roll(expected_labels(scan), 1, 0).astype(np.uint8)
        nibabel.save(nibabel.Nifti1Image(shifted, nibabel.load(scan).affine), folder / f"r{n}.nii.gz")
        row = {"case_id": f"c{n}", "image": scan.name, "reference": f"r{n}.nii.gz", "group": "ab"[n % 2]}
        rows.append({**row, "age": 50 + n * n % 7})
    (folder / "cut.nii.gz").write_bytes((folder / "s0.nii.gz").read_bytes()[:2000])
    rows.append({"case_id": "cut", "image": "cut.nii.gz", "reference": "r0.nii.gz", "group": "a", "age": 51})
    write_manifest(folder / "cases.csv", rows)
    model = save_threshold_model(folder / "model").path
    # Another model of the same structures: the inner one begins higher.
    other = save_threshold_model(
        folder / "other", threshold_plan(name="other"), offsets=OFFSETS - np.array([0, 0, 0.2], np.float32)
    ).path
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("medseg.cohort.run.open_executor", InProcess)
        medseg.run_cohort(folder / "cases.csv", other, folder / "second", pictures=False)
        return medseg.run_cohort(folder / "cases.csv", model, folder / "study")


def _dice(a: np.ndarray, b: np.ndarray) -> float:
    return 2 * np.count_nonzero(a & b) / (np.count_nonzero(a) + np.count_nonzero(b))


def _wide(table: pd.DataFrame) -> pd.DataFrame:
    """Volumes, a row per case that has them and a column per label."""
    return table[table.kind == "label"].pivot(index="case_id", columns="label", values="volume_ml")


def test_scores_against_the_references_of_the_manifest(study: medseg.Study) -> None:
    evaluation = study.evaluate(metrics=["dice", "volume_error"])
    table = pd.read_csv(study.path / "evaluation.csv").set_index("case")
    for n in range(CASES):
        labels = expected_labels(study.path.parent / f"s{n}.nii.gz")
        for label, dice in zip(table.label_id[f"c{n}"], table.dice[f"c{n}"], strict=True):
            assert dice == pytest.approx(_dice(labels == label, np.roll(labels, 1, 0) == label))
    assert table.verdict["cut"] == "failed no-segmentation"
    assert [case.case for case in evaluation.cases][-1] == "cut"
    assert evaluation.summary[0]["dice"]["n"] == CASES


def test_the_command_scores_a_study_and_exits_with_4_for_what_failed(
    study: medseg.Study, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", str(study.path), "--json", "--metrics", "dice"]) == 4
    told = capsys.readouterr().out
    assert len(json.loads(told)["cases"]) == CASES + 1
    assert str(study.path.parent) not in told


def test_the_page_holds_the_statistics_of_scipy(study: medseg.Study) -> None:
    study.evaluate()
    page = study.report(group="group", covariates=["age"], compare=study.path.parent / "second").read_text()
    assert page.count("<h1") == 1
    text = re.sub(r"<[^>]+>", "|", page)
    volumes = _wide(study.table())
    others = _wide(medseg.open_study(study.path.parent / "second").table())
    for label in ("inner", "outer"):
        assert f"{volumes[label].mean():.4g}" in text
        assert f"{stats.wilcoxon(volumes[label], others[label]).pvalue:.4g}" in text
    assert "no-segmentation" not in text
    assert "truncated" in text
    assert "10 were analysed; 1 could not be processed (truncated: 1)" in text
    assert text.count("could not be") >= 1


def test_a_column_that_is_not_there_is_named_with_those_that_are(study: medseg.Study) -> None:
    with pytest.raises(UsageError, match=r"no column 'sex'; its groups and covariates are: group, age"):
        study.report(group="sex")


def test_status_in_numbers_and_words(study: medseg.Study, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cohort", "status", str(study.path), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    counts = {key: document[key] for key in ("total", "done", "failed", "pending", "running")}
    assert counts == {"total": 11, "done": 10, "failed": 1, "pending": 0, "running": 0}
    assert document["failures"][0]["case_id"] == "cut"
    assert document["failures"][0]["reason"]["code"] == "truncated"
    assert main(["cohort", "status", str(study.path)]) == 0
    assert "10 of 11 cases done, 1 failed" in capsys.readouterr().out


def test_pandas_reads_a_study(study: medseg.Study) -> None:
    assert pd.DataFrame.from_arrow(study).equals(study.table())


def test_a_folder_without_a_ledger_is_no_study(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no study"):
        medseg.open_study(tmp_path)
    (tmp_path / "ledger.sqlite").write_text("something else, and long enough to be no empty data base")
    with pytest.raises(medseg.InputRefused, match="no ledger of a study"):
        medseg.open_study(tmp_path)


def test_a_study_runs_by_the_command_with_its_exit_code(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("medseg.cohort.run.open_executor", InProcess)
    (tmp_path / "a.nii.gz").write_text("no image" * 99)
    shutil.copy(tmp_path / "a.nii.gz", tmp_path / "b.nii.gz")
    rows = [{"case_id": name, "image": f"{name}.nii.gz"} for name in "ab"]
    command = ["cohort", "run", str(write_manifest(tmp_path / "m.csv", rows)), "-m", str(model)]
    assert main([*command, "-o", str(tmp_path / "study"), "--quiet"]) == 3  # every case was refused
    assert "bad-header: 2" in capsys.readouterr().out
    save_scan(tmp_path / "b.nii.gz", 1)
    assert main([*command, "-o", str(tmp_path / "study"), "--quiet"]) == 4
    save_scan(tmp_path / "a.nii.gz", 2)
    assert main([*command, "-o", str(tmp_path / "study"), "--quiet"]) == 0
    assert main([*command[:3], "-m", "no such model", "-o", str(tmp_path / "other")]) == 2


def test_the_example_does_a_whole_study(study: medseg.Study, tmp_path: Path) -> None:
    example = Path(__file__).resolve().parents[2] / "docs" / "examples" / "cohort_study.py"
    assert len(example.read_text().splitlines()) < 40
    cohort = study.path.parent
    done = subprocess.run(
        [
            sys.executable,
            str(example),
            str(cohort / "cases.csv"),
            str(cohort / "model"),
            str(tmp_path / "study"),
        ],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "no result: cut truncated" in done.stdout
    assert "In 10 cases, volume_ml by group, adjusted for age" in done.stdout
    assert (tmp_path / "study" / "report.html").is_file()
