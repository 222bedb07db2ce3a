"""Bombs: refused by name, under 512 MB with all child processes, within 5 seconds.

Outside CI: about two minutes. Linux only: peaks of memory are read from /proc.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.acceptance.files import bombs_archives, bombs_dicom, bombs_grids, bombs_pictures
from tests.acceptance.files.bombs import BOMBS, LABELS, MAY_BE_READ
from tests.acceptance.files.watched import Watched

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="peaks of memory are read from /proc")

_MAKERS = (bombs_grids, bombs_pictures, bombs_dicom, bombs_archives)  # importing them fills BOMBS
LIMIT_S = 5.0
MEMORY_LIMIT = 512 << 20
_START_S = 60.0


@pytest.mark.parametrize("name", BOMBS)
def test_bomb_is_refused_within_5_seconds_and_512_megabytes(name: str, tmp_path: Path) -> None:
    place = tmp_path / "bomb"
    place.mkdir()
    path = BOMBS[name](place)
    verbs = ("read", "read_labels") if name in LABELS else ("read",)
    subject = Watched("tests.acceptance.files.subject", tmp_path / "scratch", MEMORY_LIMIT)
    try:
        for verb in verbs:
            question = {"path": str(path), "verb": verb, "options": {}, "result": str(tmp_path / "result")}
            answer = subject.ask(question, _START_S)
            allowed = ("refused", "accepted") if name in MAY_BE_READ else ("refused",)
            assert answer["outcome"] in allowed, answer
            assert answer["message"] or answer["outcome"] == "accepted"
            assert answer["seconds"] < LIMIT_S, answer
            assert not answer["litter"], answer
            assert not answer["leak"], answer
            print(f"{verb} {answer['code']} {answer['seconds']:.2f} s {subject.peak >> 20} MB")
    finally:
        subject.close()
