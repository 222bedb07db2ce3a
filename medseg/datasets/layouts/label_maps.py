"""Label maps without images beside a labels.csv: the images are made."""

from __future__ import annotations

from pathlib import Path

from medseg.datasets.dataset import LABEL_MAPS, Case, Dataset, make_dataset
from medseg.datasets.tissue_tables import read_label_set
from medseg.io import files


def read_label_maps(path: Path) -> Dataset:
    """A case per map."""
    maps = (file for file in path.iterdir() if file.name.endswith(files.EXTENSIONS))
    cases = [Case(files.stem(file), (), file) for file in maps]
    return make_dataset(path, LABEL_MAPS, ("image",), (None,), read_label_set(path), cases)
