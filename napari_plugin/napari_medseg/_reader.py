"""The reader of the manifest: files and DICOM folders to layers, by medseg's own rules."""

from __future__ import annotations

import os
import re
import sys
import warnings
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import medseg
from medseg.io.files import EXTENSIONS, extension, is_dicom_file, stem
from napari_medseg.layers import LayerData, image_layers, labels_layer
from napari_medseg.opening import Item, Opened, Questions, open_or_ask
from napari_medseg.recovery.provenance import is_saved_result

Paths = str | list[str]

# How label maps are called: medseg's own outputs, BIDS, and the folders of training datasets.
_LABEL_NAME = re.compile(r"(?:^|[_\-.])(?:d?seg|labels?|masks?)$", re.IGNORECASE)
_LABEL_FOLDER = re.compile(r"^(?:labels?(?:Tr|Ts)?|masks?|segmentations?)$", re.IGNORECASE)
_NO_LAYERS: Any = [(None,)]  # npe2's sign that all is well, but nothing opens
_FILES_LOOKED_AT = 200  # of a folder, before it counts as no DICOM series


def get_reader(path: Paths) -> Callable[[Paths], list[LayerData]] | None:
    """The reader of a path, or None where another plugin has to read it.

    Known by the name alone, so that napari asks quickly; a folder is known by its first DICOM file.
    """
    paths = [Path(p) for p in _listed(path)]
    return read_layers if paths and all(_is_known(p) for p in paths) else None


def read_layers(path: Paths) -> list[LayerData]:
    """The layers of one or several paths. What medseg finds wrong with a scan becomes napari's warning.

    Where a person waits at napari's window, dialogs ask which of several series is meant, and whether a scan
    that is refused, but could be repaired, is opened all the same; on Cancel there are no layers.

    Raises
    ------
    medseg.InputRefused
        napari shows the message, which names the fault and the cure.
    """
    return [layer for one in _listed(path) for layer in _layers(Path(one))] or _NO_LAYERS


def is_label_map(path: Path) -> bool:
    """Whether a file is called like a segmentation: ``*_seg``, ``*.seg.nrrd``, in ``labelsTr/``; or is ours.

    Ours under any name is what medseg's JSON beside it names, see `is_saved_result`.
    Another label map opens as an image; "Convert to Labels" in napari's layer menu turns it round.
    """
    if path.is_dir():
        return False
    named = extension(path) == ".seg.nrrd" or _LABEL_NAME.search(stem(path)) is not None
    return named or _LABEL_FOLDER.match(path.parent.name) is not None or is_saved_result(path)


def _layers(path: Path) -> list[LayerData]:
    if is_label_map(path):
        labels = open_or_ask(path, medseg.read_labels, _questions())
        if labels is None:
            return []
        _warn(path, labels)
        return [labels_layer(labels.item, stem(path), labels.opening)]
    scan = open_or_ask(path, medseg.read, _questions())
    if scan is None:
        return []
    _warn(path, scan)
    return image_layers(scan.item, stem(path), scan.opening)


def _warn(path: Path, opened: Opened[Item]) -> None:
    """What is to be known, but for what the person has just agreed to."""
    for reason in opened.item.verdict.reasons:
        if reason not in opened.agreed:
            warnings.warn(f"{path.name}: {reason.message}", stacklevel=2)


def _questions() -> Questions | None:
    if "qtpy" not in sys.modules:  # no Qt, no window, nobody to ask
        return None
    from napari_medseg._qt.opening_questions import questions

    return questions()


def _is_known(path: Path) -> bool:
    if path.is_dir():
        return any(is_dicom_file(file) for file in islice(_files_below(path), _FILES_LOOKED_AT))
    return extension(path) in EXTENSIONS or is_dicom_file(path)


def _files_below(folder: Path) -> Iterator[Path]:
    """Files of a folder and its subfolders, those of the folder itself first."""
    for parent, _, names in os.walk(folder):
        yield from (Path(parent, name) for name in names)


def _listed(path: Paths) -> list[str]:
    return [path] if isinstance(path, str) else list(path)
