"""What the model card says of post-processing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from medseg.plans import Plan, steps_as_plain

_HEADING, _BEFORE = "## Post-processing", "## Limits"


def card_section(plan: Plan, chosen: Mapping[str, Any] | None, *, scored_with: bool) -> list[str]:
    """Lines of the section; none where nothing is done to the label map and nothing was tried.

    Parameters
    ----------
    plan
        The model's, whose steps are listed.
    chosen
        `StepChoice.to_json`, where steps were chosen.
    scored_with
        Whether the card's scores were measured with these steps.
    """
    steps = steps_as_plain(plan.inference.steps)
    if not steps and chosen is None:
        return []
    lines = [_HEADING, ""]
    lines += [f"{number}. {_words(step)}" for number, step in enumerate(steps, start=1)]
    lines += ["None."] if not steps else []
    if chosen is not None:
        lines += [
            "",
            f"{len(chosen['steps'])} of them chosen on {chosen['cases']} validation cases, where they take "
            f"the mean Dice from {chosen['mean_dice_before']:.4f} to {chosen['mean_dice_after']:.4f} "
            "(a structure neither found nor there counts as 1).",
        ]
    if steps:
        lines += ["", f"The scores above were measured {'with' if scored_with else 'without'} these steps."]
    return [*lines, ""]


def with_section(card: str, section: list[str]) -> str:
    """A card with this section in place of the one that it has, or before its limits."""
    lines = card.split("\n")
    if _HEADING in lines:
        start = lines.index(_HEADING)
        following = [n for n in range(start + 1, len(lines)) if lines[n].startswith("## ")]
        lines[start : following[0] if following else len(lines)] = []
    place = lines.index(_BEFORE) if _BEFORE in lines else len(lines)
    return "\n".join([*lines[:place], *section, *lines[place:]])


def _words(step: Mapping[str, Any]) -> str:
    rest = ", ".join(f"{key} {value}" for key, value in step.items() if key != "step")
    return f"`{step['step']}`" + (f": {rest}" if rest else "")
