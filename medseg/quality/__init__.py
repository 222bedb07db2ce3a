"""Is a scan one the model was made for, and how good is a segmentation probably?"""

from medseg.quality.calibration import fit_quality
from medseg.quality.estimate import Estimate, check_quality, estimate_quality
from medseg.quality.features import channel_features, coarse_layout, in_ras_order
from medseg.quality.fit import fit_scope
from medseg.quality.scope import check_scope

__all__ = [
    "Estimate",
    "channel_features",
    "check_quality",
    "check_scope",
    "coarse_layout",
    "estimate_quality",
    "fit_quality",
    "fit_scope",
    "in_ras_order",
]
