"""A patient named in every field of every format is met in no message, log, traceback or output.

Outside CI: some minutes. Names of labels (segments, structures) are data and stay where labels are kept; the
patient's are in none of them here, so that whatever is written may be searched whole.
"""

from __future__ import annotations

import contextlib
import gzip
import json
import logging
import os
import tempfile
import traceback
import warnings
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import medseg
from medseg.cli.app import main
from tests.acceptance.files.canary import leaks, leaks_bytes
from tests.acceptance.files.exposures import AS_LABELS, AS_NUMBERS, all_exposures
from tests.acceptance.files.seeds import Seed
from tests.threshold_model import save_threshold_model, threshold_plan

_TARGETS = ("out.nii.gz", "out.nii", "out.nrrd", "out.mha", "out.png", "out.tif", "out.seg.nrrd")


def _collect() -> list[Seed]:
    with tempfile.TemporaryDirectory() as folder:
        return all_exposures(Path(folder))


_EXPOSURES = _collect() if os.environ.get("PYTEST_VERSION") else []


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_threshold_model(tmp_path_factory.mktemp("model"), threshold_plan(patch=(8, 8, 8))).path


@contextlib.contextmanager
def _listening() -> Iterator[list[str]]:
    """Everything that is logged, at the lowest level, and every warning."""
    heard: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: heard.append(f"{record.name}: {record.getMessage()}")  # type: ignore[method-assign]
    root = logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            yield heard
        heard += [f"warning: {warning.message}" for warning in caught]
    finally:
        root.removeHandler(handler)
        root.setLevel(level)


def _told(call: Callable[[], Any]) -> list[str]:
    """What a call gives or raises, in every form that somebody may print."""
    try:
        found = call()
    except medseg.MedsegError as error:
        reasons = [f"{code} {message}" for code, message in getattr(error, "reasons", ())]
        return [str(error), repr(error), str(error.__dict__), traceback.format_exc(), *reasons]
    told = [repr(found.verdict)]
    if isinstance(found, medseg.Volume | medseg.LabelMap):
        return [*told, repr(found.source), repr(found.geometry)]
    return [*told, repr(found), json.dumps(found.to_json())]


def _unpacked(content: bytes) -> bytes:
    """The bytes of an output as they are, and with what is compressed in it inflated."""
    more = b""
    if content.startswith(b"\x1f\x8b"):
        more = gzip.decompress(content)
    elif content.startswith(b"NRRD") and b"\x1f\x8b" in content:
        more = zlib.decompress(content[content.index(b"\x1f\x8b") :], 47)
    return content + more


@pytest.mark.parametrize("exposure", _EXPOSURES, ids=lambda seed: f"{seed.family}: {seed.name} ({seed.verb})")
def test_nobody_hears_of_the_patient(
    exposure: Seed, tmp_path_factory: pytest.TempPathFactory, model: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path_factory.mktemp("case")  # tmp_path would bear the exposure's name
    scan, out = folder / "scan", folder / "out"
    exposure.write(scan)
    out.mkdir()
    path = scan / exposure.target if exposure.target else scan
    options = dict(exposure.options)
    if "scan" in options:
        options["scan"] = scan / options["scan"]
    series = [f"--series={options['series']}"] if "series" in options else []
    labels = ["--labels"] if exposure.verb == "read_labels" else []
    with _listening() as heard:
        told = _told(lambda: medseg.read(path, **{k: v for k, v in options.items() if k == "series"}))
        told += _told(lambda: medseg.read_labels(path, **options))
        told += _told(lambda: medseg.inspect(path))
        codes = [
            main(["inspect", str(path)]),
            main(["inspect", str(path), "--json"]),
            *(main(["convert", str(path), str(out / name), *series, *labels]) for name in _TARGETS),
            main(["convert", str(path), str(out / "json.nii"), "--json", *series, *labels]),
            main(["infer", str(path), "-m", str(model), "-o", str(out / "infer"), "--json", *series]),
            main(["infer", str(path), "-m", str(model), "-o", str(out / "talk"), *series]),
        ]
    printed = "".join(capfd.readouterr())
    assert 1 not in codes, f"exit code 1 is a bug: {printed[-3000:]}"
    for words in (*told, *heard, printed):
        assert not leaks(words), words[:2000]
    for file in out.rglob("*"):
        assert not leaks(file.name)
        if file.is_file() and AS_NUMBERS not in exposure.name and AS_LABELS not in exposure.name:
            assert not leaks_bytes(_unpacked(file.read_bytes())), file.name
