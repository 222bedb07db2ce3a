"""What `evaluate` measures, and by which definitions: parsed once, before any file is read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from medseg.errors import UsageError
from medseg.evaluation.lesions import LesionRules
from medseg.evaluation.metrics import DEFINITIONS

# The numbers that each metric gives, under the names that they have in every document.
FIELDS: dict[str, tuple[str, ...]] = {
    "dice": ("dice",),
    "surface_dice": ("surface_dice",),
    "hd95": ("hd95_mm",),
    "volume_error": ("volume_error_ml", "volume_error_percent"),
    "mean_surface_distance": ("mean_surface_distance_mm",),
    "hausdorff": ("hausdorff_mm",),
    "volumetric_similarity": ("volumetric_similarity",),
    "lesions": (
        "lesions_reference", "lesions_predicted", "lesions_tp", "lesions_fn", "lesions_fp",
        "lesion_sensitivity", "lesion_precision", "lesion_f1",
    ),
}  # fmt: skip
DEFAULT_METRICS = ("dice", "surface_dice", "hd95", "volume_error", "mean_surface_distance")
# In every document, whatever was asked for.
ALWAYS = ("dice", "surface_dice", "hd95_mm", "volume_error_ml")


@dataclass(frozen=True, slots=True)
class Settings:
    """Which metrics, by which definitions. `Settings.parse` makes one of what a user gives.

    Parameters
    ----------
    metrics
        Names in `FIELDS`, each once, in its order.
    definitions
        For each metric of surfaces among them the name of its definition, as in `metrics.DEFINITIONS`.
    surface_tolerance_mm
        Distance up to which surfaces count as equal in surface Dice.
    lesions
        The rules of lesion-wise detection.
    """

    metrics: tuple[str, ...] = DEFAULT_METRICS
    definitions: Mapping[str, str] = field(
        default_factory=lambda: {
            name: DEFINITIONS[name][0] for name in DEFAULT_METRICS if name in DEFINITIONS
        }
    )
    surface_tolerance_mm: float = 1.0
    lesions: LesionRules = field(default_factory=LesionRules)

    @classmethod
    def parse(
        cls,
        metrics: Iterable[str] | None = None,
        definitions: Mapping[str, str] | None = None,
        *,
        surface_tolerance_mm: float = 1.0,
        lesion_connectivity: int = 26,
        lesion_overlap: float = 0.0,
        lesion_smallest_mm3: float = 0.0,
    ) -> Settings:
        """Settings from the keywords of `evaluate`.

        Raises
        ------
        UsageError
            For a metric or definition that there is not, a number out of its range, or an option of a metric
            that was not asked for.
        """
        chosen = _metrics(metrics)
        if not surface_tolerance_mm >= 0:
            raise UsageError(f"surface tolerance {surface_tolerance_mm} mm: expected 0 or more")
        try:
            lesions = LesionRules(lesion_connectivity, lesion_overlap, lesion_smallest_mm3)
        except ValueError as error:
            raise UsageError(str(error)) from None
        if lesions != LesionRules() and "lesions" not in chosen:
            raise UsageError(
                "rules for lesions were given, but no metric uses them: add lesions to the metrics"
            )
        return cls(chosen, _definitions(definitions or {}, chosen), surface_tolerance_mm, lesions)

    @property
    def asked(self) -> tuple[str, ...]:
        """Names of the numbers that the metrics give."""
        return tuple(name for metric in self.metrics for name in FIELDS[metric])

    @property
    def fields(self) -> tuple[str, ...]:
        """Names of the numbers in documents and tables: `ALWAYS` first, then what else was asked for."""
        return tuple(dict.fromkeys((*ALWAYS, *self.asked)))

    def to_json(self) -> dict[str, Any]:
        """The settings as they stand in the ``evaluate --json`` document."""
        document: dict[str, Any] = {
            "surface_tolerance_mm": self.surface_tolerance_mm,
            "metrics": list(self.metrics),
            "definitions": dict(self.definitions),
        }
        if "lesions" in self.metrics:
            document["lesions"] = {
                "connectivity": self.lesions.connectivity,
                "overlap": self.lesions.overlap,
                "smallest_mm3": self.lesions.smallest_mm3,
            }
        return document


def _metrics(asked: Iterable[str] | None) -> tuple[str, ...]:
    if asked is None:
        return DEFAULT_METRICS
    names = set(asked)
    unknown = sorted(names - {*FIELDS, "all"})
    if unknown or not names:
        found = f"metric {unknown[0]!r}" if unknown else "no metric"
        raise UsageError(f"{found}: there are {', '.join(FIELDS)}, and all")
    return tuple(name for name in FIELDS if name in names or "all" in names)


def _definitions(asked: Mapping[str, str], metrics: tuple[str, ...]) -> dict[str, str]:
    for metric, name in asked.items():
        if metric not in DEFINITIONS:
            raise UsageError(f"definition of {metric!r}: only {', '.join(DEFINITIONS)} have several")
        if name not in DEFINITIONS[metric]:
            known = ", ".join(DEFINITIONS[metric])
            raise UsageError(f"definition {name!r} of {metric}: there are {known}")
        if metric not in metrics:
            raise UsageError(
                f"a definition of {metric} was given, but it is not measured: add it to the metrics"
            )
    return {metric: asked.get(metric, DEFINITIONS[metric][0]) for metric in metrics if metric in DEFINITIONS}
