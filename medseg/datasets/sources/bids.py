"""BIDS: images of subjects, their labels in derivatives.

Sources: BIDS specification 1.10, "File name structure" and "Imaging data derivatives: Segmentations" (dseg
and mask files, tables ``*_dseg.tsv`` with index and name); and the older habit of spine data sets, which put
the kind of label behind the image's whole name (``sub-01_T2w_seg-manual.nii.gz``).
"""

from __future__ import annotations

import csv
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from medseg.datasets.dataset import modality_of
from medseg.datasets.sources.survey import (
    Example,
    Problem,
    SourceCase,
    SourceOptions,
    Survey,
    missing_files,
    safe_name,
)
from medseg.errors import InputRefused
from medseg.io import read, read_labels
from medseg.labels import LabelSet
from medseg.words import with_counts

_ENDINGS = (".nii.gz", ".nii")
_NAME = re.compile(r"(?P<entities>sub-[A-Za-z0-9+]+(?:_[a-z]+-[A-Za-z0-9+]+)*)_(?P<rest>.+)")
_OWN_SPACES = frozenset({"orig", "native", "individual"})
_LABEL_ENTITIES = frozenset({"desc", "label", "space", "res", "seg", "atlas"})


@dataclass(frozen=True, slots=True)
class _File:
    """``entities`` as in the name, what follows them (a suffix, or ``T2w_seg-manual``), and the file."""

    entities: tuple[tuple[str, str], ...]
    rest: str
    path: Path

    @property
    def subject(self) -> str:
        return self.entities[0][1]


@dataclass(frozen=True, slots=True)
class _Labels:
    """A label file: which kind it is, and the name of the image it belongs to."""

    kind: str
    image: tuple[tuple[str, str], ...]
    suffix: str  # of the image; "" where the name does not say which contrast it was drawn on
    path: Path


def home(path: Path) -> bool:
    """Whether the folder is a BIDS dataset with derivatives."""
    return (path / "dataset_description.json").is_file() and (path / "derivatives").is_dir()


def survey(path: Path, options: SourceOptions) -> Survey:
    """A case for each image that has a label file of the kind asked for.

    Without a choice there have to be one kind of labels and, of it, one contrast; else what there is, is
    listed as a problem.
    """
    images = {(one.entities, one.rest): one.path for one in _files(path) if "_" not in one.rest}
    by_kind: defaultdict[str, list[_Labels]] = defaultdict(list)
    for file in _files(path / "derivatives", depth=3):
        found = _labels(file)
        if found is not None:
            by_kind[found.kind].append(found)
    kind = _chosen_kind(options.target, {k: len(v) for k, v in by_kind.items()}, path)
    drawn_on = Counter(suffix for one in by_kind[kind] for suffix in _suffixes(one, set(images)))
    channels = _chosen_channels(options.channels, drawn_on, Counter(rest for _, rest in images), kind, path)
    cases: list[SourceCase] = []
    problems: list[Problem] = []
    for one in by_kind[kind]:
        if one.suffix and one.suffix != channels[0]:
            continue
        paths = tuple(images.get((one.image, suffix), _expected(path, one, suffix)) for suffix in channels)
        name = safe_name("_".join(f"{key}-{value}" for key, value in one.image))
        faults = missing_files(name, paths, path)
        problems += faults
        if not faults:
            reading = partial(_read, paths, one.path)
            cases.append(SourceCase(name, (*paths, one.path), reading, patient=f"sub-{one.image[0][1]}"))
    unlabelled = sorted(
        {entities for entities, suffix in images if suffix == channels[0]}
        - {one.image for one in by_kind[kind]}
    )
    notes = tuple(
        Problem("no-labels", "_".join(map("-".join, entities)), f"has no {kind} labels and is left out")
        for entities in unlabelled
    )
    files = tuple(map(safe_name, channels)) if len(channels) > 1 else ("",)
    labels = _table(path, kind)
    return Survey(
        "bids", path.resolve().name, files, channels, labels, tuple(cases), None, tuple(problems), notes
    )


def _files(root: Path, depth: int = 2) -> Iterator[_File]:
    """Files named as BIDS does: below a subject's folders, at most ``depth`` folders and a session down."""
    patterns = [f"{'*/' * (depth - 2)}sub-*/{middle}*" for middle in ("*/", "ses-*/*/")]
    for file in sorted({file for pattern in patterns for file in root.glob(pattern)}):
        ending = next((end for end in _ENDINGS if file.name.endswith(end)), None)
        found = _NAME.fullmatch(file.name.removesuffix(ending)) if ending else None
        if found is not None and not file.name.startswith("."):
            pairs = tuple(
                (key, value)
                for key, _, value in (part.partition("-") for part in found["entities"].split("_"))
            )
            yield _File(pairs, found["rest"], file)


def _labels(file: _File) -> _Labels | None:
    """A file of derivatives as labels of an image; None where it is something else, or on another grid."""
    suffix, _, kind = file.rest.partition("_")
    if kind:  # sub-01_T2w_seg-manual
        return _Labels(kind, file.entities, suffix, file.path)
    if suffix not in ("dseg", "mask"):
        return None
    extra = [(key, value) for key, value in file.entities if key in _LABEL_ENTITIES]
    space = dict(extra).get("space")
    if space is not None and space not in _OWN_SPACES and modality_of(space) is None:
        return None
    kind = "_".join([*(f"{key}-{value}" for key, value in extra if key != "space"), suffix])
    image = tuple(pair for pair in file.entities if pair not in extra)
    return _Labels(kind, image, "" if space in (None, *_OWN_SPACES) else str(space), file.path)


def _suffixes(one: _Labels, images: set[tuple[tuple[tuple[str, str], ...], str]]) -> list[str]:
    """The contrasts that a label file may have been drawn on."""
    if one.suffix:
        return [one.suffix]
    return [suffix for entities, suffix in images if entities == one.image]


def _chosen_kind(asked: tuple[str, ...], counts: Mapping[str, int], path: Path) -> str:
    """The kind of labels asked for, or the only one."""
    if not counts:
        raise InputRefused(
            f"{path}: no labels in derivatives/: expected files such as "
            f"derivatives/labels/sub-01/anat/sub-01_T2w_seg-manual.nii.gz or sub-01_dseg.nii.gz",
            code="no-cases",
            path=path,
        )
    if len(asked) == 1 and asked[0] in counts:
        return asked[0]
    if not asked and len(counts) == 1:
        return next(iter(counts))
    cure = f"choose one with --target, e.g. --target {min(counts)}"
    if asked:
        there = with_counts(counts)
        text = f"target {','.join(asked)}: expected one kind of labels; there are {there}: {cure}"
    else:
        text = f"{len(counts)} kinds of labels: {with_counts(counts)}: {cure}"
    raise InputRefused(f"{path}: {text}", code="several-kinds", path=path)


def _chosen_channels(
    asked: tuple[str, ...], drawn_on: Mapping[str, int], there: Mapping[str, int], kind: str, path: Path
) -> tuple[str, ...]:
    """Suffixes of a case's images: those asked for, or the only one that labels of the kind are drawn on."""
    if not asked and len(drawn_on) == 1:
        return tuple(drawn_on)
    if asked and asked[0] in drawn_on and all(suffix in there for suffix in asked):
        return asked
    images = f"images with {kind} labels: {with_counts(drawn_on) or 'none'}"
    others = {suffix: count for suffix, count in there.items() if suffix not in drawn_on}
    if not drawn_on:
        raise InputRefused(
            f"{path}: {images}; there are {with_counts(there) or 'no images'}: name label files after their "
            f"images",
            code="no-cases",
            path=path,
        )
    if asked:
        absent = [s for s in asked if s not in there] or asked[:1]
        what = "is the suffix of no image" if absent[0] not in there else f"has no {kind} labels"
        images = f"channels {','.join(asked)}: {absent[0]} {what}; {images}"
    if others:
        images += f"; other images: {with_counts(others)}"
    first = max(sorted(drawn_on), key=lambda suffix: drawn_on[suffix])
    second = max(sorted(set(there) - {first}), key=lambda suffix: there[suffix], default=None)
    cure = f"choose with --channels, e.g. --channels {first}"
    if second is not None:
        cure += f"; several with commas, first the one that labels are drawn on: --channels {first},{second}"
    raise InputRefused(f"{path}: {images}: {cure}", code="several-kinds", path=path)


def _expected(path: Path, one: _Labels, suffix: str) -> Path:
    """Where the image of a label file would lie."""
    below = one.path.relative_to(path / "derivatives").parts[1:-1]
    name = "_".join([*(f"{key}-{value}" for key, value in one.image), f"{suffix}.nii.gz"])
    return path.joinpath(*below, name)


def _table(path: Path, kind: str) -> LabelSet | None:
    """Names from the table of a dseg file at the top of a derivative; None without one."""
    if not kind.endswith("dseg"):
        return None
    for file in sorted(path.glob("derivatives/*/*dseg.tsv")):
        with file.open(newline="", encoding="utf-8-sig") as stream:
            rows = list(csv.DictReader(stream, delimiter="\t"))
        try:
            return LabelSet.from_names({int(row["index"]): row["name"] for row in rows})
        except (KeyError, ValueError, TypeError) as error:
            raise InputRefused(
                f"{file}: expected columns index and name, each once per label ({error})",
                code="bad-labels",
                path=file,
            ) from error
    return None


def _read(images: tuple[Path, ...], label: Path) -> Example:
    return Example(tuple(read(image) for image in images), (read_labels(label),))
