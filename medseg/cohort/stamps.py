"""Whether files are as they were: size and time of change, without reading them."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path


def stamp(paths: Iterable[Path]) -> str | None:
    """Sizes and times of change of files and, for folders, of all files in them; None where one is missing.

    A file that was changed within the resolution of the file system's clock, to the same size, keeps its
    stamp.
    """
    parts = []
    for path in paths:
        try:
            parts.append(_folder(path) if path.is_dir() else _file(path))
        except (FileNotFoundError, NotADirectoryError):
            return None
    return ",".join(parts)


def _file(path: Path) -> str:
    found = path.stat()
    return f"{found.st_size}:{found.st_mtime_ns}"


def _folder(path: Path) -> str:
    lines = sorted(
        f"{os.path.relpath(Path(parent, name), path)}:{_file(Path(parent, name))}"
        for parent, _, names in os.walk(path)
        for name in names
    )
    return hashlib.sha256("\n".join(lines).encode(errors="surrogateescape")).hexdigest()
