"""Ctrl-C in `medseg infer` over many scans, at random instants: exit 130, whole files, and no others.

Outside CI: a few minutes. MEDSEG_INTERRUPTS sets the number of interrupts (default 40).
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import nibabel
import numpy as np
import pytest
import zarr

from tests.threshold_model import expected_classes, save_threshold_model, threshold_plan

pytestmark = pytest.mark.skipif(
    sys.platform == "win32", reason="Windows has no SIGINT to send to one process"
)

ROOT = Path(__file__).resolve().parents[2]
INTERRUPTS = int(os.environ.get("MEDSEG_INTERRUPTS", "40"))
IDS = np.array([0, 7, 255])
SCANS, SHAPE = 8, (60, 50, 40)
# A job in the background of a script starts with SIGINT ignored, and its children inherit that. From the
# line on that it prints, Ctrl-C is medseg's to deal with.
PROGRAM = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
from medseg.cli.app import main
import medseg.pipeline
print("begun", flush=True)
code = main(sys.argv[1:])
signal.signal(signal.SIGINT, signal.SIG_IGN)  # what remains is the interpreter's end, not medseg's
sys.exit(code)
"""


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> dict[Path, np.ndarray]:
    """Scans, and the labels that numpy finds in them."""
    folder = tmp_path_factory.mktemp("in")
    found = {}
    for number in range(SCANS):
        data = np.random.default_rng(number).gamma(2.0, 100.0, size=SHAPE).astype(np.int16)
        path = folder / f"scan{number:02}.nii.gz"
        nibabel.save(nibabel.Nifti1Image(data, np.diag([-0.8, -1.1, 2.0, 1.0])), path)
        found[path] = IDS[expected_classes(data)]
    return found


@pytest.mark.parametrize("times", [1, 2])
def test_interrupted_at_random_instants(tmp_path: Path, expected: dict[Path, np.ndarray], times: int) -> None:
    """Once: the case that is being written is finished. Twice: the file; its sidecar says "interrupted"."""
    model = save_threshold_model(tmp_path / "model", threshold_plan(patch=(24, 20, 16)))
    command = [sys.executable, "-c", PROGRAM, "infer", *map(str, expected), "-m", str(model.path), "--quiet"]
    command += ["--format", "nii.gz,nrrd", "--probabilities", "--preview", "-o"]

    process = _start([*command, str(tmp_path / "whole")])
    start = time.perf_counter()
    assert _finish(process) == 0
    duration = time.perf_counter() - start
    assert _check(tmp_path / "whole", expected) == Counter(ok=SCANS)

    draw = random.Random(4)
    done, codes, slowest = Counter(), Counter(), 0.0
    for number in range(INTERRUPTS // times):
        out = tmp_path / f"out{number}"
        process = _start([*command, str(out)])
        time.sleep(draw.uniform(0, duration))
        interrupted = time.perf_counter()
        for _ in range(times):
            process.send_signal(signal.SIGINT)
            time.sleep(0.02)
        out_text, err = process.communicate(timeout=60)
        slowest = max(slowest, time.perf_counter() - interrupted)
        codes[process.returncode] += 1
        assert process.returncode in (0, 130), err
        if process.returncode == 130:
            assert err.strip() == "medseg: error: interrupted"
            assert out_text == ""
        state = _check(out, expected)
        done[state["ok"]] += 1
        assert state["interrupted"] < times
        assert not _temporary(out)
        if number % 5 == 0:
            assert _finish(_start([*command, str(out)])) == 0
            assert _check(out, expected) == Counter(ok=SCANS)
            assert not _temporary(out)
    print(f"exit codes {dict(codes)}, cases done {sorted(done.items())}, slowest exit {slowest:.2f} s")
    assert codes[130] > codes[0]
    assert len(done) > 2, done
    assert slowest < 10


def _start(command: list[str]) -> subprocess.Popen[str]:
    """The program, at the moment from which on Ctrl-C is medseg's."""
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "begun\n"
    return process


def _finish(process: subprocess.Popen[str]) -> int:
    _, err = process.communicate(timeout=300)
    sys.stderr.write(err)
    return process.returncode


def _temporary(out: Path) -> list[str]:
    return [path.name for path in out.glob(".*")] if out.is_dir() else []


def _check(out: Path, expected: dict[Path, np.ndarray]) -> Counter[str]:
    """Every output under a final name is whole and right; counts what the sidecars say."""
    states: Counter[str] = Counter()
    for scan, labels in expected.items():
        stem = scan.name.removesuffix(".nii.gz")
        written = out / f"{stem}_seg.nii.gz"
        if written.exists():
            np.testing.assert_array_equal(np.asanyarray(nibabel.load(written).dataobj), labels)
        maps = out / f"{stem}_seg_maps.zarr"
        if maps.exists():
            shares = np.asarray(zarr.open_array(maps / "probabilities", mode="r"))
            np.testing.assert_allclose(shares.astype(np.float32).sum(axis=0), 1, atol=2e-3)
            sure = np.abs(np.diff(np.sort(shares, axis=0)[1:], axis=0)[0]) > 1e-2
            np.testing.assert_array_equal(IDS[shares.argmax(axis=0)][sure], labels[sure])
        sidecar = out / f"{stem}_seg.json"
        if not sidecar.exists():
            assert not written.exists()
            assert not maps.exists()
            continue
        case = json.loads(sidecar.read_text())
        if case["verdict"] == "ok":
            states["ok"] += 1
            for name in ("segmentation", "preview", "probabilities"):
                assert Path(case[name]).exists()
            assert all(Path(path).exists() for path in case["segmentations"])
        else:
            assert case["segmentation"] is None
            assert [reason["code"] for reason in case["reasons"]] == ["interrupted"]
            states["interrupted"] += 1
    return states
