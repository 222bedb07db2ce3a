"""Files and whole folders that a dataset's cases need and that are not there, each with its cure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from medseg.datasets.dataset import Dataset
from medseg.words import counted


@dataclass(frozen=True, slots=True)
class FileFault:
    """One fault of a dataset's list of files.

    Parameters
    ----------
    code
        ``missing-folder``, ``missing-file`` or ``repeated-case``.
    case
        The case's id; "" where it is of a folder.
    file
        What is not there, or the label file of the repeated case.
    message, cure
        What was found, with paths below the dataset's folder; what to do.
    """

    code: str
    case: str
    file: Path
    message: str
    cure: str

    def __str__(self) -> str:
        return (f"case {self.case!r}: " if self.case else "") + f"{self.message}: {self.cure}"


def file_faults(dataset: Dataset) -> list[FileFault]:
    """Folders that are missing as a whole, each once, then what is wrong case by case."""
    root = dataset.path if dataset.path.is_dir() else dataset.path.parent
    absent: defaultdict[Path, list[Path]] = defaultdict(list)
    faults = []
    for case_id, label in _repeated(dataset):
        cure = "rename or remove one of them"
        faults.append(FileFault("repeated-case", case_id, label, "appears more than once", cure))
    for case in dataset.cases:
        for file in (*case.images, case.label):
            folder = _missing_folder(file)
            if folder is not None:
                absent[folder].append(file)
            elif not file.exists():
                message = f"{shown(file, root)} does not exist"
                faults.append(
                    FileFault("missing-file", case.id, file, message, _without(dataset, case.label))
                )
    used = {file.parent for case in dataset.cases for file in (*case.images, case.label)}
    return [_of_folder(dataset, root, folder, needed, used) for folder, needed in absent.items()] + faults


def folder_alike(folder: Path, not_these: Collection[Path]) -> Path | None:
    """The folder beside a missing one whose name is most like its name, in any case; None if none is."""
    if not folder.parent.is_dir():
        return None
    beside = {
        one.name.lower(): one
        for one in sorted(folder.parent.iterdir())
        if one.is_dir() and one not in not_these
    }
    alike = get_close_matches(folder.name.lower(), beside, n=1)
    return beside[alike[0]] if alike else None


def shown(path: Path, root: Path) -> str:
    """A path below a folder as one relative to it, any other in full."""
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)


def _repeated(dataset: Dataset) -> Iterator[tuple[str, Path]]:
    seen: set[str] = set()
    for case in dataset.cases:
        if case.id in seen:
            yield case.id, case.label
        seen.add(case.id)


def _missing_folder(file: Path) -> Path | None:
    """The topmost folder on the way to a file that does not exist; None where all do."""
    missing = None
    for folder in file.parents:
        if folder.exists():
            break
        missing = folder
    return missing


def _of_folder(
    dataset: Dataset, root: Path, folder: Path, needed: list[Path], used: Collection[Path]
) -> FileFault:
    # imagesTs is most like imagesTr in name, and has other files: a folder alike must hold what is needed.
    other = {
        one
        for one in (folder.parent.iterdir() if folder.parent.is_dir() else ())
        if not any((one / file.relative_to(folder)).exists() for file in needed)
    }
    alike = folder_alike(folder, {*used, *other})
    files = f"{counted(len(needed), 'file')} {'is' if len(needed) == 1 else 'are'} needed from it"
    message = f"{shown(folder, root)}/ does not exist, and {files}"
    cure = "add it" if alike is None else f"there is {alike.name}/: rename it"
    if dataset.listed_in is not None:
        cure += f", or correct the paths in {dataset.listed_in.name}"
    return FileFault("missing-folder", "", folder, message, cure)


def _without(dataset: Dataset, label: Path) -> str:
    if dataset.listed_in is not None:
        return f"add it, or take the case out of {dataset.listed_in.name}"
    return f"add it, or take {label.parent.name}/{label.name} away"
