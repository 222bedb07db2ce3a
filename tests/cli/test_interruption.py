"""Ctrl-C: one JSON document where one was asked for, and a word on how to go on."""

from __future__ import annotations

import json
from typing import Any

import pytest

from medseg.cli.app import main


@pytest.mark.parametrize("as_json", [False, True])
def test_ctrl_c_says_that_nothing_is_lost(
    as_json: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*inputs: Any, **options: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("medseg.pipeline.infer_files", interrupted)
    code = main(["infer", "scan.nii.gz", *(["--json"] if as_json else [])])
    printed = capsys.readouterr()
    assert code == 130
    assert "the same command does the rest" in printed.err
    if as_json:
        document = json.loads(printed.out)
        assert document["exit_code"] == 130
        assert document["reasons"][0]["code"] == "interrupted"
    else:
        assert printed.out == ""
