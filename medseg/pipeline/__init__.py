"""infer: reading, a network, measuring and writing, joined once.

The command, the plugin and cohorts all call this room. `infer` gives a `Segmentation` in memory;
`infer_files` writes it and its sidecar, for many inputs, and reports what became of each.
"""

from medseg.pipeline.batch import infer_files
from medseg.pipeline.frames import segment_frames
from medseg.pipeline.models import OpenModel, open_model
from medseg.pipeline.options import InferOptions
from medseg.pipeline.report import InferReport
from medseg.pipeline.segmentation import Segmentation, infer

__all__ = [
    "InferOptions",
    "InferReport",
    "OpenModel",
    "Segmentation",
    "infer",
    "infer_files",
    "open_model",
    "segment_frames",
]
