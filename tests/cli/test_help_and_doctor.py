"""What help shows beside an option, and what doctor says of the viewer."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

from medseg.cli.app import main


@pytest.mark.parametrize("words", [[], ["infer"], ["doctor"], ["model"], ["model", "list"]])
def test_help_names_a_value_only_where_an_option_takes_one(
    words: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    main([*words, "--help"])
    shown = capfd.readouterr().out
    assert "--help" in shown
    assert "bool" not in shown
    if words == ["infer"]:
        assert "<int>" in shown  # of --threads
        assert "--no-skip-empty" in shown


def _without(monkeypatch: pytest.MonkeyPatch, *absent: str, instead: dict[str, str] | None = None) -> None:
    """Let some distributions be missing, and others be there."""
    version = metadata.version
    there = instead or {}

    def found(name: str) -> str:
        if name in absent:
            raise metadata.PackageNotFoundError(name)
        return there[name] if name in there else version(name)

    monkeypatch.setattr(metadata, "version", found)


def _doctor(capfd: pytest.CaptureFixture[str]) -> dict:
    assert main(["doctor", "--json"]) == 0
    return json.loads(capfd.readouterr().out)


def test_doctor_tells_of_napari_qt_and_the_plugin_without_importing_them() -> None:
    pytest.importorskip("qtpy")
    code = (
        "import json, sys; from medseg.cli.viewer import viewer; found = viewer(); "
        "names = {'napari', 'qtpy', 'PyQt6', 'npe2', 'napari_medseg'}; "
        "print(json.dumps([found, sorted(names & set(sys.modules))]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    found, imported = json.loads(done.stdout)
    assert imported == []
    assert found["napari"] == metadata.version("napari")
    for qt in found["qt"]:
        assert qt["version"] == metadata.version(qt["binding"])
    assert Path(found["manifest"]).name == "napari.yaml"
    assert Path(found["manifest"]).is_file()
    assert found["problems"] == []


def test_doctor_names_the_cure_where_there_is_no_napari(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    _without(monkeypatch, "napari")
    document = _doctor(capfd)
    assert document["viewer"]["napari"] is None
    (problem,) = document["viewer"]["problems"]
    assert problem["install"] == "pip install 'medseg[napari]'"
    assert main(["doctor"]) == 0
    shown = capfd.readouterr().out
    assert "napari        (not installed)" in shown
    assert shown.count("pip install 'medseg[napari]'") == 1


def test_any_qt_binding_will_do_and_none_is_a_problem(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    others = ("PyQt6", "PyQt5", "PySide2")
    _without(monkeypatch, *others, instead={"PySide6": "6.9.1"})
    document = _doctor(capfd)
    assert document["viewer"]["qt"] == [{"binding": "PySide6", "version": "6.9.1"}]
    assert "PyQt6" not in [name for entry in document["missing"] for name in entry["packages"]]
    monkeypatch.undo()
    _without(monkeypatch, *others, "PySide6", instead={"napari": "0.9.2"})
    document = _doctor(capfd)
    assert "PyQt6" in [name for entry in document["missing"] for name in entry["packages"]]
    assert "no Qt binding" in document["viewer"]["problems"][0]["message"]


def test_a_plugin_that_napari_is_not_led_to_is_a_problem(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    _without(monkeypatch, instead={"napari": "0.9.2"})
    monkeypatch.setattr(metadata, "entry_points", lambda **wanted: ())
    document = _doctor(capfd)
    assert document["viewer"]["manifest"] is None
    assert "does not find medseg's plugin" in document["viewer"]["problems"][0]["message"]
