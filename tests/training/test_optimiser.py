"""One pass over all weights does what the textbook does weight by weight."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from medseg.plans import OptimiserPlan
from medseg.training.fit import _optimiser
from tests.training.test_sampling_shares import plan


def test_a_fused_step_is_adamw_as_published():
    """Loshchilov and Hutter, "Decoupled weight decay regularization", ICLR 2019, algorithm 2."""
    generator = np.random.default_rng(0)
    the_plan = plan().model_copy(update={"optimiser": OptimiserPlan(learning_rate=0.02, weight_decay=0.3)})
    weights = generator.normal(size=(3, 5))
    module = nn.Linear(5, 3, bias=False)
    with torch.no_grad():
        module.weight.copy_(torch.from_numpy(weights))
    optimiser = _optimiser(module, the_plan, fused=True)
    mean, square = np.zeros_like(weights), np.zeros_like(weights)
    for step in range(1, 6):
        gradient = generator.normal(size=weights.shape)
        module.weight.grad = torch.from_numpy(gradient).float()
        optimiser.step()
        mean = 0.9 * mean + 0.1 * gradient
        square = 0.999 * square + 0.001 * gradient**2
        change = mean / (1 - 0.9**step) / (np.sqrt(square / (1 - 0.999**step)) + 1e-8)
        weights = weights - 0.02 * (change + 0.3 * weights)
        np.testing.assert_allclose(module.weight.detach().numpy(), weights, atol=1e-5)
