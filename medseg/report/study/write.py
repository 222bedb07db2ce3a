"""write_study_page: the page of a study, written piece by piece."""

from __future__ import annotations

import hashlib
from base64 import b64encode
from functools import cache
from importlib.resources import files
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from medseg.io.files import atomic_output
from medseg.report.study.collect import Progress, collect
from medseg.report.study.page import StudyPage
from medseg.report.study.payload import choose_embedded, description, elements
from medseg.report.study.summary import NOTEWORTHY, UNSEGMENTED, reason_counts, spelled, status_counts

# In the order in which they run; together they are one function of one script element.
_SCRIPTS = (
    "data.js", "elements.js", "plot.js", "distributions.js", "agreement.js",
    "gallery.js", "browser.js", "case.js", "start.js",
)  # fmt: skip
_MOST_REASONS = 40


def write_study_page(
    page: StudyPage, path: str | Path, *, embedded_pictures: int = 300, progress: Progress | None = None
) -> Path:
    """Write a study as one HTML file that needs no network and no other file than linked pictures.

    Cases are read once; values are kept with 4 significant digits in columns, so 100,000 cases with
    33 labels take 8 MB of the file for each measure. All text is escaped, and the page's own policy forbids
    every script but its own, and every request but for pictures.

    Parameters
    ----------
    page
        What stands on it.
    path
        An HTML file; its folder must exist. Written atomically, replacing what is there.
    embedded_pictures
        How many pictures are embedded: those of the worst cases, at most 12 MB. The others are
        linked by their place relative to the page and loaded when they come into view.
    progress
        Called as ``progress("cases", read, total)`` every 1000 cases; an exception from it cancels.

    Raises
    ------
    ValueError
        If a case id repeats, a case has a label or measure that the page lacks, or a picture does not
        lie below the page's folder.
    NotFound, WriteFailed
        If the folder does not exist, or the file cannot be written.
    """
    path = Path(path)
    with atomic_output(path) as temporary:
        kept = collect(page, path.parent, progress)
        worst_first = kept.worst_first()
        embedded = choose_embedded(kept, worst_first, path.parent, embedded_pictures)
        style, script = _asset("page.css"), _script()
        pieces = _environment().get_template("page.html.j2").generate(
            page=page,
            style=Markup(style),
            script=Markup(script),
            style_hash=_policy_hash(style),
            script_hash=_policy_hash(script),
            statuses=status_counts(kept),
            failures=reason_counts(kept, UNSEGMENTED),
            remarks=reason_counts(kept, NOTEWORTHY),
            most_reasons=_MOST_REASONS,
            description=description(page, kept),
            left_out=_left_out(page, len(kept.labels), len(kept.measures)),
            embedded=len(embedded),
            linked=sum(picture is not None for picture in kept.pictures) - len(embedded),
            elements=elements(page, kept, worst_first, embedded),
        )  # fmt: skip
        # A file name that is no valid text holds surrogates, which no encoding can write.
        with temporary.open("w", encoding="utf-8", errors="xmlcharrefreplace", newline="\n") as file:
            file.writelines(pieces)
    return path


def _left_out(page: StudyPage, labels: int, measures: int) -> str:
    """A sentence about values that would have made the page too large; empty if there are none."""
    parts = [measure.title.lower() for measure in page.measures[measures:]]
    if labels < len(page.labels):
        parts.append(f"{len(page.labels) - labels} of {len(page.labels)} labels")
    if not parts:
        return ""
    return f"To keep this page small it leaves out {', '.join(parts)}: the study's table has all values."


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("medseg.report.study"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["spelled"] = spelled
    return environment


def _asset(name: str) -> str:
    return (files("medseg.report.study") / "assets" / name).read_text(encoding="utf-8")


@cache
def _script() -> str:
    return "(() => {\n'use strict';\n" + "\n".join(_asset(name) for name in _SCRIPTS) + "})();\n"


def _policy_hash(content: str) -> str:
    """What the page's security policy calls an inline script or style by (CSP level 2, hash-source)."""
    return "sha256-" + b64encode(hashlib.sha256(content.encode()).digest()).decode("ascii")
