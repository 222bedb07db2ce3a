"""The session: whatever is done to the array, by whomever, is on the disk and can be undone."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from napari_medseg.layers import Opening
from napari_medseg.recovery.known_scan import KnownScan
from napari_medseg.recovery.session_folders import sessions_folder
from napari_medseg.recovery.sessions import discard, open_session, recover, unfinished_sessions

import medseg
from medseg import LabelMap, LabelSet, UsageError
from medseg.errors import NotFound, WriteFailed
from tests.napari.session_case import SHAPE, after_a_kill, label_map, oblique, replayed

_BOX = (slice(2, 6), slice(1, 4), slice(0, 2))


@pytest.fixture
def session(tmp_path):
    opened = open_session(label_map(), case="case 1", root=tmp_path / "sessions")
    yield opened
    if opened.folder.exists():
        opened.close(discard=True)


class EditedAtRandom(RuleBasedStateMachine):
    """Against a list of whole arrays: what undo, redo and recovery have to give."""

    @initialize(order=st.sampled_from("FC"), dtype=st.sampled_from(["u1", "u2"]))
    def begin(self, order, dtype):
        self.root = Path(tempfile.mkdtemp())
        self.order, self.dtype = order, dtype
        self.session = open_session(label_map(order, dtype), case="case", root=self.root / "live")
        self.states, self.position, self.saved = [self.session.array.copy()], 0, 0

    @rule(
        corner=st.tuples(*(st.integers(0, n - 1) for n in SHAPE)),
        size=st.tuples(*(st.integers(1, n) for n in SHAPE)),
        value=st.integers(0, 255),
        how=st.sampled_from(["stroke", "told", "untold", "command"]),
    )
    def edit(self, corner, size, value, how):
        box = tuple(slice(a, a + n) for a, n in zip(corner, size, strict=True))
        array = self.session.array
        if how == "stroke":
            self.session.begin_step()
            array[box][::2] = value
            self.session.changed(box)
            self.session.sync()
            array[box] = value
            self.session.changed(box)
            self.session.end_step()
            self.session.sync()
        elif how == "told":
            self.session.end_step()
            array[box] = value
            self.session.changed(box)
            self.session.sync()
        elif how == "untold":
            self.session.end_step()
            array[box] = value
            self.session.sync(everything=True)
        else:
            with self.session.step():
                array[box] = value
        if not np.array_equal(array, self.states[self.position]):
            self.states = [*self.states[: self.position + 1], array.copy()]
            self.position += 1
            if self.saved >= self.position:
                self.saved = -1  # what was saved can no longer be reached

    @rule()
    def undo(self):
        before = self.session.array.copy()
        box = self.session.undo()
        self.position = max(0, self.position - 1)
        self._check_box(box, before)

    @rule()
    def redo(self):
        before = self.session.array.copy()
        box = self.session.redo()
        self.position = min(len(self.states) - 1, self.position + 1)
        self._check_box(box, before)

    @rule()
    def save(self):
        path = self.session.save(self.root / "saved.nii.gz", overwrite=True)
        np.testing.assert_array_equal(np.asanyarray(nib.load(path).dataobj), self.states[self.position])
        self.saved = self.position

    @rule()
    def die_and_recover(self):
        folder = after_a_kill(self.session, Path(tempfile.mkdtemp(dir=self.root)))
        self.session.close(discard=True)
        raw = np.dtype(self.dtype).newbyteorder("<")
        np.testing.assert_array_equal(replayed(folder, SHAPE, self.order, raw), self.states[self.position])
        self.session = recover(folder)

    @precondition(lambda self: self.position > 0)
    @rule()
    def undo_to_the_start(self):
        while self.session.undo() is not None:
            self.position -= 1
        assert self.position == 0

    @invariant()
    def the_array_is_what_was_done_to_it(self):
        np.testing.assert_array_equal(self.session.array, self.states[self.position])
        assert self.session.can_undo == (self.position > 0)
        assert self.session.can_redo == (self.position < len(self.states) - 1)
        assert self.session.is_modified == (self.position != self.saved)

    def _check_box(self, box, before):
        changed = np.argwhere(before != self.session.array)
        if box is None:
            assert not len(changed)
        else:
            for axis, one in enumerate(box):
                assert one.start <= changed[:, axis].min()
                assert changed[:, axis].max() < one.stop

    def teardown(self):
        if hasattr(self, "session"):
            self.session.close(discard=True)
            shutil.rmtree(self.root)


EditedAtRandom.TestCase.settings = settings(max_examples=25, stateful_step_count=20, deadline=None)
test_any_sequence_of_edits_is_undone_redone_and_recovered = EditedAtRandom.TestCase


def test_what_nobody_announces_is_recorded_all_the_same(session, tmp_path):
    """How soon: tests/acceptance/test_kill_session.py."""
    session.start()
    session.array[8, 6, 4] = 99
    until = time.monotonic() + 10
    while not session.can_undo and time.monotonic() < until:
        time.sleep(0.02)
    recovered = recover(after_a_kill(session, tmp_path))
    assert recovered.array[8, 6, 4] == 99
    recovered.close(discard=True)


def test_a_voxel_painted_while_another_is_recorded_is_in_this_record_or_the_next(session, tmp_path):
    session.start()
    stop = threading.Event()

    def paint():
        draw = np.random.default_rng(0)
        while not stop.is_set():
            place = tuple(draw.integers(0, n, 40) for n in SHAPE)
            session.array[place] = draw.integers(0, 256, 40)
            session.changed()

    painter = threading.Thread(target=paint)
    painter.start()
    until = time.monotonic() + 1.5
    while time.monotonic() < until:
        session.sync(everything=True)
    stop.set()
    painter.join()
    session.sync()
    folder = after_a_kill(session, tmp_path)
    np.testing.assert_array_equal(replayed(folder, SHAPE, "F", "<u1"), session.array)
    start = label_map().data
    while session.undo() is not None:
        pass
    np.testing.assert_array_equal(session.array, start)


def test_a_stroke_is_one_step_however_often_it_announces_itself(session):
    before = session.array.copy()
    for k in range(2):  # two strokes, one right behind the other
        session.begin_step()
        for n in range(4):
            session.array[n, :, k] = 42
            session.changed((slice(n, n + 1), slice(None), slice(k, k + 1)))
            session.sync()
        session.end_step()
    assert session.undo() is not None
    assert (session.array[:4, :, 0] == 42).all()
    np.testing.assert_array_equal(session.array[..., 1:], before[..., 1:])
    assert session.undo() is not None
    np.testing.assert_array_equal(session.array, before)
    assert session.undo() is None


def test_without_steps_a_pause_separates_what_is_undone_together(session, monkeypatch):
    monkeypatch.setattr("napari_medseg.recovery.change_notes.STEP_GAP_S", 0.15)
    before = session.array.copy()
    for pause, k in ((0.0, 0), (0.01, 1), (0.3, 2)):
        time.sleep(pause)
        session.array[..., k] = 42
        session.changed((slice(None), slice(None), slice(k, k + 1)))
        session.sync()
    session.undo()
    assert (session.array[..., :2] == 42).all()
    session.undo()
    np.testing.assert_array_equal(session.array, before)


def test_an_array_put_in_place_of_the_layers_is_an_edit(session):
    before = session.array.copy()
    other = np.ascontiguousarray(session.array[::-1])  # in the other order of memory, too
    session.attach(other)
    session.sync()
    session.undo()
    np.testing.assert_array_equal(other, before)
    with pytest.raises(UsageError, match="expected uint8"):
        session.attach(other.astype("u2"))


def test_names_given_to_new_labels_survive_a_kill(session, tmp_path):
    named = LabelSet((*session.labels, medseg.Label(7, "cyst", (1, 2, 3), "12345678")))
    session.set_labels(named)
    recovered = recover(after_a_kill(session, tmp_path))
    assert recovered.labels == named
    recovered.close(discard=True)


def test_an_id_without_a_name_gets_one_that_is_free(session):
    session.set_labels(LabelSet.from_names({1: "label 9", 3: "b", 200: "c"}))
    session.array[0, 0, 0] = 9
    assert session.label_map().labels[9].name == "label 9 (new)"


def test_two_windows_do_not_share_a_session(session):
    script = (
        "import sys; from pathlib import Path\n"
        "from napari_medseg.recovery.sessions import recover, unfinished_sessions\n"
        "folder = Path(sys.argv[1])\n"
        "print(len(unfinished_sessions(folder.parent)))\n"
        "recover(folder)"
    )
    plugin = str(Path(sys.modules["napari_medseg"].__file__).parents[1])
    command = [sys.executable, "-c", f"import sys; sys.path.insert(0, {plugin!r})\n{script}", session.folder]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "0"
    assert "open in another window" in done.stderr
    for attempt in (recover, discard):
        with pytest.raises(UsageError, match="open in another window"):
            attempt(session.folder)
    assert unfinished_sessions(session.folder.parent) == []


def test_a_session_closed_with_unsaved_edits_is_offered_and_one_without_is_gone(tmp_path):
    session = open_session(
        label_map(), case="Müller 1/2", scan=KnownScan((tmp_path / "a.nii.gz",)), root=tmp_path / "s"
    )
    start = session.array.copy()
    with session.step():
        session.array[_BOX] = 200
    session.close()
    (listed,) = unfinished_sessions(tmp_path / "s")
    assert (listed.case, listed.scan, listed.damage) == ("Müller 1/2", (tmp_path / "a.nii.gz",), None)
    assert listed.changed_voxels == (session.array != start).sum()
    assert listed.started <= listed.last_edit <= time.time()
    again = recover(listed.folder)
    again.save(tmp_path / "x_seg.nii.gz")
    again.close()
    assert list((tmp_path / "s").iterdir()) == []
    with pytest.raises(NotFound):
        recover(listed.folder)


@pytest.mark.parametrize(
    ("done", "stays"),
    [
        ("nothing", False),
        ("undone", False),
        ("painted back by hand", False),
        ("saved", False),
        ("saved, then undone", True),  # the file holds the edit, the labels no longer
        ("edited", True),
    ],
)
def test_a_killed_session_is_offered_only_where_something_would_be_missed(session, tmp_path, done, stays):
    start = session.array.copy()
    if done != "nothing":
        with session.step():
            session.array[_BOX] = 200
    if done.startswith("saved"):
        session.save(tmp_path / "case_seg.nii.gz")
    if done.endswith("undone"):
        session.undo()
    if done.startswith("painted"):
        with session.step():
            session.array[:] = start
    (tmp_path / "killed").mkdir()
    folder = after_a_kill(session, tmp_path / "killed")
    assert [one.folder for one in unfinished_sessions(folder.parent)] == [folder] * stays
    assert list(folder.parent.glob("case*[!k]")) == [folder] * stays


def test_discarding_removes_all_of_a_session(session):
    with session.step():
        session.array[_BOX] = 200
    session.close()
    discard(session.folder)
    assert list(session.folder.parent.iterdir()) == []


def test_sessions_lie_where_the_variable_says_else_in_the_users_state(monkeypatch, tmp_path):
    monkeypatch.setenv("MEDSEG_SESSIONS", str(tmp_path / "here"))
    assert sessions_folder() == tmp_path / "here"
    monkeypatch.delenv("MEDSEG_SESSIONS")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setattr(sys, "platform", "linux")
    assert sessions_folder() == tmp_path / "state" / "medseg" / "sessions"


def test_a_read_only_array_is_refused_with_the_cure(tmp_path):
    labels = label_map()
    labels.data.setflags(write=False)
    with pytest.raises(UsageError, match="give a copy"):
        open_session(labels, case="case", root=tmp_path)


def _file_of_another_program(path: Path) -> Path:
    """Labels with a sform and another, older qform: what a writer that only knows an affine would lose."""
    image = nib.Nifti1Image(label_map().data, oblique())
    image.set_sform(oblique(), code=4)
    image.set_qform(np.diag([-0.8, 1.5, 4.0, 1.0]), code=1)
    nib.save(image, path)
    return path


@pytest.mark.parametrize("killed", [False, True])
def test_labels_are_saved_on_their_own_grid_bit_for_bit(tmp_path, killed):
    path = _file_of_another_program(tmp_path / "case_seg.nii.gz")
    labels = medseg.read_labels(path)
    session = open_session(labels, case="case", labels_path=path, root=tmp_path / "sessions")
    if killed:
        folder = after_a_kill(session, tmp_path)
        session.close()
        session = recover(folder)
        assert session.notices == ()
    saved = nib.load(session.save(tmp_path / "out.nii.gz"))
    before = nib.load(path)
    np.testing.assert_array_equal(np.asanyarray(saved.dataobj), np.asanyarray(before.dataobj))
    for name in ("get_sform", "get_qform"):
        (found, code), (expected, expected_code) = (getattr(i, name)(coded=True) for i in (saved, before))
        assert code == expected_code
        np.testing.assert_array_equal(found, expected)
    session.close()


def test_a_file_of_medseg_is_written_again_byte_for_byte(tmp_path):
    path = medseg.write(label_map(), tmp_path / "case_seg.nii.gz")
    session = open_session(medseg.read_labels(path), case="c", labels_path=path, root=tmp_path / "sessions")
    assert session.save(tmp_path / "out.nii.gz").read_bytes() == path.read_bytes()
    session.close()


def test_provenance_tells_from_what_by_whom_and_what_changed(tmp_path):
    path = medseg.write(label_map(), tmp_path / "case_seg.nii.gz")
    scan = tmp_path / "case.nii.gz"
    nib.save(nib.Nifti1Image(np.zeros(SHAPE, "i2"), oblique()), scan)
    model = {"name": "brain", "sha256": "ab" * 32}
    (tmp_path / "case_seg.json").write_text(json.dumps({"provenance": {"model": model}}))
    session = open_session(
        medseg.read_labels(path),
        case="case",
        scan=KnownScan((scan,), opening=Opening("2", ("shear",))),
        labels_path=path,
        root=tmp_path / "sessions",
    )
    start_sha = _sha256(path)
    start = session.array.copy()
    for value in (1, 9):
        with session.step():
            session.array[_BOX][value % 2 :] = value
    with session.step():
        session.array[:] = 0
    session.undo()
    session.save(path, who="A. Reader", overwrite=True)  # over the labels that it began with
    facts = json.loads((tmp_path / "case_seg.provenance.json").read_text())
    opening = {"series": "2", "allow": ["shear"]}
    assert facts["scan"] == {"name": "case.nii.gz", "sha256": _sha256(scan), **opening}
    assert facts["other_scans"] == []
    assert facts["start"] == {"name": "case_seg.nii.gz", "sha256": start_sha}
    assert facts["segmentation"] == {"name": "case_seg.nii.gz", "sha256": _sha256(path)}
    assert (facts["model"], facts["who"], facts["edits"], facts["earlier"]) == (model, "A. Reader", 2, [])
    end = np.asanyarray(nib.load(path).dataobj)
    counts = {
        label: (((end == label) & (start != label)).sum(), ((start == label) & (end != label)).sum())
        for label in (1, 3, 9, 200)
    }
    assert {entry["id"]: (entry["added"], entry["removed"]) for entry in facts["labels"]} == counts
    session.close()

    again = open_session(medseg.read_labels(path), case="case", labels_path=path, root=tmp_path / "sessions")
    again.save(path, overwrite=True)
    later = json.loads((tmp_path / "case_seg.provenance.json").read_text())
    assert [one["session"] for one in later["earlier"]] == [facts["session"]]
    again.close()


def test_only_pauses_up_to_a_minute_count_as_work(tmp_path, monkeypatch):
    now = [1e9]
    monkeypatch.setattr("time.time", lambda: now[0])
    session = open_session(label_map(), case="case", root=tmp_path / "sessions")
    for n, pause in enumerate((10, 45, 3600, 5)):
        now[0] += pause
        with session.step():
            session.array[n, 0, 0] ^= 1
    recovered = recover(after_a_kill(session, tmp_path))
    recovered.save(tmp_path / "x.nii.gz")
    assert json.loads((tmp_path / "x.provenance.json").read_text())["active_seconds"] == 10 + 45 + 60 + 5
    session.close(discard=True)
    recovered.close()


@pytest.mark.skipif(sys.platform == "win32", reason="no limits of file sizes")
def test_a_full_disk_is_told_and_what_was_painted_meanwhile_is_kept_afterwards(session, tmp_path):
    failures = []
    session.start(failures.append)
    with session.step():
        session.array[0, 0, 0] = 77
    with _no_file_may_grow(session.folder / "journal"):
        session.array[_BOX] = 88
        session.changed(_BOX)
        time.sleep(0.4)
        assert isinstance(session.failure, WriteFailed)
        assert session.is_modified
        with pytest.raises(WriteFailed, match="MEDSEG_SESSIONS"):
            session.sync(everything=True)
    time.sleep(1)
    assert session.failure is None
    assert len(failures) == 1
    recovered = recover(after_a_kill(session, tmp_path))
    np.testing.assert_array_equal(recovered.array, session.array)
    recovered.close(discard=True)


@contextmanager
def _no_file_may_grow(journal: Path):
    """As on a full disk: a write gets some bytes in, then fails."""
    import resource

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (journal.stat().st_size + 9, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_label_map_of_the_session_shares_its_array(session):
    shared = session.label_map()
    assert isinstance(shared, LabelMap)
    assert np.shares_memory(shared.data, session.array)


def test_sessions_and_the_queue_import_no_viewer_and_no_network_library():
    plugin = str(Path(sys.modules["napari_medseg"].__file__).parents[1])
    code = (
        f"import sys; sys.path.insert(0, {plugin!r})\n"
        "import napari_medseg.recovery.sessions, napari_medseg.reviewing.review\n"
        "print(sorted({'napari', 'qtpy', 'torch', 'monai', 'pydicom', 'scipy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
