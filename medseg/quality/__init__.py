"""Is a scan one the model was made for, and how good is a segmentation probably?"""

from medseg.quality.anatomy import check_anatomy, fit_anatomy
from medseg.quality.calibration import fit_quality
from medseg.quality.estimate import Estimate, check_quality, estimate_quality
from medseg.quality.features import channel_features, coarse_layout, in_ras_order
from medseg.quality.fit import INTENSITY_FEATURES, fit_scope
from medseg.quality.foreground import FOREGROUND_FEATURES, foreground_features
from medseg.quality.scope import check_scope

__all__ = [
    "FOREGROUND_FEATURES",
    "INTENSITY_FEATURES",
    "Estimate",
    "channel_features",
    "check_anatomy",
    "check_quality",
    "check_scope",
    "coarse_layout",
    "estimate_quality",
    "fit_anatomy",
    "fit_quality",
    "fit_scope",
    "foreground_features",
    "in_ras_order",
]
