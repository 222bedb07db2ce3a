"""Losses, by the plan's name: for labels that exclude each other and for regions, with deep supervision.

``protocol`` says what a loss is, ``target`` what a head of the network is compared with; ``overlap``,
``voxels`` and ``added`` hold the terms, ``weights`` the class weights; ``build`` puts together what a plan
asks for; ``paired`` is the loss of networks with paired sides. Terms come from MONAI where MONAI has them.
"""

from __future__ import annotations

from medseg.training.losses.build import build_loss
from medseg.training.losses.protocol import Loss
from medseg.training.losses.weights import class_weights

__all__ = ["Loss", "build_loss", "class_weights"]
