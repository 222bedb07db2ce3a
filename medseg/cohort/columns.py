"""The data dictionary of the tidy table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["text", "number", "count", "truth"]


@dataclass(frozen=True, slots=True)
class Column:
    """One column: its name, kind, unit ("" where it has none) and meaning."""

    name: str
    kind: Kind | str
    unit: str
    description: str


CASE_COLUMNS = (
    Column("case_id", "text", "", "the case, as in the manifest"),
    Column("state", "text", "", "done, failed, or pending where the run has not come to it"),
    Column("verdict", "text", "", "ok, repaired, warning, refused or failed"),
    Column("reasons", "text", "", "codes of the reasons for the verdict, separated by spaces"),
)
ROW_COLUMNS = (
    Column("kind", "text", "", "label, or total: several labels as one; empty where the case has no result"),
    Column("label_id", "count", "", "number of the label in the segmentation; empty for a total"),
    Column("label", "text", "", "name of the label or total"),
    Column("volume_ml", "number", "mL", "voxels times the volume of one; 0 where the label was not found"),
    Column("voxels", "count", "", "voxels that carry the label"),
    Column("touches_border", "truth", "", "whether it reaches the edge of the scan, and may go on outside"),
    Column("quality", "number", "", "the Dice that the label probably has, where the model estimates it"),
)
