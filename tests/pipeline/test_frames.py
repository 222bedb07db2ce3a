"""Frames in real time: the labels of `infer`, in order, bounded look-ahead, clean ends."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import medseg
from medseg.errors import InputRefused, UsageError
from medseg.geometry import Geometry
from medseg.plans import Plan
from medseg.volume import Volume
from tests.threshold_model import expected_classes, save_threshold_model, threshold_plan

IDS = np.array([0, 7, 255], np.uint8)


def model(folder: Path, *, channels: tuple[str, ...] = ("grey",), **changes: object) -> medseg.ModelBundle:
    values = threshold_plan(dimensions=2, patch=(48, 40), channels=channels).model_dump(mode="json")
    return save_threshold_model(folder, Plan.checked({**values, **changes}))


def made(count: int, shape: tuple[int, ...] = (40, 48), dtype: str = "uint8") -> list[np.ndarray]:
    """Smooth frames (height, width[, channels]), so that labels are not noise."""
    rows, columns = np.indices(shape[:2])
    frames = []
    for n in range(count):
        values = 120 + 100 * np.sin((rows + 3 * n) / 7.0) * np.cos((columns + n) / 5.0)
        frame = values if len(shape) == 2 else values[..., None] * np.array([1.0, 0.4, 0.7])
        frames.append(frame.astype(dtype))
    return frames


def by_infer(frame: np.ndarray, bundle: medseg.ModelBundle, spacing: tuple[float, float] | None = None):
    """What medseg.infer says of a frame as a picture of its own."""
    channels = frame if frame.ndim == 3 else frame[..., None]
    data = np.ascontiguousarray(channels.transpose(2, 1, 0))[..., None]
    affine = np.diag([*(-s for s in spacing or (1.0, 1.0)), 1.0, 1.0])
    grid = Geometry(data.shape[1:], affine, is_2d=True, spacing_known=spacing is not None)
    return medseg.infer(Volume(data, grid), bundle).labels.data[..., 0].T


@pytest.mark.parametrize("look_ahead", [0, 1, 3])
def test_frames_get_their_labels_in_order(tmp_path, look_ahead):
    frames = made(7)
    found = list(medseg.segment_frames(iter(frames), model(tmp_path / "m"), look_ahead=look_ahead))
    assert len(found) == 7
    for frame, labels in zip(frames, found, strict=True):
        assert labels.shape == frame.shape
        assert labels.dtype == np.uint8
        expected = IDS[expected_classes(frame[..., None])][..., 0]
        np.testing.assert_array_equal(labels, expected)
        assert len(np.unique(expected)) == 3
    assert not np.shares_memory(found[0], found[1])


@pytest.mark.parametrize(
    ("shape", "dtype", "changes", "spacing"),
    [
        ((40, 48), "uint8", {}, None),  # one window, exactly
        ((31, 45), "uint16", {}, None),  # one window, padded
        ((77, 130), "float32", {}, None),  # several windows
        ((40, 48, 3), "uint8", {"channels": ("red", "green", "blue")}, None),
        ((40, 48), "uint8", {"grid": {"spacing_mm": (0.5, 0.4, 1.0)}}, (0.45, 0.3)),  # resampled
        ((40, 48), "uint8", {"grid": {"neighbours": 0}, "inference": {"largest_piece": True}}, None),
        ((40, 48), "uint8", {"inference": {"crop": {"above": 0.6, "margin_mm": 2.0}}}, None),
        ((40, 48), "uint8", {"inference": {"empty": {"below": 500.0}}}, None),  # all is empty
        ((40, 48), "uint8", {"inference": {"empty": {"below": 60.0}}}, None),  # nothing is
    ],
)
def test_the_fast_path_gives_what_infer_gives(tmp_path, shape, dtype, changes, spacing):
    bundle = model(tmp_path / "m", **changes)
    frames = made(3, shape, dtype)
    found = list(medseg.segment_frames(frames, bundle, spacing_mm=spacing))
    for frame, labels in zip(frames, found, strict=True):
        np.testing.assert_array_equal(labels, by_infer(frame, bundle, spacing))
    assert ("empty" in changes.get("inference", {})) or found[0].any()


def test_sizes_may_change_on_the_way(tmp_path):
    bundle = model(tmp_path / "m")
    frames = [*made(2), *made(1, (60, 90)), *made(1)]
    for frame, labels in zip(frames, medseg.segment_frames(frames, bundle), strict=True):
        np.testing.assert_array_equal(labels, by_infer(frame, bundle))


@pytest.mark.parametrize("look_ahead", [0, 1, 2])
def test_a_frame_may_be_written_over_once_the_next_is_asked_for(tmp_path, look_ahead):
    bundle, frames = model(tmp_path / "m"), made(6)

    def camera() -> Iterator[np.ndarray]:
        buffer = np.empty_like(frames[0])
        for frame in frames:
            buffer[...] = frame
            yield buffer
            buffer[...] = 255

    found = list(medseg.segment_frames(camera(), bundle, threads=2, look_ahead=look_ahead))
    for frame, labels in zip(frames, found, strict=True):
        np.testing.assert_array_equal(labels, by_infer(frame, bundle))


def test_two_networks_on_half_of_the_threads_each_give_what_one_gives(tmp_path, monkeypatch):
    from medseg.pipeline import frames as room

    opened: list[int | None] = []
    original = room.open_model

    def counted(*args, threads=None, **options):
        opened.append(threads)
        return original(*args, threads=threads, **options)

    monkeypatch.setattr(room, "open_model", counted)
    bundle, frames = model(tmp_path / "m"), made(8)
    found = list(medseg.segment_frames(frames, bundle, backend="openvino", threads=2, look_ahead=4))
    assert opened == [2, 1, 1]
    for frame, labels in zip(frames, found, strict=True):
        np.testing.assert_array_equal(labels, by_infer(frame, bundle))


def test_no_frame_is_read_before_there_is_room_for_its_result(tmp_path):
    read: list[int] = []

    def source() -> Iterator[np.ndarray]:
        for n, frame in enumerate(made(20)):
            read.append(n)
            yield frame

    stream = medseg.segment_frames(source(), model(tmp_path / "m"), look_ahead=2)
    assert read == []
    next(stream)
    time.sleep(0.3)
    assert len(read) <= 3  # the one in hand and two ahead
    stream.close()
    seen = len(read)
    time.sleep(0.1)
    assert len(read) == seen <= 4
    assert not [t for t in threading.enumerate() if t.name == "medseg-frames"]


@pytest.mark.parametrize("look_ahead", [0, 2])
def test_an_exception_of_the_source_comes_after_the_frames_before_it(tmp_path, look_ahead):
    def source() -> Iterator[np.ndarray]:
        yield from made(2)
        raise ConnectionError("the camera is gone")

    stream = medseg.segment_frames(source(), model(tmp_path / "m"), look_ahead=look_ahead)
    assert [next(stream).shape, next(stream).shape] == [(40, 48)] * 2
    with pytest.raises(ConnectionError, match="the camera is gone"):
        next(stream)
    assert next(stream, None) is None or look_ahead == 0
    assert not [t for t in threading.enumerate() if t.name == "medseg-frames"]


def test_what_does_not_fit_is_refused_by_the_frames_number(tmp_path):
    bundle = model(tmp_path / "m")
    stream = medseg.segment_frames([*made(1), *made(1, (40, 48, 3))], bundle)
    next(stream)
    with pytest.raises(InputRefused, match=r"frame 1: 3 channel\(s\).*needs 1 \(grey\)"):
        next(stream)
    with pytest.raises(InputRefused, match="expected an array of integers or floats"):
        next(medseg.segment_frames([made(1)[0] > 100], bundle))
    spaced = model(tmp_path / "spaced", grid={"spacing_mm": (0.5, 0.4, 1.0)})
    with pytest.raises(InputRefused, match="spacing_mm"):
        next(medseg.segment_frames(made(1), spaced))


def test_a_wrong_call_fails_at_once(tmp_path):
    solid = save_threshold_model(tmp_path / "solid", threshold_plan())
    with pytest.raises(UsageError, match="frames need a 2D model"):
        medseg.segment_frames([], solid)
    with pytest.raises(UsageError, match="look_ahead -1"):
        medseg.segment_frames([], model(tmp_path / "flat"), look_ahead=-1)
