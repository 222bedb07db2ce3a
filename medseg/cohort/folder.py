"""Where the files of a study lie, and what a case may be called so that they can bear its name."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from medseg.pipeline.cases import Outputs

_LONGEST_ID = 120
_FORBIDDEN = re.compile(r'[\x00-\x1f\x7f<>:"/\\|?*]')
# Names that Windows keeps for devices, whatever ending they have.
_DEVICES = re.compile(r"(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class StudyFolder:
    """The folder of a study; nothing in it need exist yet."""

    path: Path

    @property
    def ledger(self) -> Path:
        """The one file that knows paths, and what became of each case."""
        return self.path / "ledger.sqlite"

    @property
    def lock(self) -> Path:
        """Says which run has the study."""
        return self.path / "run.lock"

    @property
    def segmentations(self) -> Path:
        """Label maps and their sidecars."""
        return self.path / "segmentations"

    @property
    def pictures(self) -> Path:
        """A small overlay of each case."""
        return self.path / "pictures"

    @property
    def table_parquet(self) -> Path:
        """The tidy table."""
        return self.path / "table.parquet"

    @property
    def table_csv(self) -> Path:
        """The same as text."""
        return self.path / "table.csv"

    @property
    def dictionary(self) -> Path:
        """What the table's columns mean."""
        return self.path / "table.dictionary.csv"

    @property
    def has_tables(self) -> bool:
        """Whether the tables lie there."""
        return all(path.is_file() for path in (self.table_parquet, self.table_csv, self.dictionary))

    def remove_tables(self) -> None:
        """Take tables away whose numbers the study does not stand for any more."""
        for path in (self.table_parquet, self.table_csv, self.dictionary):
            path.unlink(missing_ok=True)

    @property
    def evaluation(self) -> Path:
        """Scores against references, a row per case and label."""
        return self.path / "evaluation.csv"

    @property
    def report(self) -> Path:
        """The page."""
        return self.path / "report.html"

    def outputs(self, case_id: str) -> Outputs:
        """Where `medseg.pipeline` puts a case."""
        segmentation, sidecar = map(Path, self.written(case_id))
        return Outputs(
            segmentations=(segmentation,),
            sidecar=sidecar,
            preview=self.segmentations / f"{case_id}_seg.png",
            maps=self.segmentations / f"{case_id}_seg_maps.zarr",
        )

    def written(self, case_id: str) -> tuple[str, str]:
        """The segmentation and the sidecar of a case, as texts: a resume asks for those of 100,000 cases."""
        name = f"{self.path}{os.sep}segmentations{os.sep}{case_id}_seg"
        return f"{name}.nii.gz", f"{name}.json"

    def picture(self, case_id: str) -> Path:
        """Where the overlay of a case goes."""
        return self.pictures / f"{case_id}.png"


def why_no_case_id(case_id: str) -> str | None:
    """Why a text cannot name files on every system, or None where it can."""
    if not case_id:
        return "it is empty"
    if case_id != case_id.strip() or case_id.startswith(".") or case_id.endswith("."):
        return "it begins or ends with a space or a dot"
    if found := _FORBIDDEN.search(case_id):
        return f"it holds {found.group()!r}"
    if _DEVICES.fullmatch(case_id):
        return "Windows keeps that name for a device"
    if len(case_id.encode()) > _LONGEST_ID:
        return f"it is longer than {_LONGEST_ID} bytes"
    return None
