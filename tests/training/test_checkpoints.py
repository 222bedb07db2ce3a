"""A checkpoint that is broken or hostile is refused by name, and never run."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import pytest
import torch

from medseg.errors import InputRefused
from medseg.training.checkpoints import load_checkpoint, save_checkpoint


class Hostile:
    """Makes a file when it is unpickled."""

    def __reduce__(self):
        return os.mkdir, ("was-run",)


def broken(kind: str, path: Path) -> None:
    if kind == "empty":
        path.write_bytes(b"")
    elif kind == "noise":
        path.write_bytes(bytes(range(256)) * 20)
    elif kind == "pickle":
        path.write_bytes(pickle.dumps(Hostile(), protocol=2))
    elif kind == "hostile":
        torch.save({"format_version": 1, "model": Hostile()}, path)
    elif kind == "version":
        save_checkpoint({"format_version": 99}, path)
    else:
        save_checkpoint({"format_version": 1, "model": torch.zeros(5000)}, path)
        path.write_bytes(path.read_bytes()[:-900])


@pytest.mark.parametrize("kind", ["empty", "noise", "pickle", "hostile", "version", "truncated"])
def test_a_broken_checkpoint_is_refused(tmp_path, monkeypatch, kind):
    monkeypatch.chdir(tmp_path)
    broken(kind, tmp_path / "last.pt")
    with pytest.raises(InputRefused, match=r"last\.pt"):
        load_checkpoint(tmp_path / "last.pt")
    assert not (tmp_path / "was-run").exists()


def test_what_was_saved_comes_back(tmp_path):
    save_checkpoint({"format_version": 1, "step": 3, "model": torch.arange(4.0)}, tmp_path / "last.pt")
    state = load_checkpoint(tmp_path / "last.pt")
    assert state["step"] == 3
    assert torch.equal(state["model"], torch.arange(4.0))
