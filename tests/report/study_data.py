"""A made study with hostile text in every place, and a reader of pages that shares no code with medseg."""

from __future__ import annotations

import base64
import io
import json
import struct
import zlib
from datetime import UTC, datetime
from decimal import Decimal
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
from PIL import Image

from medseg.report.study import Agreement, Counts, Estimate, Measure, StudyCase, StudyPage, StudyTable
from medseg.verdict import OK, Reason, Verdict

HOSTILE = (
    "</script><script>window.broken = 1</script>",
    "\"><img src=x onerror='window.broken = 2'>",
    "<!--<script>{{ 7 * 7 }}",
    "مريض ٤ ‮ back to front",
    "long-" * 400,
    " & line\u2028separator\u0000",
)
LABELS = ("anterior", "posterior </script>")
MEASURES = (
    Measure("volume_ml", "Volume", "mL", "Voxels times their <volume>."),
    Measure("mean", "Mean intensity", "", "Mean of the scan inside the label."),
)


def png_bytes(seed: int) -> bytes:
    """A small picture unlike those of other seeds."""
    buffer = io.BytesIO()
    colour = np.random.default_rng(seed).integers(0, 255, 3).astype(np.uint8)
    Image.fromarray(np.broadcast_to(colour, (40, 100, 3)).copy()).save(buffer, "PNG")
    return buffer.getvalue()


def made_cases(folder: Path, count: int) -> list[StudyCase]:
    """Cases of all verdicts, the first ones named by `HOSTILE`, with pictures in a subfolder."""
    (folder / "pictures").mkdir(exist_ok=True)
    rng = np.random.default_rng(7)
    cases = []
    for n in range(count):
        case_id = HOSTILE[n] if n < len(HOSTILE) else f"case-{n:03d}"
        verdict = OK
        if n % 10 == 8:
            verdict = Verdict.of("failed", "unreadable", f"{HOSTILE[0]} ends after {n} bytes")
        elif n % 10 == 9:
            verdict = Verdict.of("refused", HOSTILE[1], HOSTILE[2])
        elif n % 5 == 2:
            verdict = Verdict(
                "warning", (Reason("out-of-scope", "slices of 5 mm"), Reason("empty-label", "posterior"))
            )
        done = n % 10 < 8
        picture = folder / "pictures" / f"{n} #%?.png" if done else None
        if picture is not None and n != 20:  # the picture of case 20 is missing
            picture.write_bytes(png_bytes(n))
        volumes = {"volume_ml": float(rng.normal(2, 0.4)), "mean": float(rng.normal(300, 20))}
        labels = {LABELS[0]: volumes, LABELS[1]: {"volume_ml": 0.0 if n % 5 == 2 else 1.25, "mean": None}}
        columns = {
            "group": ("control", "patient", HOSTILE[0])[n % 3],
            "age": 20 + n % 60,
            "note": HOSTILE[n % 6],
        }
        score = float(np.round(rng.uniform(0.3, 1), 6)) if done and n % 4 else None
        cases.append(StudyCase(case_id, verdict, columns, labels if done else {}, score, picture))
    return cases


def made_page(folder: Path, count: int = 120) -> StudyPage:
    """A study of made cases with a table and a comparison of two raters."""
    cases = made_cases(folder, count)
    done = [case for case in cases if case.labels]
    pairs = [
        (case.case_id, a := float(case.labels[LABELS[0]]["volume_ml"] or 0), a + 0.01 * (n % 7 - 2))
        for n, case in enumerate(done)
    ]
    return StudyPage(
        title=f"Study {HOSTILE[0]}",
        created=datetime(2026, 3, 9, 14, 5, tzinfo=UTC),
        counts=Counts(count, len(done), count - len(done)),
        cases=iter(cases),
        labels=LABELS,
        measures=MEASURES,
        facts={"Model": HOSTILE[1], "Backend": "openvino, float32"},
        methods=f"Scans were segmented.\n\nVolumes were {HOSTILE[2]} compared.",
        warnings=(HOSTILE[0],),
        groups=("group",),
        score_name="Estimated Dice",
        comparisons=(StudyTable("Groups", ("Label", "p"), (("anterior", 0.012345), (HOSTILE[0], None))),),
        agreements=(
            Agreement(
                f"Volume, {HOSTILE[0]}", "mL", "medseg", HOSTILE[1], pairs,
                Estimate(-0.01, -0.014, -0.006), Estimate(-0.05, -0.06, -0.04), Estimate(0.03, 0.02, 0.04),
            ),
        ),
    )  # fmt: skip


class PageReader(HTMLParser):
    """A page as a browser takes it apart: tags with their attributes, script elements, the text shown."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: dict[str, tuple[str, str]] = {}
        self.own_script, self.style, self.text = "", "", ""
        self._inside: tuple[str, dict[str, str | None]] = ("", {})
        self._content = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag in ("script", "style"):
            self._inside, self._content = (tag, dict(attrs)), ""

    def handle_endtag(self, tag):
        if tag == "style":
            self.style = self._content
        elif tag == "script" and "id" in self._inside[1]:
            self.scripts[self._inside[1]["id"]] = (self._inside[1]["type"], self._content)
        elif tag == "script":
            self.own_script = self._content
        if tag == self._inside[0]:
            self._inside = ("", {})

    def handle_data(self, data):
        if self._inside[0]:
            self._content += data
        else:
            self.text += data

    @property
    def study(self):
        """The description of the study."""
        return json.loads(self.scripts["study"][1])

    def json(self, name):
        """A column of texts."""
        return json.loads(unpacked(self.scripts[f"data-{name}"][1]))

    def numbers(self, name):
        """A column of numbers, None where missing."""
        return decoded_numbers(self.scripts[f"data-{name}"][1])


def unpacked(content: str) -> bytes:
    return zlib.decompress(base64.b64decode(content), -15)


def decoded_numbers(content: str) -> list[float | None]:
    raw = unpacked(content)
    both = struct.unpack(f"<{len(raw) // 2}h", raw)
    half = len(both) // 2
    return [
        None if m == -32768 else float(Decimal(m).scaleb(p))
        for m, p in zip(both[:half], both[half:], strict=True)
    ]
