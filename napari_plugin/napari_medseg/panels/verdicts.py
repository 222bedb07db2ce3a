"""A verdict as people see it: a headline, the reasons, a colour. No Qt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from medseg import Verdict

_HEADLINES = {
    "ok": "OK",
    "repaired": "Repaired",
    "warning": "Warning",
    "refused": "Refused",
    "failed": "Failed",
}
# Background; white or black text on each has a contrast of at least 4.5 to 1 (WCAG 2.2, 1.4.3).
_COLOURS = {
    "ok": ("#1b7f4b", "#ffffff"),
    "repaired": ("#1f6fb2", "#ffffff"),
    "warning": ("#f0b429", "#000000"),
    "refused": ("#b3261e", "#ffffff"),
    "failed": ("#b3261e", "#ffffff"),
}
_OK_TEXT = "nothing speaks against the scan, the model or the result."
# Without a result there is nothing that a long text could push out of sight, and it holds the cure.
_WHOLE = ("refused", "failed")
_LONG = 200  # characters: about six lines of a dock
_LINE = 70  # two lines of a dock


@dataclass(frozen=True, slots=True)
class Banner:
    """What a coloured banner says; colours are hexadecimal RGB.

    Parameters
    ----------
    text
        All of it.
    summary
        The same with one short line for each reason; equal to ``text`` where that is short itself.
    background, foreground
        Colours.
    """

    text: str
    summary: str
    background: str
    foreground: str


def banner(verdict: Verdict, introduction: str = "") -> Banner:
    """The banner of a verdict: the status and every reason, on lines of their own if there are several."""
    reasons = [_sentence(reason.message) for reason in verdict.reasons] or [_OK_TEXT]
    text = _joined(introduction, _HEADLINES[verdict.status], reasons)
    is_short = verdict.status in _WHOLE or sum(map(len, reasons)) <= _LONG
    brief = text if is_short else _joined(introduction, _HEADLINES[verdict.status], [*map(_cut, reasons)])
    return Banner(text, brief, *_COLOURS[verdict.status])


def _joined(introduction: str, headline: str, reasons: Sequence[str]) -> str:
    lines = (
        [f"{headline}: {reasons[0]}"]
        if len(reasons) == 1
        else [f"{headline}:", *(f"• {reason}" for reason in reasons)]
    )
    return "\n".join([introduction, *lines] if introduction else lines)


def _cut(text: str) -> str:
    """The first words of a text, as many as a line takes."""
    return text if len(text) <= _LINE else f"{text[:_LINE].rsplit(' ', 1)[0]} …"


def _sentence(text: str) -> str:
    return text if text.endswith((".", "?", "!")) else f"{text}."
