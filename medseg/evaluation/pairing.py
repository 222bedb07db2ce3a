"""Which prediction belongs to which reference."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from medseg.errors import NotFound, UsageError
from medseg.io.files import extension, stem

_PICTURES = (".png", ".tif", ".tiff")


@dataclass(frozen=True, slots=True)
class Pairs:
    """Predictions with their references by case name, and the files left over on either side."""

    paired: dict[str, tuple[Path, Path]]
    without_reference: tuple[Path, ...] = ()
    without_prediction: tuple[Path, ...] = ()


def case_name(path: Path) -> str:
    """The stem, without ``_seg`` (what `infer` appends) and then ``_0000`` (a channel's number)."""
    return stem(path).removesuffix("_seg").removesuffix("_0000")


def pair_files(pred: Path, ref: Path) -> Pairs:
    """Pair two files, or two folders by case name.

    In a folder, files that begin with a dot and unknown extensions are passed over. Where a folder
    holds several files of one case, the one called ``_seg`` is meant (its scan may lie beside it), and
    the picture that ``infer --preview`` wrote beside it is not. Masks that ``infer --masks`` wrote beside
    it are passed over where no reference bears their name.

    Raises
    ------
    NotFound
        If one of the two does not exist.
    UsageError
        If one is a folder and the other a file, if several files of a folder remain for one case, or
        if no file of one folder fits one of the other.
    """
    for path in (pred, ref):
        if not path.exists():
            raise NotFound(f"{path}: no such file or folder")
    if pred.is_dir() != ref.is_dir():
        folder, file = (pred, ref) if pred.is_dir() else (ref, pred)
        raise UsageError(f"{folder} is a folder and {file.name} is a file: give two files or two folders")
    if not pred.is_dir():
        return Pairs({case_name(pred): (pred, ref)})
    predictions, references = _by_case(pred), _by_case(ref)
    common = sorted(predictions.keys() & references.keys())
    if not common:
        raise UsageError(
            f"no file in {pred} has the name of one in {ref} (without _seg and _0000): found "
            f"{_some(predictions)} and {_some(references)}"
        )
    return Pairs(
        {case: (predictions[case], references[case]) for case in common},
        tuple(
            path
            for case, path in predictions.items()
            if case not in references and not _is_mask(path, predictions)
        ),
        tuple(path for case, path in references.items() if case not in predictions),
    )


def _by_case(folder: Path) -> dict[str, Path]:
    found: dict[str, list[Path]] = {}
    for path in sorted(folder.iterdir()):
        if path.is_file() and extension(path) and not path.name.startswith("."):
            found.setdefault(case_name(path), []).append(path)
    return {case: _the_one(case, paths) for case, paths in sorted(found.items())}


def _the_one(case: str, paths: list[Path]) -> Path:
    named = [path for path in paths if stem(path).endswith("_seg")] or paths
    scans = [path for path in named if extension(path) not in _PICTURES] or named
    if len(scans) > 1:
        names = ", ".join(path.name for path in scans)
        raise UsageError(f"{paths[0].parent}: {names} all belong to case {case!r}; keep one of them there")
    return scans[0]


def _is_mask(path: Path, predictions: dict[str, Path]) -> bool:
    """Whether a file is called ``<segmentation>_<total>`` after a segmentation that is there."""
    segmentation = stem(path).rpartition("_")[0]
    beside = predictions.get(case_name(Path(segmentation)))
    return segmentation.endswith("_seg") and beside is not None and stem(beside) == segmentation


def _some(files: dict[str, Path]) -> str:
    names = [path.name for path in files.values()][:3]
    return ", ".join(names) + (", ..." if len(files) > 3 else "") if names else "no label map"
