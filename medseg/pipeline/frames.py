"""segment_frames: 2D frames in, label maps out, in order and as fast as they come."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue
from threading import Event, Semaphore, Thread
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg.errors import InputRefused, UsageError
from medseg.geometry import Geometry
from medseg.inference import Member, segment
from medseg.inference.empty import EmptyWindows
from medseg.inference.finish import decide
from medseg.inference.schedule import Schedule
from medseg.inference.stream import Group, check_shape
from medseg.models import ModelBundle
from medseg.pipeline.models import OpenModel, open_model
from medseg.pipeline.segmentation import infer
from medseg.preprocess import Patches
from medseg.volume import Volume

Frame = NDArray[Any]
Labels = NDArray[np.unsignedinteger[Any]]

_ONLY_WINDOW = (0, 0, 0)


def segment_frames(
    frames: Iterable[Frame],
    model: str | Path | ModelBundle | OpenModel,
    *,
    spacing_mm: tuple[float, float] | None = None,
    overlap: float | None = None,
    look_ahead: int = 2,
    backend: str = "auto",
    device: str = "auto",
    precision: str = "auto",
    threads: int | None = None,
) -> Iterator[Labels]:
    """Segment frames one after another: ultrasound, endoscopy, fluoroscopy, while they come or from a file.

    The labels are those that `infer` gives for each frame by itself, without its measurements and without
    a look at the model's scope. A network whose patch is as large as a frame is fastest: one window each.

    Parameters
    ----------
    frames
        Arrays (height, width), or (height, width, channels) with the model's channels in its order, such as
        red, green, blue. Integers or floats; sizes may change on the way. A frame may be written over as
        soon as the next one is asked for.
    model
        A 2D model: a name, a path, a bundle or an opened model.
    spacing_mm
        Size of a pixel along a row and along a column. Needed by a model that works at one spacing.
    overlap
        Of neighbouring windows, where a frame is larger than the patch; None takes the model's.
    look_ahead
        How many frames may be read and segmented before the caller asks for them, on threads of their own.
        With OpenVINO they are segmented side by side, each on its share of the threads: more frames a
        second, as a small network gains little from a second core, though each takes longer. 1: one after
        another on all threads, each as soon as can be. 0: nothing is read or done before it is asked for.
    backend, device, precision, threads
        As in `medseg.inference.open_backend`; of an opened model those it was opened with.

    Yields
    ------
    numpy.ndarray
        (height, width), a new array for each frame in the frames' order: 0 or a label id, uint8, or uint16
        where an id needs it.

    Raises
    ------
    UsageError
        At once: for a model that is not 2D, and as `open_model`.
    InputRefused
        In its turn: ``frame``, ``channels`` or ``spacing-unknown`` for a frame that does not fit, by its
        number from 0 on. What ``frames`` itself raises comes in its turn as well.

    Notes
    -----
    Once the iterator is closed (left by ``break`` and dropped, or by ``close()``) no further frame is read;
    closing waits for those under way.
    """
    if look_ahead < 0:
        raise UsageError(f"look_ahead {look_ahead}: expected 0 or more")
    if not isinstance(model, OpenModel):
        model = open_model(model, backend=backend, device=device, precision=precision, threads=threads)
    models = _side_by_side(model, look_ahead)
    segmenters = [_FrameSegmenter(one, spacing_mm, overlap) for one in models]
    if look_ahead:
        return _ahead(frames, segmenters, look_ahead)
    return (segmenters[0](frame, number) for number, frame in enumerate(frames))


def _side_by_side(model: OpenModel, most: int) -> list[OpenModel]:
    """The model itself, or as often as frames are segmented at once, each on its share of the threads."""
    settings = model.backend.settings
    if model.backend.name != "openvino" or (count := min(most, int(settings["threads"]))) < 2:
        return [model]
    share = int(settings["threads"]) // count
    return [
        open_model(model.bundle, backend="openvino", precision=str(settings["precision"]), threads=share)
        for _ in range(count)
    ]


class _FrameSegmenter:
    """One frame after another through a model, with what depends on their size alone kept."""

    def __init__(
        self, model: OpenModel, spacing_mm: tuple[float, float] | None, overlap: float | None
    ) -> None:
        plan = model.bundle.plan
        if plan.dimensions != 2:
            raise UsageError(f"model {plan.name!r} is {plan.dimensions}D: frames need a 2D model")
        if spacing_mm is not None and not (len(spacing_mm) == 2 and min(spacing_mm) > 0):
            raise UsageError(
                f"spacing_mm {spacing_mm}: expected two lengths above 0, along a row and a column"
            )
        self._model, self._plan = model, plan
        self._spacing, self._overlap = spacing_mm, overlap
        self._member = Member(plan, model.backend)
        self._type = np.uint8 if max(plan.class_ids) <= 255 else np.uint16
        self._schedule: tuple[Geometry, Schedule] | None = None

    def __call__(self, frame: Frame, number: int) -> Labels:
        """Label ids (height, width) of a frame, whose number is for messages."""
        volume = self._volume(frame, number)
        clean_up = self._plan.inference.postprocess or self._plan.inference.largest_piece
        if clean_up:
            ids = infer(volume, self._model, overlap=self._overlap).labels.data
        elif self._plan.inference.crop is None and (schedule := self._windows(volume)).windows == 1:
            ids = self._in_one_window(volume, schedule)
        else:
            ids = segment(volume, [self._member], overlap=self._overlap).ids
        return np.ascontiguousarray(ids[..., 0].T)

    def _volume(self, frame: Frame, number: int) -> Volume:
        """A view of the frame: columns along the first axis, rows along the second."""
        wanted = [channel.name for channel in self._plan.channels]
        if not isinstance(frame, np.ndarray) or frame.ndim not in (2, 3) or frame.dtype.kind not in "iuf":
            found = f"{frame.dtype} {frame.shape}" if isinstance(frame, np.ndarray) else type(frame).__name__
            raise InputRefused(
                f"frame {number}: {found}, expected an array of integers or floats, (height, width) or "
                "(height, width, channels)",
                code="frame",
            )
        channels = 1 if frame.ndim == 2 else frame.shape[2]
        if channels != len(wanted):
            raise InputRefused(
                f"frame {number}: {channels} channel(s), model {self._plan.name!r} needs {len(wanted)} "
                f"({', '.join(wanted)}): give (height, width, {len(wanted)}), or use another model",
                code="channels",
            )
        if self._plan.grid.spacing_mm is not None and self._spacing is None:
            raise InputRefused(
                f"frame {number}: model {self._plan.name!r} works at one spacing: give the "
                "pixels' as spacing_mm",
                code="spacing-unknown",
            )
        along, down = self._spacing or (1.0, 1.0)
        data = (frame[..., None] if frame.ndim == 2 else frame).transpose(2, 1, 0)[..., None]
        shape = (data.shape[1], data.shape[2], 1)
        known = None if self._schedule is None else self._schedule[0]
        if known is None or known.shape != shape:
            affine = np.diag([-along, -down, 1.0, 1.0])
            known = Geometry(shape, affine, is_2d=True, spacing_known=self._spacing is not None)
        return Volume(data, known)

    def _windows(self, volume: Volume) -> Schedule:
        if self._schedule is None or self._schedule[0] is not volume.geometry:
            group = Group(volume, [self._member], self._overlap, tta=False)
            self._schedule = volume.geometry, group.schedule
        return self._schedule[1]

    def _in_one_window(self, volume: Volume, schedule: Schedule) -> Labels:
        """What `segment` does where there are no sums to carry: no plan of memory, no threads."""
        labels = np.zeros(volume.geometry.shape, self._type)
        patches, rule = Patches(volume, self._plan), self._plan.inference.empty
        corner = schedule.corner(_ONLY_WINDOW)
        if rule is not None:
            empty = EmptyWindows(volume, patches.geometry, rule, data=patches.data)
            if empty.is_empty(corner, schedule.patch):
                return labels
        batch = patches.patch(corner, schedule.patch)[None]
        logits = self._model.backend(batch[..., 0])[..., None]
        check_shape(logits, (1, len(self._plan.output_names), *schedule.patch))
        labels[...] = decide(logits[0], schedule, _ONLY_WINDOW, self._plan)
        return labels


def _ahead(frames: Iterable[Frame], segmenters: Sequence[_FrameSegmenter], most: int) -> Iterator[Labels]:
    """Results in order, at most so many of them before they are asked for."""
    results: SimpleQueue[Future[Labels] | None] = SimpleQueue()
    free: SimpleQueue[_FrameSegmenter] = SimpleQueue()
    for one in segmenters:
        free.put(one)
    room, stopped = Semaphore(most), Event()
    pool = ThreadPoolExecutor(len(segmenters), thread_name_prefix="medseg-frame")

    def segmented(one: _FrameSegmenter, frame: Frame, number: int) -> Labels:
        try:
            return one(frame, number)
        finally:
            free.put(one)

    def read() -> None:
        source, number = iter(frames), 0
        while room.acquire() and (one := free.get()) and not stopped.is_set():
            try:
                frame = next(source)
            except StopIteration:
                break
            if len(segmenters) > 1 and isinstance(frame, np.ndarray):
                frame = frame.copy()  # the next one is asked for before this one is done
            results.put(pool.submit(segmented, one, frame, number))
            number += 1

    def work() -> None:
        try:
            read()
        except BaseException as raised:  # noqa: BLE001 - the caller's thread raises it
            failed: Future[Labels] = Future()
            failed.set_exception(raised)
            results.put(failed)
        results.put(None)

    thread = Thread(target=work, name="medseg-frames", daemon=True)
    thread.start()
    try:
        while (result := results.get()) is not None:
            labels = result.result()
            room.release()
            yield labels
    finally:
        stopped.set()
        room.release()
        thread.join()
        pool.shutdown()
