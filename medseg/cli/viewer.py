"""What the napari plugin needs, for ``medseg doctor``: from installed metadata, without importing napari."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

# What napari runs on, by the names of their distributions: the first is what medseg's extra installs.
QT_BINDINGS = ("PyQt6", "PySide6", "PyQt5", "PySide2")
_PLUGIN, _MANIFEST = "napari_medseg", "napari.yaml"
_ENTRY_POINTS = "napari.manifest"
_INSTALL = "pip install 'medseg[napari]'"
_INSTALL_AGAIN = "pip install --force-reinstall --no-deps medseg"


def viewer() -> dict[str, Any]:
    """napari, the Qt bindings and the plugin's manifest, each None or empty where it is not there.

    ``manifest`` is the file that napari is led to; ``problems`` says what keeps the plugin from opening, each
    with its cure.
    """
    found: dict[str, Any] = {
        "napari": _version("napari"),
        "qt": qt_bindings(),
        "manifest": _manifest(),
    }
    return {**found, "problems": list(_problems(found))}


def qt_bindings() -> list[dict[str, str]]:
    """The Qt bindings that are installed, with their versions."""
    versions = {name: _version(name) for name in QT_BINDINGS}
    return [{"binding": name, "version": version} for name, version in versions.items() if version]


def _problems(found: Mapping[str, Any]) -> Iterator[dict[str, str]]:
    if found["napari"] is None:
        yield {"message": "napari is not installed, so there is no window", "install": _INSTALL}
        return  # what else is wrong matters once it is there
    if not found["qt"]:
        text = f"napari has no Qt binding, so it cannot open a window: expected {QT_BINDINGS[0]}"
        yield {"message": text, "install": _INSTALL}
    if found["manifest"] is None:
        text = "napari does not find medseg's plugin: this Python has medseg without it"
        yield {"message": text, "install": _INSTALL_AGAIN}


def _manifest() -> str | None:
    """The manifest that the installed distribution announces to napari; None unless the file is there."""
    announced = {point.value for point in metadata.entry_points(group=_ENTRY_POINTS, name="medseg")}
    package = find_spec(_PLUGIN)
    if f"{_PLUGIN}:{_MANIFEST}" not in announced or package is None or package.origin is None:
        return None
    path = Path(package.origin).with_name(_MANIFEST)
    return str(path) if path.is_file() else None


def _version(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None
