"""Edit only inside, whoever writes into the labels: no window, the session's comparisons by hand."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from napari_medseg.correction import tools
from napari_medseg.correction.correcting import Correction, Place
from napari_medseg.correction.limits import Limits
from napari_medseg.recovery.sessions import open_session

from .session_case import SHAPE, label_map


@pytest.fixture(params=["C", "F"])
def correction(request, tmp_path, monkeypatch):
    """A case with a scan, in either memory order."""
    monkeypatch.setenv("MEDSEG_SESSIONS", str(tmp_path / "sessions"))
    labels = label_map(order=request.param)
    made = Correction(
        open_session(labels, case="case"), np.random.default_rng(3).normal(100, 20, SHAPE).astype(np.float32)
    )
    yield made
    made.session.close(discard=True)


def _limit(correction, inside_label=3):
    region = np.random.default_rng(5).integers(0, 2, SHAPE)
    correction.limits = Limits(inside_label, (85.0, 130.0), correction.image, region)
    return (correction.image >= 85) & (correction.image <= 130) & (region != 0)


def test_what_anybody_writes_is_cut_back_to_the_limits_and_is_one_step(correction):
    session, start, told = correction.session, correction.session.array.copy(), []
    may = _limit(correction) & (start == 3)
    session.put_back = lambda: told.append(True)
    session.sync(everything=True)
    written = np.s_[1:6, 0:5, 2:5]
    correction.layer_data[:] = 200
    session.array[written] = 1
    assert session.sync(everything=True) == may.sum()
    expected = np.where(may, 200, start)
    expected[written] = np.where(may, 1, start)[written]
    np.testing.assert_array_equal(session.array, expected)
    assert len({1, 200} & set(expected[may])) == 2
    assert told == [True]
    assert session.sync(everything=True) == 0
    session.undo()
    np.testing.assert_array_equal(session.array, start)
    assert not session.can_undo
    assert told == [True]


def test_limits_hold_for_what_comes_behind_them_until_they_are_lifted(correction):
    session = correction.session
    session.array[2, 2, 2:4] = 77  # nobody has found it when the limits are set
    _limit(correction)
    session.sync(everything=True)
    assert (session.array[2, 2, 2:4] == 77).all()
    session.array[2, 2, 2:4] = 78
    session.sync(everything=True)
    assert (session.array[2, 2, 2:4] == 77).all()
    correction.limits = Limits()
    session.array[2, 2, 2:4] = 78
    session.sync(everything=True)
    assert (session.array[2, 2, 2:4] == 78).all()


def test_other_data_is_cut_back_to_the_limits_in_its_own_memory(correction):
    session, start = correction.session, correction.session.array.copy()
    may = _limit(correction) & (start == 3)
    session.sync(everything=True)
    other = np.full_like(start, 9)
    session.attach(other)
    session.sync(everything=True)
    np.testing.assert_array_equal(other, np.where(may, 9, start))


def test_undo_redo_and_steps_of_our_own_are_not_cut(correction):
    session, start = correction.session, correction.session.array.copy()
    session.array[:, :, 1] = 5
    session.sync(everything=True)
    session.end_step()
    painted = session.array.copy()
    _limit(correction, inside_label=200)
    session.sync(everything=True)
    for take, expected in ((session.undo, start), (session.redo, painted)):
        take()
        session.sync(everything=True)
        np.testing.assert_array_equal(session.array, expected)
    with session.step():
        session.array[:, 0] = 1
    np.testing.assert_array_equal(session.array[:, 0], 1)
    session.undo()
    session.sync(everything=True)
    np.testing.assert_array_equal(session.array, painted)


def test_every_tool_keeps_to_the_limits_and_nothing_of_it_is_cut(correction):
    session = correction.session
    _limit(correction)
    names, place = session.labels, Place(2, 1)
    for tool in (
        partial(tools.smooth, mm=3.0), partial(tools.grow, mm=3.0), partial(tools.shrink, mm=3.0),
        tools.fill_holes, tools.interpolate, partial(tools.copy_to, target=2),
        partial(tools.merge_into, other=1), partial(tools.swap_with, other=1),
        partial(tools.split_component, voxel=tuple(np.argwhere(session.array == 3)[0]), names=names),
    ):  # fmt: skip
        before = session.array.copy()
        session.sync(everything=True)
        edit = tool(correction.job(3, place, "volume", "all"))
        expected = before.copy()
        edit.apply(expected)
        correction.apply(edit)
        session.sync(everything=True)
        np.testing.assert_array_equal(session.array, expected)
        where = correction.limits.where(before)
        np.testing.assert_array_equal(session.array[~where], before[~where])
        session.undo()
        np.testing.assert_array_equal(session.array, before)
