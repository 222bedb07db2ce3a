"""Cases: what belongs together as one scan, where its outputs go, and how it is read."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from medseg.errors import NotFound, UsageError
from medseg.io import read
from medseg.io.files import extension, is_dicom_file, stem
from medseg.pipeline.options import InferOptions
from medseg.plans import Plan, dashed
from medseg.preprocess import stack_channels
from medseg.volume import Volume

_PICTURES = frozenset({"png", "tif", "tiff", "mha"})  # which `medseg convert` writes
_PLAN_VALUE = re.compile(r"[a-z_.]+=.*")
FORMATS = ("nii.gz", "nii", "nrrd", "seg.nrrd")

PathLike = str | Path


@dataclass(frozen=True, slots=True)
class Case:
    """One scan: a path, or several with the channel that each holds.

    ``channels`` pairs a channel's name with its path; one pair named ``""`` for a lone input. ``id`` is what
    documents call a case whose paths they must not tell, as in a cohort.
    """

    channels: tuple[tuple[str, Path], ...]
    id: str | None = None

    @property
    def path(self) -> Path:
        """The input that names the case: the first channel's."""
        return self.channels[0][1]

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the channels; empty for a lone input, whose file decides."""
        return tuple(name for name, _ in self.channels if name)

    @property
    def input(self) -> str:
        """The case as the caller wrote it, or its id."""
        if self.id is not None:
            return self.id
        return ",".join(f"{name}={path}" if name else str(path) for name, path in self.channels)


@dataclass(frozen=True, slots=True)
class Outputs:
    """The files of one case. ``segmentations`` holds one per format; ``maps`` is a Zarr group."""

    segmentations: tuple[Path, ...]
    sidecar: Path
    preview: Path
    maps: Path

    def masks(self, totals: Iterable[str]) -> dict[str, list[Path]]:
        """Where the mask of each total goes, by its name: beside each segmentation, in its format."""
        return {total: [_mask(path, total) for path in self.segmentations] for total in totals}


def parse_cases(
    inputs: Iterable[PathLike],
    case: str | Mapping[str, PathLike] | Sequence[str | Mapping[str, PathLike]] | None,
) -> list[Case]:
    """Inputs and ``--case`` values as cases; every path must exist.

    Raises
    ------
    UsageError
        If there is none, or a case does not read ``name=path,name=path``.
    NotFound
        If a path leads nowhere.
    """
    cases = [Case((("", Path(path)),)) for path in inputs]
    several = [case] if isinstance(case, str | Mapping) else case or ()
    cases += [Case(_channels(one)) for one in several]
    if not cases:
        raise UsageError("nothing to segment: give a file, a DICOM folder, or --case name=path,name=path")
    for one in cases:
        for _, path in one.channels:
            if not path.exists():
                of_plan = _PLAN_VALUE.fullmatch(str(path)) is not None
                hint = ": values of a plan are for `medseg plan` and `medseg train`" if of_plan else ""
                raise NotFound(f"{path}: no such file or folder{hint}")
    return cases


def plan_outputs(cases: Sequence[Case], out: PathLike | None, formats: Sequence[str]) -> list[Outputs]:
    """Where the outputs of each case go: beside its input, under the folder ``out``, or named by ``out``.

    Raises
    ------
    UsageError
        If two cases would share an output, an output would overwrite an input or lie inside a DICOM
        folder, or ``out`` or a format is not one that can be written.
    """
    formats = list(dict.fromkeys(f.lower().lstrip(".") for f in formats))
    unknown = sorted(set(formats) - set(FORMATS))
    if unknown or not formats:
        hint = ", or convert the result with `medseg convert`" if set(unknown) <= _PICTURES else ""
        raise UsageError(
            f"format {', '.join(unknown) or '(none)'}: expected some of {', '.join(FORMATS)}{hint}"
        )
    if out is not None and extension(out) and not Path(out).is_dir():
        planned = [_named(cases, Path(out), formats)]
    else:
        planned = [_beside(case, None if out is None else Path(out), formats) for case in cases]
    _refuse_collisions(cases, planned)
    return planned


def inputs_of(cases: Iterable[Case]) -> frozenset[Path]:
    """Every file and folder that the cases are read from, resolved."""
    return frozenset(path.resolve() for case in cases for _, path in case.channels)


def plan_masks(outputs: Outputs, plan: Plan, inputs: Collection[Path]) -> list[Path]:
    """The masks that a model's totals make of a case.

    ``inputs`` are resolved paths that no mask may take.

    Raises
    ------
    UsageError
        If the model has no totals, or a mask would overwrite an input.
    """
    if not plan.totals:
        raise UsageError(
            f"model {plan.name!r} has no totals, so there are no masks to write: leave --masks out, or take "
            "a model whose plan names totals"
        )
    by_total = outputs.masks(total.name for total in plan.totals)
    masks = [path for paths in by_total.values() for path in paths]
    _refuse_overwriting(inputs, masks)
    return masks


def read_case(case: Case, options: InferOptions) -> Volume:
    """The scan of a case: its channels stacked in the order given, on the first one's grid.

    Raises
    ------
    InputRefused
        As `medseg.read` and `medseg.preprocess.stack_channels`.
    """
    volumes = [read(path, series=options.series, allow=options.allow) for _, path in case.channels]
    return stack_channels(volumes, [name for name, _ in case.channels])


def in_plan_order(volume: Volume, names: Sequence[str], plan: Plan) -> Volume:
    """The channels in the model's order. Without names (a lone input) they stay as they are.

    Raises
    ------
    UsageError
        If the names are not the model's channels.
    """
    wanted = [channel.name for channel in plan.channels]
    if not names:
        return volume
    if sorted(names) != sorted(wanted):
        missing = [f"add {name}=PATH" for name in wanted if name not in names]
        unknown = [f"leave out {name}" for name in names if name not in wanted]
        raise UsageError(
            f"--case gives channels {', '.join(names)}; model {plan.name!r} needs {', '.join(wanted)}: "
            f"{', '.join(missing + unknown)}"
        )
    return replace(volume, data=volume.data[[list(names).index(name) for name in wanted]])


def _channels(case: str | Mapping[str, PathLike]) -> tuple[tuple[str, Path], ...]:
    if isinstance(case, Mapping):
        pairs = [(name, str(path)) for name, path in case.items()]
    else:
        pairs = [
            (name.strip(), path.strip())
            for name, _, path in (part.partition("=") for part in case.split(","))
        ]
    names = [name for name, _ in pairs]
    if not pairs or not all(name and path for name, path in pairs) or len(set(names)) < len(names):
        raise UsageError(f"case {case!r}: expected each channel once, as name=path,name=path")
    return tuple((name, Path(path)) for name, path in pairs)


def _beside(case: Case, out: Path | None, formats: Sequence[str]) -> Outputs:
    path = case.path
    folder = out if out is not None else _series_folder(path).parent if _is_dicom(path) else path.parent
    return _outputs(folder, f"{stem(path)}_seg", formats)


def _named(cases: Sequence[Case], out: Path, formats: Sequence[str]) -> Outputs:
    if len(cases) > 1:
        raise UsageError(f"-o {out} is one file for {len(cases)} inputs: give a folder")
    named = extension(out).lstrip(".")
    if named not in FORMATS:
        raise UsageError(f"-o {out}: cannot write .{named}; expected {', '.join(FORMATS)}, or a folder")
    if formats not in (["nii.gz"], [named]):
        raise UsageError(f"-o {out} names one format, --format {','.join(formats)}: give a folder")
    outputs = _outputs(out.parent, out.name[: len(out.name) - len(named) - 1], [named])
    return replace(outputs, segmentations=(out,))  # as the caller spells it: scan.NII.GZ


def _outputs(folder: Path, name: str, formats: Sequence[str]) -> Outputs:
    return Outputs(
        segmentations=tuple(folder / f"{name}.{form}" for form in formats),
        sidecar=folder / f"{name}.json",
        preview=folder / f"{name}.png",
        maps=folder / f"{name}_maps.zarr",
    )


def _mask(segmentation: Path, total: str) -> Path:
    # No total is called "seg" and none brings a _, so no mask bears the name of another scan's output.
    length = len(extension(segmentation))
    name, ending = segmentation.name[:-length], segmentation.name[-length:]
    return segmentation.with_name(f"{name}_{dashed(total)}{ending}")


def _refuse_overwriting(inputs: Collection[Path], files: Iterable[Path]) -> None:
    overwritten = next((file for file in files if file.resolve() in inputs), None)
    if overwritten is not None:
        raise UsageError(f"{overwritten} is an input: choose another -o")


def _refuse_collisions(cases: Sequence[Case], planned: Sequence[Outputs]) -> None:
    taken: dict[str, Case] = {}
    inputs = inputs_of(cases)
    series = {
        _series_folder(path).resolve() for case in cases for _, path in case.channels if _is_dicom(path)
    }
    for case, outputs in zip(cases, planned, strict=True):
        folder = outputs.sidecar.parent.resolve()
        inside = next((s for s in series if folder == s or s in folder.parents), None)
        if inside is not None:
            raise UsageError(
                f"{outputs.sidecar.parent} is inside the DICOM folder {inside.name}: choose another -o"
            )
        # Some file systems do not tell upper from lower case.
        key = str(folder / outputs.sidecar.name).casefold()
        if key in taken:
            raise UsageError(
                f"{taken[key].input} and {case.input} would both be written to {outputs.segmentations[0]}: "
                "rename one, or segment them in separate calls with separate -o"
            )
        taken[key] = case
        files = (*outputs.segmentations, outputs.preview, outputs.maps, outputs.sidecar)
        _refuse_overwriting(inputs, files)


def _is_dicom(path: Path) -> bool:
    return path.is_dir() or is_dicom_file(path)


def _series_folder(path: Path) -> Path:
    return (path if path.is_dir() else path.parent).resolve()
