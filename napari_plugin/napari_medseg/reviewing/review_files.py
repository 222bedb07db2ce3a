"""Which cases there are to review: scans, what a model made of them, and how much it doubts that.

Four things are understood. A folder as ``medseg infer`` leaves it: scans, ``<stem>_seg.nii.gz`` and
``<stem>_seg.json``, or ``_seg`` files alone that ``-o`` put there, whose sidecars name the scans. A folder
with such files in ``segmentations/``. A study of ``medseg cohort run``, whose ledger alone knows the scans.
And a CSV list with the columns ``image`` (or ``image_<channel>``), and perhaps ``case`` and ``labels``, paths
from the list's folder.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import medseg
from medseg import InputRefused
from medseg.errors import NotFound
from medseg.io.files import DICOM_EXTENSIONS, EXTENSIONS, extension, stem
from napari_medseg.layers import UNASKED, Opening
from napari_medseg.recovery.provenance import read_json, sidecar_path

_SEGMENTATIONS = (".nii.gz", ".nii", ".seg.nrrd", ".nrrd", ".mha")  # of several the first is taken
_NO_SCANS = (*DICOM_EXTENSIONS, ".zip", ".seg.nrrd")


@dataclass(frozen=True, slots=True)
class CaseFiles:
    """A case on the disk.

    Parameters
    ----------
    id
        The scan's stem, or what the list says.
    images
        The name of each channel and its file or DICOM folder; ``""`` for a lone scan. Empty where the scan
        was not found.
    labels
        What there is to correct, None for nothing yet.
    doubt
        How much a model doubts its result, larger is worse, None where nothing tells: see `doubt`.
    reasons
        What the model's verdict said, for the user.
    opening
        With which words the scan was read when the model segmented it: somebody has agreed to them.
    """

    id: str
    images: tuple[tuple[str, Path], ...]
    labels: Path | None
    doubt: float | None = None
    reasons: tuple[str, ...] = ()
    opening: Opening = UNASKED


def find_cases(path: Path, scans: Path | None = None) -> tuple[CaseFiles, ...]:
    """The cases of a folder, a study or a list, by id. ``scans`` is one more folder to look for scans in.

    Raises
    ------
    NotFound
        There is nothing at ``path``.
    InputRefused
        ``no-cases``, ``missing-columns``, ``repeated-case``, ``bad-case-id``, or ``bad-json`` for a sidecar.
        Of a study as `medseg.open_study`.
    """
    if not path.exists():
        raise NotFound(f"{path}: no such file or folder")
    if path.is_file():
        cases = _listed(path)
    elif (path / "ledger.sqlite").is_file():
        cases = _of_study(path, [path, *([scans] if scans else [])])
    elif (path / "segmentations").is_dir():
        cases = _segmented(path / "segmentations", [path, *([scans] if scans else [])])
    else:
        cases = _segmented(path, [scans] if scans else [])
        cases += _not_segmented(path, cases)
    if not cases:
        raise InputRefused(
            f"{path}: no case; expected scans, <scan>_seg.nii.gz files of `medseg infer`, or a list of them",
            code="no-cases",
            path=path,
        )
    _check_ids(cases, path)
    return tuple(sorted(cases, key=lambda case: case.id))


def doubt(sidecar: Mapping[str, Any]) -> float | None:
    """How much a sidecar of ``medseg infer`` doubts its segmentation: 0 none, None where it does not tell.

    1 minus the mean of the labels' estimated Dice; a warning adds 1, a case without result is at 3. So those
    without result come first, then those with a warning, and among these the ones with the lowest estimates.
    """
    verdict = sidecar.get("verdict")
    if verdict in ("refused", "failed"):
        return 3.0
    labels = sidecar.get("labels")
    told = [label.get("quality") for label in labels or () if isinstance(label, dict)]
    estimates = [float(one) for one in told if isinstance(one, int | float)]
    if not estimates:
        return 1.0 if verdict == "warning" else None
    return 1.0 - sum(estimates) / len(estimates) + (verdict == "warning")


def _segmented(folder: Path, elsewhere: Iterable[Path]) -> list[CaseFiles]:
    """Cases with a ``_seg`` file or a sidecar."""
    found: dict[str, Path | None] = {}
    for ending in reversed(_SEGMENTATIONS):
        for path in folder.glob(f"?*_seg{ending}"):
            found[path.name.removesuffix(f"_seg{ending}")] = path
    for path in folder.glob("?*_seg.json"):
        found.setdefault(path.name.removesuffix("_seg.json"), None)
    cases = []
    for case, labels in found.items():
        sidecar = read_json(folder / f"{case}_seg.json") or {}
        images = _images(case, sidecar.get("input"), [folder, *elsewhere])
        cases.append(_case(case, images, labels, sidecar))
    return cases


def _of_study(path: Path, folders: Iterable[Path]) -> list[CaseFiles]:
    """The cases of a study, done or not; a scan that was moved since is looked for by its name."""
    study, folders = medseg.open_study(path), list(folders)
    allow = tuple((study.facts["options"] or {}).get("allow", ()))
    cases = []
    for case in study.cases:
        images = _found(case.images, folders) or _beside(case.case_id, folders)
        made = case.segmentation
        if made is not None and made.is_file():
            cases.append(_case(case.case_id, images, made, read_json(sidecar_path(made)) or {}))
        else:
            unmade = {"verdict": case.verdict.status}
            reasons = tuple(reason.message for reason in case.verdict.reasons)
            cases.append(CaseFiles(case.case_id, images, None, doubt(unmade), reasons, Opening(allow=allow)))
    return cases


def _case(
    case: str, images: tuple[tuple[str, Path], ...], labels: Path | None, sidecar: Mapping[str, Any]
) -> CaseFiles:
    """A case as its sidecar tells of it."""
    return CaseFiles(case, images, labels, doubt(sidecar), _reasons(sidecar), _opening(sidecar))


def _not_segmented(folder: Path, cases: Iterable[CaseFiles]) -> list[CaseFiles]:
    """Scans that lie in a folder without being of another case."""
    cases = list(cases)
    taken = {path.resolve() for case in cases for _, path in case.images}
    outputs = tuple(f"{case.id}_seg" for case in cases)
    found = {}
    for path in sorted(folder.iterdir()):
        known = path.is_file() and extension(path) in EXTENSIONS and extension(path) not in _NO_SCANS
        if known and path.resolve() not in taken and not path.name.startswith((".", *outputs)):
            found[stem(path)] = path
    return [CaseFiles(case, (("", path),), None) for case, path in found.items()]


def _images(case: str, told: object, folders: Iterable[Path]) -> tuple[tuple[str, Path], ...]:
    """The scan: where the sidecar says, for each channel, else beside under the case's name."""
    folders = list(folders)
    named: list[tuple[str, Path]] = []
    if isinstance(told, str):
        if "=" in told and not Path(told).exists():
            parts = [part.partition("=") for part in told.split(",")]
            named = [(name, Path(path)) for name, _, path in parts]
        else:
            named = [("", Path(told))]
    return _found(named, folders) or _beside(case, folders)


def _found(named: Sequence[tuple[str, Path]], folders: Iterable[Path]) -> tuple[tuple[str, Path], ...]:
    """The images of a case where they are now; none of them where one is missing."""
    folders = list(folders)
    found = [(name, _existing(path, folders)) for name, path in named]
    images = tuple((name, path) for name, path in found if path is not None)
    return images if len(images) == len(named) else ()


def _beside(case: str, folders: Iterable[Path]) -> tuple[tuple[str, Path], ...]:
    """A scan that has the case's name, in one of the folders."""
    for folder in folders:
        if (folder / case).is_dir():
            return (("", folder / case),)
        beside = (folder / f"{case}{ending}" for ending in EXTENSIONS if ending not in _NO_SCANS)
        if (path := next(filter(Path.is_file, beside), None)) is not None:
            return (("", path),)
    return ()


def _existing(path: Path, folders: Iterable[Path]) -> Path | None:
    """A path as it was given to ``medseg infer``, or by its name in one of the folders.

    A relative one counts from where that ran, as a rule beside the folder it wrote: napari runs elsewhere.
    """
    folders = list(folders)
    candidates = [path, *(folder / path for folder in folders)]
    candidates += [folder.parent / path for folder in folders] + [folder / path.name for folder in folders]
    return next((one.absolute() for one in candidates if one.exists()), None)


def _listed(path: Path) -> list[CaseFiles]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            rows = list(csv.DictReader(stream))
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputRefused(
            f"{path}: not a CSV list in UTF-8 ({error})", code="no-cases", path=path
        ) from error
    columns = [c for c in (rows[0] if rows else ()) if c == "image" or c.startswith("image_")]
    if rows and not columns:
        raise InputRefused(
            f"{path}: expected a column 'image' or 'image_<channel>', and perhaps 'case' and 'labels'; found "
            f"{', '.join(map(str, rows[0]))}",
            code="missing-columns",
            path=path,
        )
    cases = []
    for number, row in enumerate(rows, start=2):
        if not all(row[column] for column in columns):
            raise InputRefused(f"{path}, line {number}: an empty path", code="missing-columns", path=path)
        images = tuple((c.removeprefix("image").removeprefix("_"), path.parent / row[c]) for c in columns)
        labels = path.parent / row["labels"] if row.get("labels") else None
        for file in (*(image for _, image in images), *([labels] if labels else [])):
            if not file.exists():
                raise NotFound(f"{path}, line {number}: {file} does not exist")
        sidecar = (read_json(sidecar_path(labels)) if labels else None) or {}
        case = row.get("case") or stem(images[0][1])
        cases.append(_case(case, images, labels, sidecar))
    return cases


def _opening(sidecar: Mapping[str, Any]) -> Opening:
    """How the scan was read for the run that a sidecar tells of."""
    made = sidecar.get("provenance")
    options = made.get("options") if isinstance(made, dict) else None
    if not isinstance(options, dict):
        return UNASKED
    return Opening(options.get("series"), tuple(options.get("allow") or ()))


def _reasons(sidecar: Mapping[str, Any]) -> tuple[str, ...]:
    reasons = sidecar.get("reasons")
    return tuple(str(one.get("message")) for one in reasons or () if isinstance(one, dict))


def _check_ids(cases: Iterable[CaseFiles], path: Path) -> None:
    seen: set[str] = set()
    for case in cases:
        if case.id in seen:
            raise InputRefused(f"{path}: case {case.id!r} appears twice", code="repeated-case", path=path)
        if set(case.id) & set('/\\:*?"<>|') or case.id.startswith("."):
            raise InputRefused(
                f"{path}: case {case.id!r} cannot be a file's name on every system; rename it",
                code="bad-case-id",
                path=path,
            )
        seen.add(case.id)
