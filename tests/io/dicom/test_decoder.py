"""Decoding processes that die, hang, grow and lie; and what is left of them: nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import openjpeg
import pytest
from pydicom import uid

from medseg.errors import InputRefused
from medseg.io.dicom import decoder, pixels, pool
from medseg.io.dicom.codestream import BadPixels
from medseg.io.dicom.decoder import Request
from medseg.io.dicom.pool import Pool
from tests.io.dicom import made

CANARY = "Canary^Patient"
posix = pytest.mark.skipif(os.name != "posix", reason="signals and forks of POSIX")
linux = pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")

# A decoding process whose codec does what the stream tells it to do.
OBEDIENT = f'''
import os, signal, sys, time
sys.path.insert(0, {str(Path(decoder.__file__).parent)!r})
import decoder

def obey(stream, request):
    import numpy
    word = stream.decode()
    if word == "crash": os.kill(os.getpid(), signal.SIGKILL if os.name == "posix" else 9)
    if word == "hang": time.sleep(600)
    if word == "grow": numpy.ones(4 << 30, "u1")
    if word == "recurse": obey_again = lambda: obey_again(); obey_again()
    if word == "quote": raise ValueError("{CANARY}")
    if word == "exit": sys.exit(0)
    if word == "unknown": raise StopAsyncIteration("{CANARY}")
    if word == "short": return numpy.ones((1, 1), "u1")
    if word == "chatter": os.write(1, bytes(range(200)) * 9)
    if word == "sleep": time.sleep(0.2)
    return numpy.full((request.rows, request.columns), 7, "u1")

decoder._load = lambda codec, scratch: obey
decoder.main()
'''


@pytest.fixture
def obedient(tmp_path: Path) -> Iterator[Pool]:
    program = tmp_path / "obedient.py"
    program.write_text(OBEDIENT)
    found = Pool((sys.executable, "-P", str(program)), limit=2)
    yield found
    found.close()


def ask(where: Pool, word: str) -> bytes:
    found = bytearray(12)
    where.decode(Request(decoder.DECODE, 0, 3, 4, 1), word.encode(), memoryview(found))
    return bytes(found)


def gone(pid: int, seconds: float = 10) -> bool:
    """Whether a process ends in time."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        try:
            os.kill(pid, 0)
            if sys.platform == "linux" and "\nState:\tZ" in Path(f"/proc/{pid}/status").read_text():
                return True
        except (ProcessLookupError, FileNotFoundError):
            return True
        time.sleep(0.02)
    return False


@pytest.mark.parametrize("word", ["crash", "recurse", "quote", "exit", "unknown", "short"])
def test_a_frame_that_goes_wrong_is_refused_and_the_next_is_decoded(obedient: Pool, word: str) -> None:
    for _ in range(2):
        with pytest.raises(BadPixels) as fault:
            ask(obedient, word)
        assert fault.value.code == "undecodable"
        assert CANARY not in str(fault.value)
        assert ask(obedient, "good") == bytes([7]) * 12
    assert len(obedient.children) == 1


def test_what_a_library_prints_is_no_pixels(obedient: Pool) -> None:
    assert ask(obedient, "chatter") == bytes([7]) * 12


@linux
def test_a_frame_that_takes_too_much_memory_is_refused(obedient: Pool) -> None:
    with pytest.raises(BadPixels, match="MemoryError"):
        ask(obedient, "grow")
    assert ask(obedient, "good") == bytes([7]) * 12


def test_a_frame_that_takes_too_long_is_refused(obedient: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    ask(obedient, "good")
    start = time.monotonic()
    with monkeypatch.context() as patch:
        patch.setattr(pool, "_SECONDS", 0.3)
        with pytest.raises(BadPixels, match="too much time"):
            ask(obedient, "hang")
    assert time.monotonic() - start < 3
    assert ask(obedient, "good") == bytes([7]) * 12


@posix
def test_a_child_killed_in_the_middle_loses_its_frame_only(obedient: Pool) -> None:
    with ThreadPoolExecutor(2) as executor:
        lost = executor.submit(ask, obedient, "hang")
        while not obedient.children:
            time.sleep(0.01)
        (first,) = obedient.children
        slow = executor.submit(ask, obedient, "sleep")
        while len(obedient.children) < 2:
            time.sleep(0.01)
        time.sleep(0.3)
        os.kill(first.process.pid, signal.SIGKILL)
        with pytest.raises(BadPixels):
            lost.result(timeout=3)
        assert slow.result(timeout=3) == bytes([7]) * 12


@posix
def test_a_child_killed_while_idle_is_replaced_unseen(obedient: Pool) -> None:
    ask(obedient, "good")
    (child,) = obedient.children
    os.kill(child.process.pid, signal.SIGKILL)
    child.process.wait()
    assert ask(obedient, "good") == bytes([7]) * 12
    assert child not in obedient.children


def test_many_threads_share_few_children(obedient: Pool) -> None:
    with ThreadPoolExecutor(9) as executor:
        found = list(executor.map(lambda _: ask(obedient, "good"), range(60)))
    assert found == [bytes([7]) * 12] * 60
    assert 1 <= len(obedient.children) <= 2


def test_a_program_that_cannot_start_is_a_refusal() -> None:
    nothing = Pool((str(Path("no", "such", "python")),), limit=1)
    with pytest.raises(BadPixels, match="cannot be started"):
        ask(nothing, "good")


# --- the real one ---


def _compressed(folder: Path, count: int, syntax: str = uid.JPEG2000Lossless) -> tuple[Path, np.ndarray]:
    array = np.random.default_rng(2).integers(0, 999, (count, 64, 48)).astype("u2")
    item = made.dataset(array, BitsStored=12)
    if syntax == uid.JPEGLosslessSV1:
        streams = [made.lossless_jpeg(frame, folder) for frame in array]
        return made.save_streams(item, folder / "a.dcm", syntax, streams), array
    item.compress(uid.UID(syntax))
    item.save_as(folder / "a.dcm", enforce_file_format=True)
    return folder / "a.dcm", array


def test_two_threads_read_at_once(tmp_path: Path) -> None:
    path, array = _compressed(tmp_path, 30)
    frames = made.frames(path)
    with ThreadPoolExecutor(2) as executor:
        both = [executor.submit(pixels.read_frames, frames[::step]) for step in (1, -1)]
    np.testing.assert_array_equal(both[0].result(), array.T)
    np.testing.assert_array_equal(both[1].result(), array[::-1].T)


def test_damaged_frames_are_decoded_or_refused_and_good_ones_stay_good(tmp_path: Path) -> None:
    path, array = _compressed(tmp_path, 1)
    whole = path.read_bytes()
    begin = whole.index(b"\xff\x4f\xff\x51")
    dice = np.random.default_rng(4)
    refused = 0
    for _ in range(200):
        damaged = bytearray(whole)
        last = len(whole) - 12 if dice.random() < 0.5 else begin + 200
        for at in dice.integers(begin, last, 3):
            damaged[at] = dice.integers(256)
        path.write_bytes(damaged)
        try:
            assert pixels.read_frames(made.frames(path)).shape == (48, 64, 1)
        except InputRefused:
            refused += 1
    assert refused > 10
    path.write_bytes(whole)
    np.testing.assert_array_equal(pixels.read_frames(made.frames(path)), array.T)


@linux
def test_streams_that_would_balloon_in_the_decoder_are_refused() -> None:
    stream = bytes(openjpeg.utils.encode_array(np.zeros((3000, 3000), "u2"), photometric_interpretation=2))
    at = stream.index(b"\xff\x52")
    levels = stream[at + 9]
    coding = b"\x01" + stream[at + 5 : at + 14] + bytes([0] + [0x11] * levels)  # precincts of one sample
    hostile = stream[:at] + b"\xff\x52" + (2 + len(coding)).to_bytes(2, "big") + coding + stream[at + 14 :]
    one = Pool(limit=1)
    request = Request(decoder.DECODE, decoder.CODECS.index("jpeg-2000"), 3000, 3000, 1, 16, width=2)
    with pytest.raises(BadPixels):
        one.decode(request, hostile, memoryview(bytearray(18_000_000)))
    peaks = [
        int(line.split()[1])
        for child in one.children
        for line in Path(f"/proc/{child.process.pid}/status").read_text().splitlines()
        if line.startswith("VmHWM")
    ]
    assert max(peaks, default=0) < 400_000
    one.close()


def test_nothing_of_medseg_is_imported_by_a_child(tmp_path: Path) -> None:
    probe = f"""
        import runpy, sys
        sys.argv = ["decoder", {str(tmp_path / "scratch")!r}]
        runpy.run_path({decoder.__file__!r}, run_name="__main__")
        print([m for m in sys.modules if m.split(".")[0] in ("medseg", "numpy", "pydicom", "SimpleITK")],
              file=sys.stderr)
    """
    done = _python(probe, stdin=subprocess.DEVNULL)
    assert done.stderr == "[]\n"


def test_lossless_jpeg_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    own = Pool(limit=1)
    monkeypatch.setattr(pool, "shared", lambda: own)
    path, array = _compressed(tmp_path, 2, uid.JPEGLosslessSV1)
    np.testing.assert_array_equal(pixels.read_stored(made.frames(path)), array.T)
    assert [p for p in scratch.rglob("*") if p.is_file()] == []
    own.close()
    assert list(scratch.iterdir()) == []


# --- the life of the parent ---

_PARENT = """
    import os, signal, subprocess, sys, time
    from pathlib import Path
    from medseg.io.dicom import pixels, pool
    from tests.io.dicom import made
    frames = made.frames(Path(sys.argv[1]))
    array = pixels.read_frames(frames)
    def pids(): return [child.process.pid for child in pool.shared().children]
    print(*pids(), flush=True)
"""


def _python(code: str, *arguments: str, stdin: int | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(code), *arguments],
        capture_output=True, text=True, check=True, stdin=stdin, timeout=60,
    )  # fmt: skip


# A job in the background of a script starts with SIGINT ignored, and its children inherit that.
_INTERRUPTIBLE = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"


def _start(code: str, *arguments: str) -> subprocess.Popen[str]:
    program = _INTERRUPTIBLE + textwrap.dedent(_PARENT) + textwrap.dedent(code)
    return subprocess.Popen(
        [sys.executable, "-c", program, *arguments],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip


def test_children_end_with_a_parent_that_ends_well(tmp_path: Path) -> None:
    path, _ = _compressed(tmp_path, 2)
    done = _python(textwrap.dedent(_PARENT), str(path))
    assert done.stderr == ""
    assert all(gone(int(pid)) for pid in done.stdout.split())


@posix
@pytest.mark.parametrize(
    ("end", "code"), [(signal.SIGKILL, -9), (signal.SIGTERM, -15), (signal.SIGINT, -signal.SIGINT)]
)
def test_children_end_quietly_with_a_parent_that_is_killed(
    tmp_path: Path, end: signal.Signals, code: int
) -> None:
    path, _ = _compressed(tmp_path, 2)
    parent = _start("time.sleep(60)", str(path))
    assert parent.stdout is not None
    pids = [int(pid) for pid in parent.stdout.readline().split()]
    os.killpg(parent.pid, end)  # as a terminal does
    _, said = parent.communicate(timeout=20)
    assert parent.returncode == code
    assert said.count("Traceback") == (end == signal.SIGINT)
    assert pids
    assert all(gone(pid) for pid in pids)


@posix
def test_a_forked_worker_decodes_by_itself_and_keeps_no_child_alive(tmp_path: Path) -> None:
    path, _ = _compressed(tmp_path, 2)
    parent = _start(
        """
        if os.fork() == 0:
            again = pixels.read_frames(frames)
            print(int((again == array).all()), *pids(), flush=True)
            pool.shared().close()
            os.close(1)
            os.close(2)
            time.sleep(5)
            os._exit(0)
        os.wait3(os.WNOHANG)
        time.sleep(1)
        print(int((pixels.read_frames(frames) == array).all()), *pids(), flush=True)
        """,
        str(path),
    )
    said, errors = parent.communicate(timeout=30)
    first, worker, second = (line.split() for line in said.splitlines())
    assert errors == ""
    assert worker[0] == second[0] == "1"
    assert set(first) == set(second[1:])
    assert not set(first) & set(worker[1:])
    assert all(gone(int(pid), seconds=2) for pid in first)


def test_workers_of_a_pool_decode_one_frame_at_a_time(tmp_path: Path) -> None:
    program = tmp_path / "workers.py"
    program.write_text(
        textwrap.dedent("""
            import multiprocessing
            from medseg.io.dicom.pool import Pool

            def limit(_): return Pool().limit

            if __name__ == "__main__":
                with multiprocessing.get_context("spawn").Pool(1) as workers:
                    print(workers.map(limit, [0]))
        """)
    )
    done = subprocess.run([sys.executable, str(program)], capture_output=True, text=True, check=True)
    assert done.stdout == "[1]\n"
