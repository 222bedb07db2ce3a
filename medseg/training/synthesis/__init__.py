"""Images from label maps: a network that has seen every contrast needs none in particular.

Billot et al., "SynthSeg: Segmentation of brain MRI scans of any contrast and resolution without retraining",
Medical Image Analysis 86, 2023; Hoopes et al., "SynthStrip", NeuroImage 260, 2022.
"""

from medseg.training.synthesis.generator import Synthesiser
from medseg.training.synthesis.scans import synthetic_scan
from medseg.training.synthesis.scope import fit_synthetic_scope

__all__ = ["Synthesiser", "fit_synthetic_scope", "synthetic_scan"]
