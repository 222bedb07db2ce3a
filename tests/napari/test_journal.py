"""The journal's file: whatever a crash leaves of it, what was whole before is there again."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from napari_medseg.recovery.journal import EDIT, SAVED, read_journal
from napari_medseg.recovery.sessions import open_session, recover, unfinished_sessions

from medseg import InputRefused
from tests.napari.session_case import after_a_kill, label_map, replayed


@pytest.fixture
def killed(tmp_path):
    """A session's folder after three edits, the array after each, and where the records begin."""
    session = open_session(label_map(), case="case", root=tmp_path / "live")
    states = [session.array.copy()]
    for n, value in enumerate((3, 200, 1)):
        with session.step():
            session.array[n : n + 4, 1:5, n] = value
        states.append(session.array.copy())
    folder = after_a_kill(session, tmp_path)
    session.close(discard=True)
    contents = read_journal(folder / "journal")
    return folder, states, [record.offset for record in contents.records] + [contents.end]


def _with_journal(folder, content, name):
    copy = folder.with_name(name)
    shutil.copytree(folder, copy)
    (copy / "journal").write_bytes(content)
    return copy


def _recovered(folder, **options):
    session = recover(folder, **options)
    array, notices = session.array.copy(), session.notices
    session.close(discard=True)
    return array, notices


def test_a_record_torn_at_any_byte_is_dropped_and_all_before_it_is_kept(killed):
    folder, states, offsets = killed
    content = (folder / "journal").read_bytes()
    for cut in range(offsets[2], offsets[3]):
        array, notices = _recovered(_with_journal(folder, content[:cut], "torn"))
        np.testing.assert_array_equal(array, states[2])
        assert len(notices) == (cut > offsets[2])


def test_zeros_in_place_of_the_last_record_are_a_torn_end_too(killed):
    folder, states, offsets = killed
    content = (folder / "journal").read_bytes()[: offsets[2]]
    for missing in (1, 11, 12, 13, 400):
        array, notices = _recovered(_with_journal(folder, content + bytes(missing), "zeros"))
        np.testing.assert_array_equal(array, states[2])
        assert "left out" in notices[0]


def test_work_goes_on_behind_a_torn_record_and_is_kept(killed):
    folder, states, offsets = killed
    content = (folder / "journal").read_bytes()
    torn = _with_journal(folder, content[: offsets[3] - 5], "torn")
    session = recover(torn)
    with session.step():
        session.array[8, 6, 4] = 77
    session.close()
    states[2][8, 6, 4] = 77
    np.testing.assert_array_equal(_recovered(torn)[0], states[2])


def test_damage_in_the_middle_is_refused_by_the_records_number_and_what_is_before_it_is_offered(killed):
    folder, states, offsets = killed
    content = (folder / "journal").read_bytes()
    for at in range(offsets[1], offsets[2]):
        altered = content[:at] + bytes([content[at] ^ 0x10]) + content[at + 1 :]
        copy = _with_journal(folder, altered, "altered")
        with pytest.raises(InputRefused, match="record 2, at byte") as refusal:
            recover(copy)
        assert refusal.value.code == "journal-damaged"
        if at % 8 == 0:  # all bytes take the same way from here
            (listed,) = (one for one in unfinished_sessions(copy.parent) if one.folder == copy)
            assert listed.damage is not None
            assert listed.changed_voxels == np.count_nonzero(states[1] != states[0])
            session = recover(copy, before_damage=True)
            np.testing.assert_array_equal(session.array, states[1])
            assert (copy / "journal.damaged").read_bytes() == altered
            session.close(discard=True)
        else:
            shutil.rmtree(copy)


@pytest.mark.parametrize("change", ["left out", "repeated", "swapped"])
def test_records_in_another_order_are_damage(killed, change):
    folder, _, (first, second, third, end) = killed
    content = (folder / "journal").read_bytes()
    one, two, three = content[first:second], content[second:third], content[third:end]
    records = {"left out": one + three, "repeated": one + two + two + three, "swapped": two + one + three}
    with pytest.raises(InputRefused, match="record"):
        recover(_with_journal(folder, content[:first] + records[change], "changed"))


def test_a_damaged_start_is_refused_and_listed_as_beyond_recovery(killed):
    folder, _, _ = killed
    start = bytearray((folder / "start").read_bytes())
    start[len(start) // 2] ^= 4
    (folder / "start").write_bytes(start)
    with pytest.raises(InputRefused, match="began with"):
        recover(folder)
    (listed,) = (one for one in unfinished_sessions(folder.parent) if one.folder == folder)
    assert listed.changed_voxels is None
    assert "began with" in listed.damage


@pytest.mark.parametrize(("order", "dtype"), [("F", "u1"), ("C", "u1"), ("F", "u2")])
def test_the_file_is_as_its_description_says(tmp_path, order, dtype):
    session = open_session(label_map(order, dtype), case="case", root=tmp_path / "live")
    draw = np.random.default_rng(5)
    for _ in range(12):
        with session.step():
            session.array[tuple(draw.integers(0, n, 6) for n in session.array.shape)] = draw.choice(
                [0, 1, 255]
            )
        if draw.random() < 0.3:
            session.undo()
        if draw.random() < 0.3:
            session.redo()
    session.save(tmp_path / "saved.nii.gz")
    folder = after_a_kill(session, tmp_path)
    np.testing.assert_array_equal(
        replayed(folder, session.array.shape, order, np.dtype(dtype).newbyteorder("<")), session.array
    )
    kinds = [record.kind for record in read_journal(folder / "journal").records]
    assert kinds[-1] == SAVED
    assert kinds.count(EDIT) == 12
    session.close()


def test_indices_beyond_four_billion_keep_their_value(tmp_path):
    """A step between indices that takes more than 32 bits: no array of that size is needed to test it."""
    from io import BytesIO

    from napari_medseg.recovery.differences import Difference
    from napari_medseg.recovery.journal import edit_body, read_edit

    indices = np.array([3, 4, 2**33, 2**33 + 1], np.int64)
    edit = Difference(indices, np.array([0, 1, 2, 3], "u2"), np.array([9, 8, 7, 65535], "u2"))
    body = edit_body(edit, 7, 0.0)
    found = read_edit(BytesIO(len(body).to_bytes(4, "little") + bytes(8) + body), 0, np.dtype("u2"))
    np.testing.assert_array_equal(found.indices, indices)
    np.testing.assert_array_equal(found.new, edit.new)
