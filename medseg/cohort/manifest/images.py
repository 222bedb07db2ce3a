"""A folder of images, one case each: names give the ids; nnU-Net's and the Decathlon's layouts are known."""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from medseg.cohort.manifest.cases import Manifest, ManifestCase
from medseg.cohort.manifest.problems import Problem
from medseg.io.files import DICOM_EXTENSIONS, extension, is_dicom_file
from medseg.pipeline.own_results import is_own_result
from medseg.verdict import OK, Verdict

# Folder of images, folder of their label maps.
LAYOUTS = (("imagesTr", "labelsTr"), ("imagesTs", "labelsTs"), ("images", "labels"))
_MOST_FOLDERS = 1000
_CHANNEL = re.compile(r"(?P<case>.+)_(?P<number>\d{4})")


@dataclass(frozen=True, slots=True)
class ImageFolder:
    """The scans in a folder, and what lies there besides.

    Parameters
    ----------
    path
        The folder.
    images
        Files that may be scans, by name.
    has_dicom
        Whether there are DICOM files in the folder, or (where it has images) in folders below it.
    folders
        How many folders there are.
    own, label_files
        How many results of medseg, and label maps by their kind, are left out.
    """

    path: Path
    images: tuple[Path, ...]
    has_dicom: bool = False
    folders: int = 0
    own: int = 0
    label_files: int = 0


def look_into(path: Path) -> ImageFolder:
    """What a folder holds, hidden files passed over; folders in it are not searched."""
    names = sorted(entry for entry in path.iterdir() if not entry.name.startswith("."))
    counts: Counter[str] = Counter()
    images = []
    for entry in names:
        kind = _kind(entry)
        counts[kind] += 1
        if kind == "image":
            images.append(entry)
    has_dicom = counts["dicom"] > 0 or (bool(images and counts["folder"]) and _holds_dicom(path))
    return ImageFolder(path, tuple(images), has_dicom, counts["folder"], counts["own"], counts["labels"])


@dataclass(frozen=True, slots=True)
class Layout:
    """Where the images of a dataset are, and their label maps, if there are any.

    ``beside`` names other folders of images of the same dataset.
    """

    images: Path
    labels: Path | None = None
    beside: tuple[str, ...] = ()


def find_layout(path: Path) -> Layout:
    """A folder with imagesTr (or imagesTs, images) in it, such a folder itself, or any other one."""
    there = [names for names in LAYOUTS if (path / names[0]).is_dir()]
    if there:
        (images, labels), *others = there
        return Layout(path / images, _if_folder(path / labels), tuple(name for name, _ in others))
    its_labels = dict(LAYOUTS).get(path.name)
    return Layout(path, None if its_labels is None else _if_folder(path.parent / its_labels))


def cases_in(found: ImageFolder, layout: Layout) -> tuple[Manifest, list[Problem]]:
    """A case for each image, or for each group of nnU-Net's channels; label maps of the same name."""
    names = _channel_names(found.path.parent / "dataset.json")
    images, problems = _grouped(found.images, names)
    references: Mapping[str, Path] = {}
    verdict = OK
    if layout.labels is not None:
        maps = look_into(layout.labels)
        references = {_stem(path): path for path in maps.images}
        for case_id, count in Counter(_stem(path) for path in maps.images).items():
            if count > 1:
                problems.append(Problem(f"case_id {case_id!r}: {count} label maps bear its name; keep one"))
        known = {case_id for case_id, _ in images}
        verdict += _told(
            "labels-without-image", len(references.keys() - known), "label maps without an image"
        )
    cases = tuple(ManifestCase(case_id, channels, references.get(case_id)) for case_id, channels in images)
    verdict += _told("own-results", found.own, "results of medseg that are left out")
    verdict += _told("label-files", found.label_files, "label maps (.seg.nrrd) that are left out")
    if layout.beside:
        text = f"{', '.join(layout.beside)} beside {found.path.name}: give it as a manifest of its own"
        verdict += Verdict.of("warning", "images-not-taken", text)
    verdict += _told("folders-not-searched", found.folders, "folders beside the images that are not searched")
    return Manifest(cases, verdict=verdict), problems


def _kind(path: Path) -> str:
    if path.is_dir():
        return "folder"
    ending = extension(path)
    if ending in DICOM_EXTENSIONS or (ending in ("", ".img") and is_dicom_file(path)):
        return "dicom"
    if ending in ("", ".zip") or _is_data_of_pair(path):
        return "other"
    if ending == ".seg.nrrd":
        return "labels"
    return "own" if "_seg" in path.name and is_own_result(path) else "image"


def _holds_dicom(path: Path) -> bool:
    """Whether the first file of a folder below is DICOM; of a large tree a thousand are looked at."""
    for parent, _, names in islice(os.walk(path), _MOST_FOLDERS):
        first = min((name for name in names if not name.startswith(".")), default=None)
        if first is not None and is_dicom_file(Path(parent, first)):
            return True
    return False


def _stem(path: Path) -> str:
    """As `medseg.io.files.stem` of a file that is no DICOM, without opening it to see."""
    return path.name[: len(path.name) - len(extension(path))]


def _is_data_of_pair(path: Path) -> bool:
    """Whether a file is the voxels of a pair whose header, beside it, stands for both."""
    ending = extension(path)
    if not ending.startswith(".img"):
        return False
    header = ending.replace(".img", ".hdr")
    base = path.name[: len(path.name) - len(ending)]
    return path.with_name(base + header).exists() or path.with_name(base + header.upper()).exists()


Cases = list[tuple[str, tuple[tuple[str, Path], ...]]]


def _grouped(images: Sequence[Path], names: Sequence[str]) -> tuple[Cases, list[Problem]]:
    """Images by case.

    Four digits at the end of a name count as nnU-Net's channel only where all names have them, and where
    dataset.json tells of so many channels or several cases have the same ones, from 0000 on. Numbered scans
    of one name stay a case each.
    """
    alone: Cases = [(_stem(path), (("", path),)) for path in images]
    split = [_CHANNEL.fullmatch(case_id) for case_id, _ in alone]
    groups: dict[str, dict[int, Path]] = {}
    for match, path in zip(split, images, strict=True):
        if match is None:
            return alone, []
        groups.setdefault(match["case"], {})[int(match["number"])] = path
    if sum(map(len, groups.values())) < len(images):
        return alone, []  # two files of one name: told as such
    sets = Counter(tuple(sorted(numbers)) for numbers in groups.values())
    if not sets:
        return alone, []
    commonest = max(sets, key=lambda numbers: (sets[numbers], len(numbers)))
    wanted = tuple(range(len(names))) if names else commonest
    is_plain = commonest == tuple(range(len(commonest))) and (
        commonest == wanted if names else len(groups) > 1 or len(commonest) == 1
    )
    if not is_plain:
        return alone, []
    problems = [
        Problem(f"case_id {case_id!r}: channels {_numbers(numbers)}, the others have {_numbers(wanted)}")
        for case_id, numbers in groups.items()
        if tuple(sorted(numbers)) != wanted
    ]
    called = _called(wanted, names)
    return [
        (case_id, tuple((called[n], path) for n, path in sorted(numbers.items()) if n in called))
        for case_id, numbers in groups.items()
    ], problems


def _called(numbers: Sequence[int], names: Sequence[str]) -> dict[int, str]:
    if len(numbers) == 1:
        return {numbers[0]: ""}
    return {n: names[n] if names else f"{n:04d}" for n in numbers}


def _numbers(numbers: Iterable[int]) -> str:
    return ", ".join(f"{n:04d}" for n in sorted(numbers))


def _channel_names(path: Path) -> tuple[str, ...]:
    """Names of the channels in nnU-Net's dataset.json; () where it has none, or cannot be read as one."""
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return ()  # it is not needed: names of files say what belongs together
    names = facts.get("channel_names") if isinstance(facts, dict) else None
    if not isinstance(names, dict):
        return ()
    ordered = [names.get(str(n)) for n in range(len(names))]
    return tuple(map(str, ordered)) if all(isinstance(name, str) for name in ordered) else ()


def _if_folder(path: Path) -> Path | None:
    return path if path.is_dir() else None


def _told(code: str, count: int, what: str) -> Verdict:
    return Verdict.of("warning", code, f"{what}: {count}") if count else OK
