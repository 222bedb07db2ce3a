"""Which models there are, and which one is meant: built-in names, folders, zips, the user's default."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medseg.errors import NotFound, PlanInvalid, UsageError
from medseg.models.archive import open_zip
from medseg.models.bundle import ModelBundle, open_folder
from medseg.models.manifest import MANIFEST
from medseg.plans import load_yaml

BUILTIN = Path(__file__).parent / "builtin"
VARIABLE = "MEDSEG_MODEL"


@dataclass(frozen=True, slots=True)
class ModelEntry:
    """One line of `medseg model list`."""

    name: str
    path: Path
    origin: str
    bundle: ModelBundle
    is_default: bool = False

    def to_json(self) -> dict[str, Any]:
        """The entry as it stands in ``medseg model list --json``."""
        return {
            "name": self.name,
            "path": str(self.path),
            "origin": self.origin,
            "default": self.is_default,
            "dimensions": self.bundle.plan.dimensions,
            "labels": list(self.bundle.label_set.names),
            "description": self.bundle.scope.description,
            "hash": self.bundle.hash,
        }


def load_model(name_or_path: str | Path) -> ModelBundle:
    """Open a model: a built-in name, a bundle's folder, or a zip of one. Runs no code from it.

    A bare built-in name wins over a file or folder of that name here; ``./name`` means the latter.

    Raises
    ------
    NotFound
        If there is neither such a model nor such a path; the message lists the models.
    ModelRefused
        If the bundle is incomplete, altered, unsafe or of another format.
    """
    if isinstance(name_or_path, str) and name_or_path in builtin_names():
        return open_folder(BUILTIN / name_or_path)
    path = Path(name_or_path).expanduser()
    if path.is_dir():
        return open_folder(path)
    if path.is_file():
        # medseg.yaml stands for the bundle it lies in
        return open_folder(path.parent) if path.name == MANIFEST else open_zip(path)
    known = ", ".join(builtin_names()) or "none"
    raise NotFound(
        f"{name_or_path}: neither a built-in model ({known}) nor a bundle's folder or zip: "
        "see `medseg model list`"
    )


def builtin_names() -> tuple[str, ...]:
    """Names of the models that travel with medseg, in alphabetical order."""
    return tuple(sorted(path.parent.name for path in BUILTIN.glob(f"*/{MANIFEST}")))


def candidates() -> list[ModelBundle]:
    """The models to choose from by scope where none is named: the built-in ones."""
    return [load_model(name) for name in builtin_names()]


def list_models() -> list[ModelEntry]:
    """Every model that has a name: the built-in ones, and the user's default if it is another."""
    default = default_model()
    entries = [
        ModelEntry(name, BUILTIN / name, "built-in", load_model(name), name == default)
        for name in builtin_names()
    ]
    if default is not None and default not in builtin_names():
        bundle = load_model(default)
        entries.append(ModelEntry(bundle.name, Path(default), "default", bundle, True))
    return entries


def default_model() -> str | None:
    """The model used where none is named: MEDSEG_MODEL, else ``model`` in the user's config, else None.

    A relative path in the config file counts from that file's folder.
    """
    if value := os.environ.get(VARIABLE, "").strip():
        return value
    path = config_path()
    configured = _read_config(path).get("model")
    if configured is None:
        return None
    if not isinstance(configured, str) or not configured.strip():
        raise UsageError(f"{path}: model is {configured!r}, expected a model's name or path")
    beside = path.parent / configured
    return str(beside) if configured not in builtin_names() and beside.exists() else configured


def config_path() -> Path:
    """Where the user's config file is, or would be, on this system: ``medseg/config.yaml``."""
    home = Path.home()
    if sys.platform == "win32":
        base = os.environ.get("APPDATA") or str(home / "AppData" / "Roaming")
    elif sys.platform == "darwin":
        base = str(home / "Library" / "Application Support")
    else:
        base = os.environ.get("XDG_CONFIG_HOME") or str(home / ".config")
    return Path(base) / "medseg" / "config.yaml"


def _read_config(path: Path) -> Mapping[str, Any]:
    if not path.is_file():
        return {}
    text = path.read_text(encoding="utf-8")
    if not text.strip():
        return {}
    try:
        values = load_yaml(text, str(path))
    except PlanInvalid as error:
        raise UsageError(str(error)) from error
    unknown = sorted(set(map(str, values)) - {"model"})
    if unknown:
        raise UsageError(f"{path}: unknown settings {', '.join(unknown)}; known: model")
    return values
