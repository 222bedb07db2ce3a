"""read_manifest: which kind of source it is."""

from __future__ import annotations

import csv
from pathlib import Path

from medseg.cohort.folder import why_no_case_id
from medseg.cohort.manifest.cases import Manifest, ManifestCase, Value
from medseg.errors import NotFound, UsageError


def read_manifest(path: str | Path) -> Manifest:
    """The case table of a study."""
    path = Path(path)
    if not path.exists():
        raise NotFound(f"{path}: no such manifest")
    with path.open(newline="", encoding="utf-8-sig") as file:
        rows = list(csv.DictReader(file))
    columns = tuple(c for c in rows[0] if c not in ("case_id", "reference") and not c.startswith("image"))
    cases = []
    for row in rows:
        images = tuple(
            (c.removeprefix("image").removeprefix("_"), path.parent / row[c])
            for c in row
            if c.startswith("image")
        )
        reference = path.parent / row["reference"] if row.get("reference") else None
        cases.append(ManifestCase(row["case_id"], images, reference, {c: _value(row[c]) for c in columns}))
    problems = [f"{c.case_id!r}: {why}" for c in cases if (why := why_no_case_id(c.case_id))]
    if problems:
        raise UsageError("; ".join(problems))
    return Manifest(tuple(cases), columns)


def _value(text: str) -> Value:
    try:
        return float(text)
    except ValueError:
        return text or None
