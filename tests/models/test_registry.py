"""A model is found by name, folder or zip; the user's default by environment or config file."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from medseg.errors import NotFound, UsageError
from medseg.models import candidates, default_model, list_models, load_model, registry


@pytest.fixture(autouse=True)
def no_settings_of_this_machine(monkeypatch, tmp_path):
    """Neither the real config file nor the real variable; and a place for built-in models."""
    monkeypatch.delenv("MEDSEG_MODEL", raising=False)
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setattr(registry, "BUILTIN", tmp_path / "builtin")
    (tmp_path / "builtin").mkdir()


def configure(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "config" / "medseg" / "config.yaml"
    path.parent.mkdir(parents=True)
    path.write_text(text, encoding="utf-8")
    return path


def test_unknown_name_lists_what_there_is(save, tmp_path):
    save(tmp_path / "builtin" / "knee")
    with pytest.raises(NotFound, match=r"hip: neither a built-in model \(knee\)"):
        load_model("hip")
    with pytest.raises(FileNotFoundError):
        load_model(tmp_path / "nowhere")


def test_built_in_name_wins_over_a_folder_here(save, tmp_path, monkeypatch):
    built_in = save(tmp_path / "builtin" / "knee")
    (tmp_path / "knee").mkdir()  # the user's data, not a bundle
    other = save(tmp_path / "work" / "knee", card="another")
    monkeypatch.chdir(tmp_path)
    assert load_model("knee").hash == built_in.hash
    monkeypatch.chdir(tmp_path / "work")
    assert load_model("./knee").hash == other.hash
    assert load_model(Path("knee")).hash == other.hash
    assert load_model("knee/medseg.yaml").hash == other.hash


def test_default_is_the_variable_then_the_config_file(tmp_path, monkeypatch):
    assert default_model() is None
    configure(tmp_path, "model: /models/knee\n")
    assert default_model() == "/models/knee"
    monkeypatch.setenv("MEDSEG_MODEL", "hip")
    assert default_model() == "hip"
    monkeypatch.setenv("MEDSEG_MODEL", "")
    assert default_model() == "/models/knee"


def test_relative_path_in_the_config_counts_from_the_config(save, tmp_path, monkeypatch):
    path = configure(tmp_path, "model: knee\n")
    assert default_model() == "knee"
    bundle = save(path.parent / "knee")
    monkeypatch.chdir(tmp_path)
    assert load_model(default_model()).hash == bundle.hash


@pytest.mark.parametrize("text", ["modle: knee", "model: [a]", "model: ''", "- a", "model: {"])
def test_config_that_says_something_else_is_refused_by_path(tmp_path, text):
    configure(tmp_path, text)
    with pytest.raises(UsageError, match=r"config\.yaml"):
        default_model()


@pytest.mark.parametrize(
    ("platform", "variable", "expected"),
    [
        ("linux", "XDG_CONFIG_HOME", "x/medseg/config.yaml"),
        ("linux", None, "home/.config/medseg/config.yaml"),
        ("darwin", "XDG_CONFIG_HOME", "home/Library/Application Support/medseg/config.yaml"),
        ("win32", "APPDATA", "x/medseg/config.yaml"),
    ],
)
def test_config_lies_where_the_system_keeps_such_files(tmp_path, monkeypatch, platform, variable, expected):
    monkeypatch.delenv("XDG_CONFIG_HOME")
    monkeypatch.delenv("APPDATA", raising=False)
    monkeypatch.setattr(Path, "home", lambda: tmp_path / "home")
    monkeypatch.setattr(sys, "platform", platform)
    if variable:
        monkeypatch.setenv(variable, str(tmp_path / "x"))
    assert registry.config_path() == tmp_path / expected


def test_list_has_the_built_in_models_and_the_default(save, tmp_path, monkeypatch):
    save(tmp_path / "builtin" / "knee")
    mine = save(tmp_path / "mine")
    assert [(e.name, e.is_default) for e in list_models()] == [("knee", False)]
    monkeypatch.setenv("MEDSEG_MODEL", str(mine.path))
    entries = list_models()
    assert [(e.origin, e.is_default) for e in entries] == [("built-in", False), ("default", True)]
    assert entries[0].to_json()["labels"] == ["anterior", "posterior"]
    monkeypatch.setenv("MEDSEG_MODEL", "knee")
    assert [(e.name, e.is_default) for e in list_models()] == [("knee", True)]
    assert [bundle.path.name for bundle in candidates()] == ["knee"]


def test_every_model_that_travels_with_medseg_is_sound(monkeypatch):
    monkeypatch.undo()
    from medseg.models import verify_bundle

    for bundle in candidates():
        assert verify_bundle(bundle) == []
        assert bundle.onnx_path is not None
    total = sum(p.stat().st_size for p in registry.BUILTIN.rglob("*") if p.is_file())
    assert total < 30 * 2**20
