"""Damage files of every kind and see that medseg refuses them by name, or reads what they say.

    python tests/acceptance/fuzz_files.py --format dicom --cases 10000
    python tests/acceptance/fuzz_files.py --format all --minutes 30 --seed 7 --keep found

Every case is a small whole file (made by other people's libraries), damaged: blindly, or in a field of its
header. A process of its own reads it with medseg. A case passes where that process

* refuses by name, within 5 seconds and 1 GB (children included), without a word of the patient whom every
  text field names, leaving no temporary file; or
* accepts, and an independent library reads the same voxels at the same places from the same damaged file, or,
  where none reads it any more, the voxels are those from before the damage.

Anything else is a failure; with --keep its files are kept.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from tests.acceptance.files.bench import Bench, Case, Tally  # noqa: E402 - needs the path above
from tests.acceptance.files.mutations import mutate  # noqa: E402
from tests.acceptance.files.seeds import FAMILIES, Seed, make_seeds  # noqa: E402

_MB = 1 << 20


def cases(family: str, seeds: list[Seed], start: int) -> Iterator[Case]:
    """Damaged files without end, the same for the same start."""
    draw = Random(f"{family} {start}")
    for number in itertools.count(1):
        seed = seeds[(number - 1) % len(seeds)]
        name = draw.choice(seed.mutable or tuple(seed.files))
        other = draw.choice(seeds)
        content, damage = mutate(draw, family, seed.files[name], draw.choice(list(other.files.values())))
        yield Case(number, seed, {name: content}, f"{damage} of {name}")


def fuzz(family: str, wanted: int | None, until: float | None, options: argparse.Namespace) -> Tally:
    """Run the cases of one format over the workers."""
    tally, lock = Tally(), threading.Lock()
    with tempfile.TemporaryDirectory(prefix="fuzz-", dir=_quick_folder()) as name:
        folder = Path(name)
        stream = cases(family, make_seeds(family, folder / "seeds"), options.seed)
        if wanted is not None:
            stream = itertools.islice(stream, wanted)

        def next_case() -> Case | None:
            with lock:
                return None if until is not None and time.monotonic() > until else next(stream, None)

        def work(bench: Bench) -> None:
            while (case := next_case()) is not None:
                bench.run(case)

        benches = [
            Bench(_made(folder / f"worker{n}"), tally, options.keep, lock) for n in range(options.workers)
        ]
        errors: list[BaseException] = []
        threads = [threading.Thread(target=_guarded, args=(work, bench, errors)) for bench in benches]
        try:
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        finally:
            for bench in benches:
                bench.close()
        if errors:
            raise errors[0]
    return tally


def _guarded(work: Any, bench: Bench, errors: list[BaseException]) -> None:
    try:
        work(bench)
    except BaseException as error:  # noqa: BLE001 - raised again in the main thread
        errors.append(error)


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


def _quick_folder() -> str | None:
    return "/dev/shm" if Path("/dev/shm").is_dir() else None


def table(tallies: dict[str, Tally], seconds: dict[str, float]) -> str:
    """The numbers, for people."""
    titles = ("cases", "refused", "accepted", "failed", "slowest", "peak", "per s")
    lines = ["format    " + "".join(f"{title:>10}" for title in titles)]
    for name, t in tallies.items():
        lines.append(
            f"{name:10}{t.cases:10}{t.refused.total():10}{t.accepted.total():10}{t.failures.total():10}"
            f"{t.slowest_s:8.2f} s{t.peak // _MB:7} MB{t.cases / seconds[name]:10.0f}"
        )
    for name, t in tallies.items():
        lines += ["", f"{name}: repeated for being slow {t.retried}"]
        for title, counter in (("refused", t.refused), ("accepted", t.accepted), ("FAILED", t.failures)):
            lines += [f"  {title}: {code} {count}" for code, count in counter.most_common()]
    return "\n".join(lines)


def main() -> int:
    """Parse, fuzz, print the table; 1 where anything failed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--format", choices=(*FAMILIES, "all"), default="all")
    parser.add_argument("--cases", type=int, help="cases per format (1000 unless --minutes is given)")
    parser.add_argument("--minutes", type=float, help="run for so long, formats in equal parts")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--keep", type=Path, help="folder for the files of failures")
    options = parser.parse_args()
    if options.cases is None and options.minutes is None:
        options.cases = 1000
    families = FAMILIES if options.format == "all" else (options.format,)
    tallies, seconds = {}, {}
    for family in families:
        start = time.monotonic()
        until = start + options.minutes * 60 / len(families) if options.minutes is not None else None
        tallies[family] = fuzz(family, options.cases, until, options)
        seconds[family] = time.monotonic() - start
    print(table(tallies, seconds))
    return int(any(t.failures for t in tallies.values()))


if __name__ == "__main__":
    sys.exit(main())
