"""The data dictionary of the tidy table."""

from __future__ import annotations

from collections.abc import Sequence

from medseg.measure import Column, measure_columns

CASE_COLUMNS = (
    Column("case_id", "text", "", "the case, as in the manifest"),
    Column("state", "text", "", "done, failed, or pending where the run has not come to it"),
    Column("verdict", "text", "", "ok, repaired, warning, refused or failed"),
    Column("reasons", "text", "", "codes of the reasons for the verdict, separated by spaces"),
)
_NAMES = (
    Column("kind", "text", "", "label, or total: several labels as one; empty where the case has no result"),
    Column("label_id", "count", "", "number of the label in the segmentation; empty for a total"),
    Column("label", "text", "", "name of the label or total"),
)
_LAST = (
    Column("quality", "number", "", "the Dice that the label probably has, where the model estimates it"),
    Column("missing", "text", "", "why numbers of this row are empty, each reason once, separated by '; '"),
)


def row_columns(channels: Sequence[str] = ()) -> tuple[Column, ...]:
    """The columns of a row of a label or total; ``channels`` as in `measure_columns`."""
    return (*_NAMES, *measure_columns(channels), *_LAST)


ROW_COLUMNS = row_columns()
