"""A patient named in every field of every format, and in every path, is met in nothing that a cohort writes.

The ledger alone holds paths. Outside CI: two minutes.

    python -m pytest tests/acceptance/test_canary_cohort.py -s
"""

from __future__ import annotations

import base64
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tests.acceptance.files.canary import FAMILY, GIVEN, leaks, leaks_bytes
from tests.acceptance.files.exposures import AS_NUMBERS, all_exposures
from tests.acceptance.files.seeds import Seed
from tests.acceptance.test_canary import _unpacked
from tests.cohort.studies import write_manifest
from tests.threshold_model import save_threshold_model, threshold_plan

ROOT = Path(__file__).resolve().parents[2]


def _medseg(*words: str | Path) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-m", "medseg.cli.app", *map(str, words)], cwd=ROOT, capture_output=True, text=True
    )
    return done.returncode, done.stdout + done.stderr


def _parted(content: bytes) -> tuple[bytes, bytes]:
    """Text without what it holds in base64, and that decoded: its letters would spell any shred by chance."""
    packed = re.findall(rb"[A-Za-z0-9+/]{200,}={0,2}", content)
    return re.sub(rb"[A-Za-z0-9+/]{200,}={0,2}", b" ", content), b" ".join(
        base64.b64decode(one[: len(one) // 4 * 4]) for one in packed
    )


def _row(number: int, seed: Seed, folder: Path) -> dict[str, object]:
    """A case under a path that names the patient as well, also as a file."""
    place = folder / f"{FAMILY} {GIVEN} {number}"
    seed.write(place)
    path = place / seed.target if seed.target else place
    if path.is_file() and seed.family in ("nifti", "nrrd", "mha") and len(seed.files) == 1:
        path = path.rename(path.with_name(f"{GIVEN}_{path.name}"))
    series = seed.options.get("series", "")
    return {"case_id": f"case-{number:04}", "image": path, "group": "ab"[number % 2], "series": series}


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A study of all exposures, and all that its commands printed."""
    folder = tmp_path_factory.mktemp("cohort")
    with tempfile.TemporaryDirectory() as made:
        seeds = [seed for seed in all_exposures(Path(made)) if AS_NUMBERS not in seed.name]
    rows = [_row(number, seed, folder / f"Archive of {FAMILY}") for number, seed in enumerate(seeds)]
    manifest = write_manifest(folder / "cases.csv", rows)
    model = save_threshold_model(folder / "model", threshold_plan(patch=(8, 8, 8))).path
    out = folder / "study"
    printed = ""
    for words in (
        ("cohort", "run", manifest, "-m", model, "-o", out),
        ("cohort", "run", manifest, "-m", model, "-o", out, "--json"),
        ("cohort", "status", out),
        ("cohort", "status", out, "--json"),
        ("cohort", "report", out, "--group", "group"),
    ):
        code, told = _medseg(*words)
        assert code in (0, 4), told[-3000:]
        printed += told
    return out, printed


def test_the_cohort_is_worth_the_search(study: tuple[Path, str]) -> None:
    done = list((study[0] / "segmentations").glob("*.nii.gz"))
    assert len(done) > 50
    assert "failed" in study[1]
    print(f"{len(done)} cases segmented; it printed {len(study[1])} characters")


def test_nothing_printed_names_the_patient(study: tuple[Path, str]) -> None:
    named = [line for line in study[1].splitlines() if leaks(line)]
    assert not named, named[:10]


def test_no_file_but_the_ledger_names_the_patient(study: tuple[Path, str]) -> None:
    searched = 0
    for file in study[0].rglob("*"):
        assert not leaks(file.name)
        if file.is_file() and file.name != "ledger.sqlite":
            text, packed = _parted(_unpacked(file.read_bytes()))
            assert not leaks_bytes(text), file.name
            assert not any(name.encode().lower() in packed.lower() for name in (FAMILY, GIVEN)), file.name
            searched += 1
    assert leaks_bytes((study[0] / "ledger.sqlite").read_bytes())  # the search does find what is there
    print(f"{searched} files searched")
