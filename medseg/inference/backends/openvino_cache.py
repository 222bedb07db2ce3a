"""Compiled networks on disk, so that a process need not compile what another has.

Nothing here can fail a run: a cache that cannot be read or written is as good as none.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

# Files kept; of more the ones used least recently go. A few models in a few precisions and thread counts.
_KEPT = 16


def cache_folder() -> Path | None:
    """Where compiled networks are kept, or None where they are not.

    ``MEDSEG_CACHE`` names the folder, or is ``off``. Else it is the system's place for such files.
    """
    asked = os.environ.get("MEDSEG_CACHE", "")
    if asked.lower() == "off":
        return None
    if asked:
        return Path(asked) / "openvino"
    try:
        home = Path.home()
    except RuntimeError:  # no home
        return None
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or home / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = home / "Library" / "Caches"
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or home / ".cache")
    return base / "medseg" / "openvino"


class CompiledFile:
    """One compiled network's place in the cache.

    The file is the SHA-256 of the rest, then what OpenVINO exports. OpenVINO imports whatever it is given,
    weights of random bits too, and dies of some files: what does not have its checksum is never given to it.

    Parameters
    ----------
    folder
        As `cache_folder` says; None for no cache.
    made_from
        All that decides what is compiled (plain values): model, shape, settings, OpenVINO, processor.
    """

    def __init__(self, folder: Path | None, made_from: Mapping[str, Any]) -> None:
        key = hashlib.sha256(json.dumps(made_from, sort_keys=True).encode()).hexdigest()
        self._path = None if folder is None else folder / f"{key[:40]}.blob"

    def load(self, core: Any, settings: Mapping[str, Any]) -> Any:
        """The compiled network, or None where there is none that is whole."""
        if self._path is None:
            return None
        try:
            content = self._path.read_bytes()
        except OSError:
            return None
        checksum, exported = content[:32], content[32:]
        if hashlib.sha256(exported).digest() != checksum:
            self._remove(self._path)
            return None
        try:
            compiled = core.import_model(exported, "CPU", dict(settings))
        except RuntimeError:  # all that OpenVINO raises: of another version or processor after all
            self._remove(self._path)
            return None
        with contextlib.suppress(OSError):
            os.utime(self._path)  # used now
        return compiled

    def save(self, compiled: Any) -> None:
        """Keep a compiled network, whole or not at all, whoever else is writing; drop the oldest."""
        if self._path is None:
            return
        temporary: Path | None = None
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            exported = compiled.export_model().getvalue()
            handle, name = tempfile.mkstemp(dir=self._path.parent, prefix="writing-")
            temporary = Path(name)
            with os.fdopen(handle, "wb") as file:
                file.write(hashlib.sha256(exported).digest())
                file.write(exported)
            temporary.replace(self._path)
            self._drop_oldest()
        except (OSError, RuntimeError):
            if temporary is not None:
                self._remove(temporary)

    def _drop_oldest(self) -> None:
        assert self._path is not None
        files = [path for path in self._path.parent.iterdir() if path.suffix == ".blob"]
        files += [path for path in self._path.parent.iterdir() if path.name.startswith("writing-")]
        used = []
        for path in files:
            with contextlib.suppress(OSError):  # another process dropped it
                used.append((path.stat().st_mtime, path))
        for _, path in sorted(used)[:-_KEPT]:
            self._remove(path)

    @staticmethod
    def _remove(path: Path) -> None:
        with contextlib.suppress(OSError):
            path.unlink()
