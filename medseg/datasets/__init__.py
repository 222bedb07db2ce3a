"""Training datasets on disk: their layouts, importers for foreign ones, and a check of what is wrong."""

from __future__ import annotations

from medseg.datasets.checking.run import DatasetReport, check_dataset
from medseg.datasets.dataset import LABEL_MAPS, Case, Dataset
from medseg.datasets.importing import ImportReport, import_dataset
from medseg.datasets.reading import read_dataset

__all__ = [
    "LABEL_MAPS",
    "Case",
    "Dataset",
    "DatasetReport",
    "ImportReport",
    "check_dataset",
    "import_dataset",
    "read_dataset",
]
