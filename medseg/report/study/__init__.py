"""The page of a study: one HTML file that works offline."""

from __future__ import annotations

from medseg.report.study.page import (
    Agreement,
    Counts,
    Estimate,
    Measure,
    StudyCase,
    StudyPage,
    StudyTable,
    Value,
)
from medseg.report.study.write import write_study_page

__all__ = [
    "Agreement",
    "Counts",
    "Estimate",
    "Measure",
    "StudyCase",
    "StudyPage",
    "StudyTable",
    "Value",
    "write_study_page",
]
