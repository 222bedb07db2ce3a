"""The benchmark of inference measures what it says it measures; its figures are not judged here."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import nibabel
import numpy as np
import pytest

from tests.threshold_model import expected_classes, save_threshold_model

SCRIPT = Path(__file__).resolve().parents[1] / "benchmarks" / "inference.py"


@pytest.fixture
def parts(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The package beside the script, importable as the script imports it."""
    monkeypatch.syspath_prepend(str(SCRIPT.parent))
    import inference_speed.child
    import inference_speed.report  # noqa: F401

    return sys.modules["inference_speed"]


def test_a_run_counts_windows_and_memory_of_its_own_process(parts: ModuleType, tmp_path: Path) -> None:
    save_threshold_model(tmp_path / "model")
    scan = np.random.default_rng(0).normal(size=(40, 24, 16)).astype(np.float32)
    nibabel.save(nibabel.Nifti1Image(scan, np.eye(4)), tmp_path / "scan.nii.gz")
    ballast = np.ones(100_000_000, np.uint8)  # of this process, not of the one that is measured
    found = parts.child.run(
        "ours",
        "case",
        bundle=str(tmp_path / "model"),
        scan=str(tmp_path / "scan.nii.gz"),
        out=str(tmp_path / "labels.nii.gz"),
    )
    assert found["windows"] == 4 * 3 * 3  # 16, 12 and 8 voxels in steps of half
    assert 0 < found["forward_s"] < found["segment_s"] < found["total_s"]
    assert 0 < found["write_s"] <= found["after_last_window_s"] < found["total_s"]
    own = int(Path("/proc/self/statm").read_text().split()[1]) * 4096 if Path("/proc").is_dir() else 10**12
    # The system counts in steps, so two peaks of one process may differ by a little.
    assert 30e6 < found["engine_peak_bytes"] <= found["peak_bytes"] + 1e6 < max(own, 3 * ballast.size)
    labels = np.asarray(nibabel.load(tmp_path / "labels.nii.gz").dataobj)
    np.testing.assert_array_equal(labels, np.array([0, 7, 255])[expected_classes(scan)])


def test_exponents_and_tables(parts: ModuleType) -> None:
    sizes = [8.0, 64.0, 512.0]
    assert parts.report.exponent(sizes, [3 * size**1.5 for size in sizes]) == pytest.approx(1.5)
    text = parts.report.table(["run", "s", "ratio"], [["a", 0.12345, None], ["b", 1234.5, 7]])
    assert text.splitlines() == [
        "| run | s | ratio |", "| --- | ---: | ---: |", "| a | 0.123 | – |", "| b | 1234 | 7 |"
    ]  # fmt: skip


def test_overhead_stands_beside_monais_and_gives_its_labels(tmp_path: Path) -> None:
    pytest.importorskip("monai")
    out = _run("overhead", "--backends", "openvino", folder=tmp_path)
    assert "| medseg: tiny" in out
    assert "nnU-Net is left out: --nnunet-python not given" in out
    [run] = json.loads((tmp_path / "out" / "overhead.jsonl").read_text())["runs"]
    assert run["windows"] == run["monai_windows"] == 8
    assert run["voxels_differing"] < 1e-3
    assert 0 < run["ours_inside_s"] < run["ours_s"]


def test_without_a_gpu_the_reason_is_printed(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    if torch.cuda.is_available():
        pytest.skip("this computer has a GPU")
    assert "Not measured: torch" in _run("gpu", folder=tmp_path)


def _run(*arguments: str, folder: Path) -> str:
    command = [sys.executable, str(SCRIPT), *arguments, "--quick"]
    command += ["--work", str(folder / "work"), "--out", str(folder / "out")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout
