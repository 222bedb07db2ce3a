"""Many cases: in order, in processes, past broken ones, in flat memory; nothing half-written."""

from __future__ import annotations

import gc
import itertools
import os
import signal
import subprocess
import sys
import time
import tracemalloc

import nibabel as nib
import numpy as np
import pytest

import medseg
from medseg.evaluation import CaseScores, Settings, evaluate_pairs
from medseg.evaluation.stream import _in_processes


def _save(path, seed=0, shape=(9, 12, 7)):
    data = np.random.default_rng(seed).integers(0, 3, shape).astype(np.uint8)
    nib.save(nib.Nifti1Image(data, np.diag((0.8, 1.1, 2.5, 1))), path)
    return path


@pytest.fixture
def folders(tmp_path):
    """Seven good pairs, a broken file, one on another grid, and one without a reference between them."""
    pred, ref = tmp_path / "pred", tmp_path / "ref"
    pred.mkdir(), ref.mkdir()
    for n in range(7):
        _save(pred / f"c{n}_seg.nii.gz", n), _save(ref / f"c{n}.nii.gz", n + 50)
    (pred / "c2b_seg.nii.gz").write_bytes((pred / "c2_seg.nii.gz").read_bytes()[:60])
    _save(ref / "c2b.nii.gz")
    _save(pred / "c4b_seg.nii.gz", shape=(9, 12, 8)), _save(ref / "c4b.nii.gz")
    _save(pred / "c5b_seg.nii.gz")
    return pred, ref


def test_two_processes_give_the_table_and_the_document_of_one(folders, tmp_path):
    found = []
    for workers in (1, 2):
        out = tmp_path / f"{workers}.csv"
        evaluation = medseg.evaluate(*folders, metrics=["all"], workers=workers, out=out)
        assert evaluation.to_csv(tmp_path / "again.csv").read_bytes() == out.read_bytes()
        found.append((out.read_bytes(), evaluation.to_json()))
    assert found[0] == found[1]
    cases = {case["case"]: case["verdict"] for case in found[0][1]["cases"]}
    assert list(cases) == ["c0", "c1", "c2", "c2b", "c3", "c4", "c4b", "c5", "c5b", "c6"]
    assert [case for case, verdict in cases.items() if verdict == "refused"] == ["c2b", "c4b", "c5b"]


def test_without_keeping_cases_the_summary_is_the_same_and_refusals_stay(folders):
    kept, dropped = (medseg.evaluate(*folders, keep_cases=keep) for keep in (True, False))
    assert dropped.summary == kept.summary
    assert [case.case for case in dropped.cases] == ["c2b", "c4b", "c5b"]


def test_pairs_are_taken_as_they_are_needed_and_a_missing_file_costs_its_own_case(tmp_path):
    a, b = _save(tmp_path / "a.nii", 1), _save(tmp_path / "b.nii", 2)
    endless = ((f"case{n}", a, b if n != 1 else tmp_path / "gone.nii") for n in itertools.count())
    first = list(itertools.islice(evaluate_pairs(endless), 3))
    assert [(case.case, case.verdict.status) for case in first] == [
        ("case0", "ok"), ("case1", "refused"), ("case2", "ok")
    ]  # fmt: skip
    assert "gone.nii" in first[1].verdict.reasons[0].message
    assert next(endless)[0] == "case3"


def test_memory_does_not_grow_with_the_number_of_cases(tmp_path):
    a, b = _save(tmp_path / "a.nii", 1), _save(tmp_path / "b.nii", 2)
    cases = evaluate_pairs(((str(n), a, b) for n in itertools.count()), Settings.parse(["dice", "lesions"]))
    tracemalloc.start()
    try:
        held = []
        for number in (15, 40):
            for _ in itertools.islice(cases, number):
                pass
            gc.collect()
            held.append(tracemalloc.get_traced_memory()[0])
    finally:
        tracemalloc.stop()
    assert held[1] - held[0] < 20_000  # forty cases that were kept would be five times that


def _dies_at_case_4(case, predicted, reference):
    if case == "4":
        os._exit(9)
    return CaseScores(case, ())


def test_a_process_that_is_killed_costs_its_own_case_only(tmp_path):
    pairs = [(str(n), tmp_path, tmp_path) for n in range(9)]
    found = list(_in_processes(pairs, _dies_at_case_4, workers=2))
    assert [case.case for case in found] == [str(n) for n in range(9)]
    assert {case.case: case.verdict.codes for case in found if case.verdict.reasons} == {
        "4": ("worker-died",)
    }


def test_settings_and_scores_reach_the_processes(tmp_path):
    a, b = _save(tmp_path / "a.nii", 1), _save(tmp_path / "b.nii", 2)
    settings = Settings.parse(["hausdorff"], {"hausdorff": "voxels"})
    one, other = (
        list(
            evaluate_pairs([("x", a, b)], settings, labels=medseg.LabelSet.from_names({2: "two"}), workers=n)
        )
        for n in (1, 2)
    )
    assert one == other
    assert [label.name for label in one[0].labels] == ["two"]


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_ctrl_c_leaves_nothing_behind(tmp_path):
    for name in ("pred", "ref"):
        (tmp_path / name).mkdir()
    a, b = _save(tmp_path / "pred/0.nii", 1, (60, 61, 62)), _save(tmp_path / "ref/0.nii", 2, (60, 61, 62))
    for n in range(1, 200):
        (tmp_path / f"pred/{n}.nii").hardlink_to(a), (tmp_path / f"ref/{n}.nii").hardlink_to(b)
    command = [sys.executable, "-m", "medseg", "evaluate", "pred", "ref", "-o", "m.csv", "--workers", "2"]
    process = subprocess.Popen(
        command, cwd=tmp_path, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    until = time.monotonic() + 60
    while not list(tmp_path.glob(".m.csv.*")) and time.monotonic() < until:
        time.sleep(0.05)
    time.sleep(1.0)
    os.killpg(process.pid, signal.SIGINT)  # as the terminal does: to the processes as well
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert said.strip() == "medseg: error: interrupted"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["pred", "ref"]
