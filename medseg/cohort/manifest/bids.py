"""A BIDS dataset: one image, or one per channel, of each subject, session and run."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from medseg.cohort.manifest.bids_names import BidsName, Wanted, parse_name, parse_wanted
from medseg.cohort.manifest.bids_tables import participants
from medseg.cohort.manifest.cases import Manifest, ManifestCase
from medseg.cohort.manifest.problems import Problem
from medseg.errors import UsageError
from medseg.verdict import OK, Verdict

DESCRIPTION = "dataset_description.json"
_USUAL = "T1w"
_MOST_NAMED = 5
# Spaces of a label map that are the image's own grid, besides one named after its suffix.
_OWN_SPACES = frozenset({"orig", "native", "individual"})


@dataclass(frozen=True, slots=True)
class BidsImage:
    """An image of a dataset; ``datatype`` is the folder that it lies in, such as ``anat``."""

    name: BidsName
    datatype: str
    path: Path


def cases_in(path: Path, bids: Sequence[str]) -> tuple[Manifest, list[Problem]]:
    """The cases of a dataset.

    Parameters
    ----------
    path
        The folder with dataset_description.json.
    bids
        Which images, as `bids_names.parse_wanted` takes it; of several that fit the one without further
        entities. Without it: T1w where no other suffix is more
        common in anat (in all folders, where there is no anat), or the only suffix.

    Raises
    ------
    UsageError
        If nobody can tell which images are meant; the message lists what there is.
    """
    images = list(_images(path))
    verdict = OK
    wanted = parse_wanted(bids)
    if not wanted:
        chosen, verdict = _usual(images)
        wanted = (chosen,)
    groups: dict[str, dict[str, list[BidsImage]]] = {}
    for image in images:
        for one in wanted:
            if one.fits(image.name):
                groups.setdefault(image.name.case_id, {}).setdefault(one.channel, []).append(image)
    if images and not groups:
        raise UsageError(f"bids={','.join(bids)}: no such image; there is {_listed(images)}")
    if bids:
        _settle(groups, wanted)
    problems = [
        Problem(
            f"{case_id}: {len(several)} images are {_kinds(several)}: choose with bids={several[0].name.kind}"
        )
        for case_id, channels in groups.items()
        for several in channels.values()
        if len(several) > 1
    ]
    whole = {case_id: channels for case_id, channels in groups.items() if len(channels) == len(wanted)}
    verdict += _named("incomplete-cases", "cases without all channels", groups.keys() - whole.keys())
    subjects = {image.name.subject for image in images}
    with_image = {case_id.partition("_")[0] for case_id in groups}
    verdict += _named("subjects-without-image", "subjects without such an image", subjects - with_image)
    references, told = _references(path, {case_id: next(iter(c.values()))[0] for case_id, c in whole.items()})
    columns, by_subject, found, noted = participants(path / "participants.tsv")
    cases = tuple(
        ManifestCase(
            case_id,
            tuple((one.channel, channels[one.channel][0].path) for one in wanted),
            references.get(case_id),
            by_subject.get(next(iter(channels.values()))[0].name.subject, dict.fromkeys(columns)),
        )
        for case_id, channels in whole.items()
    )
    return Manifest(cases, columns, verdict + told + noted), problems + found


def _images(path: Path) -> Iterator[BidsImage]:
    """Every NIfTI image that BIDS names, in the order of the names; links that lead nowhere count."""
    for subject in _folders(path, "sub-"):
        sessions = list(_folders(subject, "ses-"))
        for parent in (subject, *sessions):
            for datatype in _folders(parent):
                if datatype in sessions:
                    continue
                for entry in sorted(datatype.iterdir()):
                    name = parse_name(entry.name)
                    if name is not None:
                        yield BidsImage(name, datatype.name, entry)


def _folders(path: Path, prefix: str = "") -> Iterator[Path]:
    for entry in sorted(path.iterdir()):
        if entry.name.startswith(prefix) and not entry.name.startswith(".") and entry.is_dir():
            yield entry


def _usual(images: Sequence[BidsImage]) -> tuple[Wanted, Verdict]:
    """The images that are meant where nobody says."""
    among = [image for image in images if image.datatype == "anat"] or images
    counts = Counter(image.name.suffix for image in among)
    if len(counts) == 1:
        return parse_wanted(list(counts))[0], OK
    if not counts or counts[_USUAL] < max(counts.values()):
        raise UsageError(
            f"the BIDS dataset has images of several kinds ({_listed(images)}): choose with "
            f"bids={max(counts, key=lambda suffix: counts[suffix])}"
            if counts
            else "the BIDS dataset holds no NIfTI image of a subject (sub-*/[ses-*/]anat/*.nii.gz)"
        )
    others = ", ".join(f"{suffix} ({n})" for suffix, n in counts.most_common() if suffix != _USUAL)
    text = f"{_USUAL} images are taken, as nothing was chosen; there is also {others}"
    return parse_wanted([_USUAL])[0], Verdict.of("warning", "images-chosen", text)


def _settle(groups: dict[str, dict[str, list[BidsImage]]], wanted: Sequence[Wanted]) -> None:
    """Of several images that fit, the one with no other entities than those asked for is meant."""
    for channels in groups.values():
        for one in wanted:
            exact = [i for i in channels.get(one.channel, ()) if frozenset(i.name.others) == one.entities]
            if len(exact) == 1:
                channels[one.channel] = exact


def _references(path: Path, images: dict[str, BidsImage]) -> tuple[dict[str, Path], Verdict]:
    """Label maps (``dseg``) on the grid of the images, where there is one kind of them in derivatives."""
    derivatives = path / "derivatives"
    kinds: defaultdict[tuple[str, ...], dict[str, list[Path]]] = defaultdict(dict)
    for pipeline in _folders(derivatives) if derivatives.is_dir() else ():
        for labels in _images(pipeline):
            case_id = labels.name.case_id
            if labels.name.suffix != "dseg" or case_id not in images:
                continue
            extra = _beyond(labels.name, images[case_id].name)
            if extra is not None:
                kinds[(pipeline.name, *extra)].setdefault(case_id, []).append(labels.path)
    if len(kinds) > 1:
        listed = "; ".join(f"{' '.join(kind)} ({len(found)})" for kind, found in sorted(kinds.items()))
        text = f"label maps of several kinds, so that none is taken as reference: {listed}"
        return {}, Verdict.of("warning", "several-references", text)
    found = next(iter(kinds.values()), {})
    several = {case_id for case_id, paths in found.items() if len(paths) > 1}
    verdict = _named("several-references", "cases with several label maps, none of which is taken", several)
    return {case_id: paths[0] for case_id, paths in found.items() if len(paths) == 1}, verdict


def _beyond(labels: BidsName, image: BidsName) -> tuple[str, ...] | None:
    """What a label map's name says beyond the image's; None where it is of another image, or another grid."""
    extra = dict(labels.others)
    space = extra.pop("space", None)
    if space is not None and space not in _OWN_SPACES and space != image.suffix:
        return None
    for key, value in image.others:
        if extra.pop(key, value) != value:
            return None
    return tuple(f"{key}-{value}" for key, value in extra.items())


def _kinds(images: Iterable[BidsImage]) -> str:
    return ", ".join(image.name.kind for image in images)


def _listed(images: Iterable[BidsImage]) -> str:
    counts = Counter(image.name.suffix for image in images)
    return ", ".join(f"{suffix} ({count})" for suffix, count in counts.most_common())


def _named(code: str, what: str, names: Iterable[str]) -> Verdict:
    """A warning with the first few names; none where there are none."""
    ordered = sorted(names)
    if not ordered:
        return OK
    more = f" and {len(ordered) - _MOST_NAMED} more" if len(ordered) > _MOST_NAMED else ""
    return Verdict.of("warning", code, f"{what}: {', '.join(ordered[:_MOST_NAMED])}{more}")
