"""The steps of a case in `infer_files`: read, compute, write; and which errors end the case, not the call."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from threading import Event
from typing import Any

from medseg.errors import InputRefused, MedsegError, OutOfMemory, UsageError, WriteFailed
from medseg.io.files import make_folder
from medseg.io.zarr_maps import ZarrMaps
from medseg.pipeline.cases import Case, Outputs, plan_masks
from medseg.pipeline.ensemble import joint_hash, joint_name
from medseg.pipeline.maps import output_channels
from medseg.pipeline.models import ModelChooser
from medseg.pipeline.options import InferOptions, Progress
from medseg.pipeline.outputs import Identity, earlier_case, write_case
from medseg.pipeline.report import undone_case
from medseg.pipeline.segmentation import Scan, Segmentation, read_scan, segment_scan
from medseg.plans import Plan
from medseg.verdict import Verdict
from medseg.volume import Volume

Document = dict[str, Any]

# Of one case. Anything else (a broken model, a bug, Ctrl-C) ends the call.
_ENDS_THE_CASE = (InputRefused, WriteFailed, OutOfMemory, UsageError)
# Under a limit the next scan is read ahead only where this one takes at most such a share of it.
_SHARE_OF_A_SCAN = 16


@dataclass(frozen=True, slots=True)
class Job:
    """A case and where its outputs go."""

    case: Case
    outputs: Outputs


@dataclass(frozen=True, slots=True, eq=False)
class Finished:
    """A case that was segmented and waits to be written. ``shown`` is the scan, where a preview needs it."""

    result: Segmentation
    shown: Volume | None
    maps: ZarrMaps | None


@dataclass(frozen=True, slots=True, eq=False)
class Steps:
    """Each step gives what the next one takes, or the case's entry in the report, which the others pass on.

    ``inputs`` are the resolved paths of all cases, which no mask may take. ``lone`` says that there is one
    case only: what is wrong about the call for it ends the call. Once ``hurry`` is set, writing ends after
    the file under way.
    """

    chooser: ModelChooser
    options: InferOptions
    preview: bool
    masks: bool
    inputs: frozenset[Path]
    overwrite: bool
    lone: bool
    progress: Progress | None
    hurry: Event = field(default_factory=Event)
    _unnamed: set[ZarrMaps] = field(default_factory=set)

    def read(self, job: Job) -> Scan | Document:
        """The scan with its models and hash; or the entry of a case that was finished earlier."""
        try:
            scan = read_scan(job.case, self.chooser, self.options)
        except _ENDS_THE_CASE as error:
            return self._undone(job, error, None)
        try:
            masks = plan_masks(job.outputs, scan.bundles[0].plan, self.inputs) if self.masks else []
            return self._earlier(job, scan, masks) or scan
        except (InputRefused, UsageError) as error:
            return self._undone(job, error, joint_name(scan.bundles))

    def may_read_ahead(self, found: Scan | Document) -> bool:
        """Whether the next scan, if it is no larger, has room beside this one."""
        most = self.options.max_memory
        return most is None or isinstance(found, dict) or found.volume.data.nbytes * _SHARE_OF_A_SCAN <= most

    def compute(self, job: Job, found: Scan | Document) -> Finished | Document:
        """The segmentation in memory, and maps on the disk, which do not bear their name yet."""
        if isinstance(found, dict):
            return found
        opened: list[ZarrMaps] = []

        def open_maps(volume: Volume, plan: Plan) -> ZarrMaps:
            make_folder(job.outputs.maps.parent)
            maps = ZarrMaps(job.outputs.maps, volume.geometry, output_channels(plan), self.options.maps)
            self._unnamed.add(maps)
            opened.append(maps)
            return maps

        try:
            result = segment_scan(found, self.chooser, self.options, open_maps, progress=self.progress)
        except _ENDS_THE_CASE as error:
            self._discard(opened)
            return self._undone(job, error, joint_name(found.bundles))
        return Finished(result, found.volume if self.preview else None, opened[0] if opened else None)

    def write(self, job: Job, finished: Finished | Document) -> Document:
        """The case's entry in the report, its files written."""
        if isinstance(finished, dict):
            return finished
        try:
            return write_case(
                job.case, job.outputs, finished.result, finished.shown, finished.maps, self.masks, self.hurry
            )
        except _ENDS_THE_CASE as error:
            return self._undone(job, error, finished.result.model)
        finally:
            self._discard([] if finished.maps is None else [finished.maps])

    def drop_maps(self) -> None:
        """Remove maps that never got their name."""
        self._discard(tuple(self._unnamed))

    def _discard(self, opened: list[ZarrMaps] | tuple[ZarrMaps, ...]) -> None:
        for maps in opened:
            maps.discard()
            self._unnamed.discard(maps)

    def _earlier(self, job: Job, scan: Scan, masks: list[Path]) -> Document | None:
        if self.overwrite:
            return None
        identity = Identity(scan.input_hash, joint_hash(scan.bundles), self.options.to_json())
        earlier = earlier_case(job.outputs, identity, self.options, self.preview, masks)
        return None if earlier is None else {**earlier, "input": job.case.input, "already_done": True}

    def _undone(self, job: Job, error: MedsegError, model: str | None) -> Document:
        """The entry of a case that an error ended."""
        if isinstance(error, InputRefused):
            verdict = Verdict.refusal(error)
        elif isinstance(error, WriteFailed):
            verdict = Verdict.of("failed", "write-failed", str(error))
        elif isinstance(error, OutOfMemory):
            verdict = Verdict.of("failed", "out-of-memory", str(error))
        elif self.lone:
            raise error
        else:
            # Wrong for this case (a series it does not have); the others may well be right.
            verdict = Verdict.of("refused", "option-does-not-fit", str(error))
            model = None
        return undone_case(job.case.input, verdict, model)
