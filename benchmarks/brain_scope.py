"""How well a brain model's scope tells what it is for from what it is not for: one table.

    python benchmarks/brain_scope.py --model brain
    python benchmarks/brain_scope.py --model run/bundle --learn --outputs 12

Inside: made heads of the label maps that were held back (every fifth), and the real heads among the data, as
they are and as other scanners might have stored them. Outside: other parts of the body, phantoms, noise,
pieces of heads, heads under wrong headers, pictures. "by input" counts what the scope flags before the
network runs. Of what passes, `--outputs` scans of each kind (evenly spread; -1 for all) are segmented, and
"by output" counts those whose segmentation is flagged. The model's own scope is judged, or with `--learn`
one that is learnt here from the other label maps. The anatomy is also held against the true labels of every
made head.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter

from brain_scope_corpus import Corpus, Scan, load_maps, made_heads, outside, real_heads

import medseg
from medseg.models import ModelBundle, Scope
from medseg.pipeline.models import OpenModel, open_model
from medseg.quality import check_anatomy, check_scope
from medseg.training.synthesis import fit_synthetic_scope
from medseg.verdict import Verdict

_TEST_FIRST = 20_000  # number of the first made head: far from those that a scope is learnt from


@dataclass
class Row:
    """One kind of scan in the table."""

    scans: int = 0
    by_input: int = 0
    segmented: int = 0
    by_output: int = 0
    passed: list[str] = field(default_factory=list)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="brain", help="name or path of the model")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--learn", action="store_true", help="learn the scope here instead of the model's")
    parser.add_argument(
        "--scope", type=Path, help="JSON: the scope to judge; with --learn, where it is written"
    )
    parser.add_argument("--made", type=int, default=180, help="made heads to judge")
    parser.add_argument("--outputs", type=int, default=0, help="scans of a kind to segment")
    parser.add_argument("--parts", action="store_true", help="segment only the part round a brain")
    parser.add_argument("--kinds", nargs="*", help="kinds whose outputs are looked at; all unless given")
    parser.add_argument("--out", type=Path, help="JSON lines: every scan and what was said of it")
    parser.add_argument("--quick", action="store_true", help="few scans of each kind, to try the script")
    chosen = parser.parse_args(arguments)
    bundle = medseg.load_model(chosen.model)
    maps = load_maps(chosen.data, bundle.plan)
    held_back = sorted(maps)[bundle.plan.hold_back_every - 1 :: bundle.plan.hold_back_every]
    corpus = Corpus(chosen.data, bundle.plan, maps)
    scope = bundle.scope
    if chosen.learn:
        scope = learn(corpus, held_back, 24 if chosen.quick else 156)
        if chosen.scope:
            chosen.scope.write_text(scope.model_dump_json(indent=1))
    elif chosen.scope:
        scope = Scope.model_validate_json(chosen.scope.read_text())
    heads = made_heads(corpus, held_back, 6 if chosen.quick else chosen.made, _TEST_FIRST)
    lines = Lines(chosen.out)
    model = Segmenter(bundle) if chosen.outputs else None
    for title, scans in (
        ("inside (flagged ones are false alarms)", [heads, real_heads(corpus)]),
        ("outside", [outside(corpus, held_back)]),
    ):
        rows = judge((scan for part in scans for scan in part), scope, model, chosen, lines)
        print(table(title, rows))


class Lines:
    """What was said of each scan, in a file that grows as it is said."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        if path is not None:
            path.write_text("")

    def add(self, scan: Scan, side: str, verdict: Verdict, seconds: float) -> None:
        """Append one scan's verdict by its ``"input"`` or its ``"output"``."""
        line = {
            "kind": scan.kind,
            "name": scan.name,
            "side": side,
            "verdict": verdict.status,
            "reasons": [reason.to_json() for reason in verdict.reasons],
            "seconds": round(seconds, 3),
        }
        if self._path is not None:
            with self._path.open("a") as stream:
                stream.write(json.dumps(line) + "\n")
        if side == "output":
            print(f"{scan.kind}, {scan.name}: {verdict.status} in {seconds:.0f} s", file=sys.stderr)


def learn(corpus: Corpus, held_back: Sequence[str], count: int) -> Scope:
    """The scope of the label maps that were not held back."""
    training = (one for name, one in corpus.maps.items() if name not in held_back)
    return fit_synthetic_scope(training, corpus.plan, "heads", count=count)


class Segmenter:
    """The model, compiled at the first scan that it segments."""

    def __init__(self, bundle: ModelBundle) -> None:
        self._bundle = bundle
        self._open: OpenModel | None = None

    def labels(self, scan: Scan, parts: bool) -> medseg.LabelMap:
        """The segmentation of a scan, or only of its part."""
        self._open = self._open or open_model(self._bundle)
        whole = scan.part if parts and scan.part is not None else scan.volume
        return medseg.infer(whole, self._open).labels


def judge(
    scans: Iterable[Scan],
    scope: Scope,
    model: Segmenter | None,
    chosen: argparse.Namespace,
    lines: Lines,
) -> dict[str, Row]:
    """What is said of each scan, by kind."""
    rows: dict[str, Row] = defaultdict(Row)
    waiting: dict[str, list[Scan]] = defaultdict(list)
    for scan in scans:
        row = rows[scan.kind]
        if chosen.quick and row.scans >= 6:
            continue
        start = perf_counter()
        verdict = check_scope(scan.volume, scope)
        seconds = perf_counter() - start
        row.scans += 1
        row.by_input += verdict.status != "ok"
        lines.add(scan, "input", verdict, seconds)
        if scan.truth is not None and scope.anatomy is not None:
            truth = check_anatomy(scan.truth, scope.anatomy)
            truths = rows[f"{scan.kind}: true labels"]
            truths.scans, truths.segmented = truths.scans + 1, truths.segmented + 1
            truths.by_output += truth.status != "ok"
        if verdict.status == "ok":
            waiting[scan.kind].append(scan)
    for kind, passed in waiting.items():
        wanted = chosen.outputs if chosen.kinds is None or kind in chosen.kinds else 0
        looked_at = spread(passed, wanted) if model is not None and scope.anatomy is not None else []
        rows[kind].passed = [scan.name for scan in passed]
        for scan in looked_at:
            assert model is not None
            assert scope.anatomy is not None
            start = perf_counter()
            labels = model.labels(scan, chosen.parts)
            verdict = check_anatomy(labels, scope.anatomy)
            lines.add(scan, "output", verdict, perf_counter() - start)
            rows[kind].segmented += 1
            if verdict.status != "ok":
                rows[kind].by_output += 1
                rows[kind].passed.remove(scan.name)
    return rows


def spread(scans: Sequence[Scan], count: int) -> list[Scan]:
    """So many of them, evenly spread; all for a count below 0."""
    if count < 0 or count >= len(scans):
        return list(scans)
    return [scans[n * len(scans) // count] for n in range(count)]


def table(title: str, rows: dict[str, Row]) -> str:
    """Markdown, with a last line of sums and the names of what nothing flagged."""
    text = [f"\n### {title}\n", "| kind | scans | by input | segmented | by output | not flagged |"]
    text.append("| --- | ---: | ---: | ---: | ---: | ---: |")
    total = Row()
    for kind, row in rows.items():
        left = row.scans - row.by_input - row.by_output
        cells = (kind, row.scans, row.by_input, row.segmented, row.by_output, left)
        text.append("| " + " | ".join(map(str, cells)) + " |")
        if "true labels" not in kind:
            total.scans, total.by_input = total.scans + row.scans, total.by_input + row.by_input
            total.segmented, total.by_output = (
                total.segmented + row.segmented,
                total.by_output + row.by_output,
            )
    flagged = total.by_input + total.by_output
    cells = ("all", total.scans, total.by_input, total.segmented, total.by_output, total.scans - flagged)
    text.append("| " + " | ".join(map(str, cells)) + " |")
    text.append(f"\nflagged: {flagged} of {total.scans}, {100 * flagged / max(total.scans, 1):.1f} %")
    if title == "outside":
        text += [
            f"- not flagged, {kind}: {'; '.join(row.passed)}" for kind, row in rows.items() if row.passed
        ]
    return "\n".join(text)


if __name__ == "__main__":
    main()
