"""A verdict as people see it: a headline, the reasons, a colour. No Qt."""

from __future__ import annotations

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


@dataclass(frozen=True, slots=True)
class Banner:
    """What a coloured banner says; colours are hexadecimal RGB."""

    text: str
    background: str
    foreground: str


def banner(verdict: Verdict, introduction: str = "") -> Banner:
    """The banner of a verdict: the status and every reason, on lines of their own if there are several."""
    reasons = [_sentence(reason.message) for reason in verdict.reasons] or [_OK_TEXT]
    lines = (
        [f"{_HEADLINES[verdict.status]}: {reasons[0]}"]
        if len(reasons) == 1
        else [f"{_HEADLINES[verdict.status]}:", *(f"• {reason}" for reason in reasons)]
    )
    background, foreground = _COLOURS[verdict.status]
    return Banner("\n".join([introduction, *lines] if introduction else lines), background, foreground)


def _sentence(text: str) -> str:
    return text if text.endswith((".", "?", "!")) else f"{text}."
