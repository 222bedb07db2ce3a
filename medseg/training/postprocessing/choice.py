"""The choice: a step is taken if it worsens no structure and improves the mean."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg.plans import Plan, PostprocessStep, steps_as_plain
from medseg.training.postprocessing.candidates import candidates
from medseg.training.postprocessing.cases import HeldCase, dice_of, hold, structures_of, taken, tried
from medseg.volume import LabelMap

Progress = Callable[[str, int, int], None]
_ROUNDING = 1e-9
_STAGE = "choose post-processing"


@dataclass(frozen=True, slots=True)
class StepChoice:
    """Steps that improve the validation cases, in their order, and what they do to Dice.

    Parameters
    ----------
    steps
        None, one or several.
    cases
        How many cases they were chosen on.
    means
        Mean Dice over structures and cases: before the first step, and after each.
    before, after
        Mean Dice over the cases of each structure by its key in the plan's ``scored``; a structure neither
        found nor there counts as 1.
    """

    steps: tuple[PostprocessStep, ...]
    cases: int
    means: tuple[float, ...]
    before: dict[int, float]
    after: dict[int, float]

    def to_json(self, plan: Plan) -> dict[str, Any]:
        """Plain values for the bundle and for ``--json``."""
        names = plan.scored
        return {
            "cases": self.cases,
            "steps": [
                {**step, "mean_dice": round(mean, 5)}
                for step, mean in zip(steps_as_plain(self.steps), self.means[1:], strict=True)
            ],
            "mean_dice_before": round(self.means[0], 5),
            "mean_dice_after": round(self.means[-1], 5),
            "dice": {
                names[key]: {"before": round(self.before[key], 5), "after": round(self.after[key], 5)}
                for key in names
            },
        }


def choose_steps(
    cases: Iterable[tuple[LabelMap, NDArray[np.unsignedinteger]]],
    plan: Plan,
    *,
    progress: Progress | None = None,
    total: int = 0,
    scratch: Path | None = None,
) -> StepChoice:
    """Choose post-processing on cases that the model was not trained on.

    Steps are tried one after the other (`medseg.training.postprocessing.candidates`), each on top of those
    taken before. A step is taken if it lowers the mean Dice of no structure over the cases, and raises the
    mean over structures; of several sizes the best one, on a tie the smallest. It is carried out by the code
    that will do so after inference.

    Parameters
    ----------
    cases
        Predicted label map and true ids (I, J, K) of each, on the scan's own grid, after the steps that the
        plan has already. They are asked for one by one.
    plan
        The model's: what is scored, labels or regions, and which label nobody judged.
    progress, total
        Called as ``progress("choose post-processing", done, cases)`` while they are read; how many come.
    scratch
        Folder for the cases meanwhile; None takes the system's temporary folder.

    Returns
    -------
    StepChoice
        Without steps where none helps.

    Raises
    ------
    ValueError
        If there is no case.
    """
    with TemporaryDirectory(prefix="medseg-steps-", dir=scratch) as folder:
        held = []
        for number, (predicted, reference) in enumerate(cases):
            held.append(hold(Path(folder), number, predicted, reference, plan))
            if progress is not None:
                progress(_STAGE, number + 1, total)
        if not held:
            raise ValueError("choose_steps: expected at least one case, got none")
        return _choose(held, plan)


def with_chosen(plan: Plan, choice: StepChoice) -> Plan:
    """The plan with the steps after those that it has."""
    steps = (*plan.inference.postprocess, *choice.steps)
    return plan.model_copy(update={"inference": plan.inference.model_copy(update={"postprocess": steps})})


def _choose(held: list[HeldCase], plan: Plan) -> StepChoice:
    structures = structures_of(plan)

    def mean_dice(counts: Sequence[NDArray[np.int64]]) -> NDArray[np.float64]:
        dice: NDArray[np.float64] = np.mean([dice_of(one, structures, plan) for one in counts], axis=0)
        return dice

    before = now = mean_dice([case.counts for case in held])
    means, steps = [float(before.mean())], []
    for alternatives in candidates(plan, held):
        by_case = [tried(case, alternatives, plan) for case in held]
        found = [mean_dice(counts) for counts in zip(*by_case, strict=True)]
        fit = [
            n
            for n, dice in enumerate(found)
            if (dice >= now - _ROUNDING).all() and dice.mean() > now.mean() + _ROUNDING
        ]
        if fit:
            best = max(fit, key=lambda n: (round(float(found[n].mean()), 9), -n))
            held = [taken(case, alternatives[best], plan) for case in held]
            now = found[best]
            steps.append(alternatives[best])
            means.append(float(now.mean()))
    keys = tuple(structures)
    return StepChoice(
        tuple(steps),
        len(held),
        tuple(means),
        dict(zip(keys, before.tolist(), strict=True)),
        dict(zip(keys, now.tolist(), strict=True)),
    )
