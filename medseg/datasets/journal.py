"""What an import was begun with, so that the same call goes on and another one is refused."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medseg.datasets.layouts.facts import read_json
from medseg.datasets.sources.survey import SourceCase, SourceOptions, Survey
from medseg.datasets.storing import Names, stored
from medseg.errors import UsageError
from medseg.io.files import make_folder, write_text

FILE = "import.json"


@dataclass(frozen=True, slots=True)
class Journal:
    """Settings of an import, and for each case a digest of its files' names, sizes and times.

    No path is kept: folders of patients are called by names.
    """

    settings: dict[str, Any]
    cases: dict[str, str]

    @classmethod
    def of(cls, found: Survey, options: SourceOptions, separate: bool) -> Journal:
        """The journal of a survey."""
        settings = {
            "layout": found.layout,
            "target": list(options.target),
            "channels": list(options.channels),
            "voxel_mm": options.voxel_mm,
            "separate": separate,
            "labels": None if found.labels is None else {str(x.id): x.name for x in found.labels},
        }
        return cls(settings, {case.id: _stamp(case) for case in found.cases})

    def begin(self, folder: Path, names: Names) -> None:
        """Make the folder with its journal; or see that what was begun there is this import.

        Cases may have come since. A case that has been written and whose source has changed is refused.

        Raises
        ------
        UsageError
            If the folder holds anything else.
        """
        file = folder / FILE
        if folder.exists() and not folder.is_dir():
            raise UsageError(f"{folder}: is a file, expected a folder to write to")
        if file.is_file():
            earlier = read_json(file)
            if earlier.get("settings") != self.settings:
                raise UsageError(f"{folder}: holds an import with other settings: choose another folder")
            before = earlier.get("cases")
            before = before if isinstance(before, dict) else {}
            for case_id, stamp in self.cases.items():
                changed = before.get(case_id) not in (None, stamp)
                if changed and stored(folder, case_id, names) is not None:
                    raise UsageError(
                        f"{folder}: the source of {case_id} has changed since it was imported: choose "
                        f"another folder, or remove its files from images/ and labels/"
                    )
        elif folder.exists() and any(folder.iterdir()):
            raise UsageError(f"{folder}: is not empty and holds no import: choose another folder")
        for name in ("images", "labels"):
            make_folder(folder / name)
        text = json.dumps({"settings": self.settings, "cases": self.cases}, indent=1)
        write_text(file, text + "\n")


def _stamp(case: SourceCase) -> str:
    facts = [
        (file.name, status.st_size, status.st_mtime_ns) for file in case.files for status in [file.stat()]
    ]
    return hashlib.sha256(json.dumps([case.part, facts]).encode()).hexdigest()
