"""What only a process of its own can show: start-up, exit codes, signals, stderr and stdout apart."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import medseg
from medseg.cli.app import main

MEDSEG = [sys.executable, "-m", "medseg"]


def run(*arguments: str, **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*MEDSEG, *arguments], capture_output=True, text=True, check=False, **options)


@pytest.mark.parametrize("arguments", [["--help"], ["infer", "--help"], ["train", "--help"], ["--version"]])
def test_help_loads_no_array_library(arguments: list[str]) -> None:
    code = (
        "import sys; from medseg.cli.app import main; code = main(sys.argv[1:]);"
        "heavy = {'numpy', 'scipy', 'yaml', 'torch', 'monai', 'nibabel', 'SimpleITK', 'openvino'};"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules); sys.exit(code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "medseg" in done.stdout


@pytest.mark.parametrize(
    "command",
    ["infer", "inspect", "convert", "plan", "train", "evaluate", "doctor", "model list", "model info"],
)
def test_every_command_shows_examples(command: str) -> None:
    done = run(*command.split(), "--help", env={**os.environ, "COLUMNS": "120"})
    assert done.returncode == 0
    assert f"medseg {command}" in done.stdout.split("Example", 1)[1]


def test_lone_medseg_shows_its_help() -> None:
    done = run()
    assert done.returncode == 2
    assert "Commands" in done.stdout
    assert done.stderr == ""


def test_version_is_the_packages() -> None:
    assert run("--version").stdout.strip() == f"medseg {medseg.__version__}"


def test_nan_never_reaches_json() -> None:
    code = "from medseg.cli.console import print_json; print_json({'dice': float('nan')})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert done.stdout == ""


def test_a_bug_ends_in_a_traceback_and_a_plea_to_report_it() -> None:
    code = (
        "import sys, medseg; from medseg.cli.app import main\n"
        "def broken(*a, **k): raise RuntimeError('the tyre is flat')\n"
        "medseg.inspect = broken\n"
        "sys.exit(main(['inspect', 'scan.nii.gz']))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert "the tyre is flat" in done.stderr
    assert "report" in done.stderr.splitlines()[-1]
    assert done.stdout == ""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT to send to one process")
def test_interrupt_exits_130_and_leaves_no_output(scan: Path, model: Path) -> None:
    """Ctrl-C in the middle of the work: the progress callback says when that is."""
    code = (
        "import signal, sys, time; from medseg.cli.app import main\n"
        "from medseg.inference.backends.openvino import OpenVinoBackend\n"
        # A job in the background of a script starts with SIGINT ignored, and its children inherit that.
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "def slow(*a, **k): print('predicting', file=sys.stderr, flush=True); time.sleep(300)\n"
        "OpenVinoBackend.__call__ = slow\n"
        "sys.exit(main(sys.argv[1:]))"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, "infer", str(scan), "-m", str(model), "--device", "cpu"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    assert process.stderr.readline().strip() == "predicting"
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 130
    assert err.strip().endswith("medseg: error: interrupted")
    assert out == ""
    assert not scan.with_name("scan_seg.nii.gz").exists()


def test_what_libraries_print_does_not_reach_stdout(scan: Path, model: Path) -> None:
    code = (
        "import sys, medseg.pipeline; from medseg.cli.app import main\n"
        "real = medseg.pipeline.infer_files\n"
        "def chatty(*a, **k): print('a library says hello'); return real(*a, **k)\n"
        "medseg.pipeline.infer_files = chatty\n"
        "sys.exit(main(sys.argv[1:]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "infer", str(scan), "-m", str(model), "--json"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(done.stdout)["cases"]
    assert "a library says hello" in done.stderr


def test_long_work_says_how_long_it_will_take(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    from medseg.cli.progress import working

    now = 0.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    with working(quiet=False) as progress:
        for done in range(5):
            progress("cases", done, 5)
            progress("predict", 6, 12)
            now += 3.0
            progress("predict", 12, 12)
            now += 3.0
    # 6 windows in 3 s, over and over, and the first ones before the clock began.
    assert capfd.readouterr().err.splitlines() == [
        "cases: 2 of 5, 1.5 windows/s, about 18 s left",
        "cases: 4 of 5, 1.75 windows/s, about 6 s left",
    ]


def test_a_long_case_says_its_windows_per_second_and_the_time_left(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    from medseg.cli.progress import working

    now = 0.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    with working(quiet=False) as progress:
        progress("cases", 0, 1)
        for done in range(1, 7):
            progress("predict", done, 6)
            now += 4.0
    assert capfd.readouterr().err.splitlines() == [
        "predict: 4 of 6, 0.25 windows/s, about 8 s left",
        "predict: 6 of 6, 0.25 windows/s",
    ]


def test_a_case_that_takes_minutes_says_every_half_minute_how_far_it_is(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    from medseg.cli.progress import working

    now = 0.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    with working(quiet=False) as progress:
        progress("cases", 3, 30)
        for done in range(1, 9):
            progress("predict", done, 8)
            now += 10.0
    assert capfd.readouterr().err.splitlines() == [
        "cases: 3 of 30, 0.1 windows/s, working (predict 4 of 8 windows)",
        "cases: 3 of 30, 0.1 windows/s, working (predict 7 of 8 windows)",
    ]


def test_on_a_terminal_the_bar_of_a_long_first_case_is_below_that_of_the_cases(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from medseg.cli.progress import working

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stderr", Terminal())
    now = 0.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    with working(quiet=False) as progress:
        progress("cases", 0, 5)  # too early for a display
        now += 60.0
        progress("predict", 40, 108)
    shown = sys.stderr.getvalue()
    assert "0/5" in shown
    assert shown.index("0/5") < shown.index("40/108")


def test_quiet_says_nothing(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    from medseg.cli.progress import working

    now = 0.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    with working(quiet=True) as progress:
        for done in range(5):
            progress("cases", done, 5)
            now += 60.0
    assert capfd.readouterr().err == ""


def test_a_line_that_does_not_parse_names_its_own_help_and_where_outputs_go(
    capfd: pytest.CaptureFixture[str],
) -> None:
    assert main(["data", "import", "source", "target"]) == 2
    assert "where to write is given with -o (see `medseg data import --help`)" in capfd.readouterr().err
    assert main(["infer", "--fooo", "scan.nii"]) == 2
    said = capfd.readouterr().err
    assert "--fooo (see `medseg infer --help`)" in said
    assert "where to write" not in said
