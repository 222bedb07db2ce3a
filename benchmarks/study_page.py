"""What the page of a large study costs: to write, to keep, to open.

    python benchmarks/study_page.py [--cases 100000] [--labels 33] [--measures 2] [--out FOLDER]

Made cases with volumes, a covariate, two groups, reasons, scores, and pictures of 20 kB for the worst.
Measured: the time (wall and processor) and the peak memory of a process that writes the page, and the
processor time of making the cases alone; the size of the file; and, where there is a Chromium and
playwright, the time from opening the file to the grid, to everything drawn, and for a search, a sort by
volume, another label's box plot, a case, and that case's values. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from medseg.report.study import Agreement, Counts, Estimate, Measure, StudyCase, StudyPage, write_study_page
from medseg.verdict import OK, Verdict

PICTURES, PICTURE_BYTES = 1000, 20_000
_PNG_START = b"\x89PNG\r\n\x1a\n"


def cases(count: int, labels: list[str], measures: list[Measure], folder: Path) -> Iterator[StudyCase]:
    """Cases one at a time; one in 100 fails, one in 10 has a warning, the score rises."""
    rng = np.random.default_rng(0)
    sizes = rng.lognormal(1, 1, len(labels))
    for n in range(count):
        verdict = OK
        if n % 100 == 99:
            verdict = Verdict.of("failed", "unreadable-file", f"The file ends after {n * 1000} bytes.")
        elif n % 10 == 5:
            verdict = Verdict.of(
                "warning", "out-of-scope", "The slices are thicker than those it was made for."
            )
        values = (rng.normal(1, 0.15, (len(labels), len(measures))) * sizes[:, None]).tolist()
        names = [measure.name for measure in measures]
        yield StudyCase(
            f"sub-{n:06d}_ses-01",
            verdict,
            {"group": ("control", "patient")[n % 2], "site": f"site {n % 23}", "age": 20 + n % 70},
            {label: dict(zip(names, own, strict=True)) for label, own in zip(labels, values, strict=True)},
            0.3 + 0.69 * n / count,
            folder / "pictures" / f"sub-{n:06d}_ses-01.png",
        )


def build(count: int, label_count: int, measure_count: int, folder: Path) -> dict[str, float]:
    """Write the page in this process."""
    labels = [f"structure {n // 2} {('left', 'right')[n % 2]}" for n in range(label_count)]
    measures = [Measure(f"m{n}", f"Measure {n}", "mL") for n in range(measure_count)]
    (folder / "pictures").mkdir(parents=True, exist_ok=True)
    for n in range(min(count, PICTURES)):
        noise = np.random.default_rng(n).bytes(PICTURE_BYTES)
        (folder / "pictures" / f"sub-{n:06d}_ses-01.png").write_bytes(_PNG_START + noise)
    rng = np.random.default_rng(1)
    both = np.round(rng.normal(5, 1, (count, 1)) + rng.normal(0, 0.2, (count, 2)), 3).tolist()
    pairs = [(f"sub-{n:06d}_ses-01", a, b) for n, (a, b) in enumerate(both)]
    limits = (Estimate(0.0), Estimate(-0.55), Estimate(0.55))
    page = StudyPage(
        "A large study", datetime.now(UTC), Counts(count, count - count // 100, count // 100),
        cases(count, labels, measures, folder), labels, measures, groups=("group", "site"),
        agreements=(Agreement(labels[0], "mL", "medseg", "reference", pairs, *limits),),
    )  # fmt: skip
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start, start_cpu = time.perf_counter(), time.process_time()
    path = write_study_page(page, folder / "report.html")
    return {
        "write_s": round(time.perf_counter() - start, 2),
        "write_cpu_s": round(time.process_time() - start_cpu, 2),
        "of_which_making_cases_cpu_s": round(_exhausted(cases(count, labels, measures, folder)), 2),
        "peak_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        "peak_before_mb": round(before / 1024),
        "file_mb": round(path.stat().st_size / 1e6, 1),
    }


def _exhausted(made: Iterator[StudyCase]) -> float:
    start = time.process_time()
    for _ in made:
        pass
    return time.process_time() - start


def opened(path: Path, screenshot: Path | None) -> dict[str, Any]:
    """Times in Chromium, in seconds; empty without it."""
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        chromium = None
    if chromium is None:
        print("Chromium or playwright is missing: the page was not opened")
        return {}
    found: dict[str, Any] = {}
    with sync_playwright() as driver:
        root = hasattr(os, "geteuid") and os.geteuid() == 0
        browser = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"] if root else [])
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        complaints: list[str] = []
        page.on("pageerror", lambda error: complaints.append(str(error)))
        start = time.perf_counter()

        def timed(name: str, act: Callable[[], object], selector: str) -> None:
            nonlocal start
            start = time.perf_counter()
            act()
            page.wait_for_selector(selector, state="attached", timeout=120_000)
            found[name] = round(time.perf_counter() - start, 2)

        timed("grid_s", lambda: page.goto(path.as_uri(), timeout=120_000), ".card")
        page.wait_for_selector("html[data-ready]", state="attached", timeout=120_000)
        found["all_s"] = round(time.perf_counter() - start, 2)
        timed(
            "search_s",
            lambda: page.get_by_label("Search case ids").fill("sub-000777"),
            ".cards > :only-child",
        )
        page.get_by_label("Search case ids").fill("")
        page.wait_for_selector(".card:nth-child(40)")
        first = page.locator(".card .name").first.text_content()
        timed(
            "sort_by_value_s", lambda: page.get_by_label("Sorted by").select_option("value"),
            f".cards > :first-child .name:not([title='{first}'])",
        )  # fmt: skip
        labels = page.locator("#distribution-controls").get_by_label("Label", exact=True)
        name = labels.locator("option").last.text_content()
        timed(
            "box_plot_s", lambda: labels.select_option(label=name), f"#distribution svg[aria-label*='{name}']"
        )
        timed("case_s", lambda: page.locator(".card .open").first.click(), "dialog[open]")
        timed("values_of_the_case_s", lambda: None, "dialog[open] tbody tr")
        if screenshot is not None:
            page.screenshot(path=screenshot)
        found["script_errors"] = complaints
        browser.close()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cases", type=int, default=100_000)
    parser.add_argument("--labels", type=int, default=33)
    parser.add_argument("--measures", type=int, default=2)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--screenshot", type=Path)
    parser.add_argument("--build-only", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.out or Path(temporary)
        size = (options.cases, options.labels, options.measures)
        if options.build_only:
            print(json.dumps(build(*size, folder)))
            return
        # In a process of its own, whose peak is that of writing alone.
        own = [sys.executable, __file__, "--build-only", "--out", str(folder)]
        for name, value in zip(("--cases", "--labels", "--measures"), size, strict=True):
            own += [name, str(value)]
        done = subprocess.run(own, stdout=subprocess.PIPE, text=True, check=True)
        found = {"cases": size[0], "labels": size[1], "measures": size[2], **json.loads(done.stdout)}
        found |= opened(folder / "report.html", options.screenshot)
    for name, value in found.items():
        print(f"{name:>28}  {value}")
    print(json.dumps(found))


if __name__ == "__main__":
    main()
