"""Helps with models so small that all of their states can be counted."""

import torch


def states(n):
    """All 2ⁿ states of n binary units, (2ⁿ, n)."""
    return torch.cartesian_prod(*[torch.tensor([0.0, 1.0], dtype=torch.float64)] * n)


def stirred(module, seed=0, scale=1.0):
    """The same in float64 with weights of some size."""
    torch.manual_seed(seed)
    module.double()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_(std=scale)
    return module


def histogram(v):
    """Share of each state among binary v, in the order of `states`."""
    weights = 2 ** torch.arange(v.shape[1] - 1, -1, -1)
    return torch.bincount((v.long() * weights).sum(1), minlength=2 ** v.shape[1]) / len(v)
