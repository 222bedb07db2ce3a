"""Post-processing chosen on validation cases, as nnU-Net does, and stored in the bundle."""

from __future__ import annotations

from medseg.training.postprocessing.after_training import with_steps_for
from medseg.training.postprocessing.card import card_section, with_section
from medseg.training.postprocessing.choice import StepChoice, choose_steps, with_chosen
from medseg.training.postprocessing.runs import RunsChoice, choose_for_runs

__all__ = [
    "RunsChoice",
    "StepChoice",
    "card_section",
    "choose_for_runs",
    "choose_steps",
    "with_chosen",
    "with_section",
    "with_steps_for",
]
