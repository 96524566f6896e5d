"""The value function of the game and the losses each player descends.

Everything here takes *logits* (D's output before the sigmoid) and answers in nats. With
D = sigmoid(logit), log D = logsigmoid(logit) and log(1 − D) = logsigmoid(−logit), so no logarithm
ever meets a zero and nothing is clipped.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

__all__ = [
    "GENERATOR_LOSSES",
    "discriminator_loss",
    "l1_loss",
    "minimax",
    "non_saturating",
    "optimal_discriminator",
    "value",
]


def value(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """V(D, G) = E[log D(x)] + E[log(1 − D(G(z)))], equation 1 of Goodfellow et al. (2014).

    Both expectations are averages over the batch.

    Args:
        real_logits: (N, ...) D's logits on data.
        fake_logits: (M, ...) D's logits on samples of G.

    Returns:
        Scalar in nats, at most 0; −log 4 when D answers 1/2 everywhere.
    """
    return logsigmoid(real_logits).mean() + logsigmoid(-fake_logits).mean()


def discriminator_loss(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """What D descends: −V(D, G), with G fixed (Algorithm 1 of Goodfellow et al., 2014).

    Args:
        real_logits: (N, ...) D's logits on data.
        fake_logits: (M, ...) D's logits on samples of G.

    Returns:
        Scalar in nats, at least 0; 2 log 2 when D answers 1/2 everywhere.
    """
    return -value(real_logits, fake_logits)


def minimax(fake_logits: Tensor) -> Tensor:
    """What G descends in the game as stated: E[log(1 − D(G(z)))].

    Its derivative by the logit is −D(G(z)), which vanishes where D is sure of a sample's origin.

    Args:
        fake_logits: (M, ...) D's logits on samples of G.

    Returns:
        Scalar in nats, at most 0; −log 2 when D answers 1/2.
    """
    return logsigmoid(-fake_logits).mean()


def non_saturating(fake_logits: Tensor) -> Tensor:
    """What G descends in practice: −E[log D(G(z))] (section 3 of Goodfellow et al., 2014).

    Its derivative by the logit is −(1 − D(G(z))), largest where D is sure of a sample's origin.

    Args:
        fake_logits: (M, ...) D's logits on samples of G.

    Returns:
        Scalar in nats, at least 0; log 2 when D answers 1/2.
    """
    return -logsigmoid(fake_logits).mean()


#: What G may descend, by the name that `train` takes as `loss`.
GENERATOR_LOSSES: dict[str, Callable[[Tensor], Tensor]] = {
    "minimax": minimax,
    "non_saturating": non_saturating,
}


def l1_loss(fake: Tensor, target: Tensor) -> Tensor:
    """Mean absolute difference, the second term of pix2pix (Isola et al., 2017, equation 3).

    Args:
        fake: (N, ...) samples G(z, y).
        target: (N, ...) the data x paired with the same y.

    Returns:
        Scalar in the unit of the images.

    Raises:
        ValueError: The shapes differ (they are never broadcast).
    """
    if fake.shape != target.shape:
        raise ValueError(
            f"fake and target must have one shape, got {tuple(fake.shape)} "
            f"and {tuple(target.shape)}"
        )
    return (fake - target).abs().mean()


def optimal_discriminator(p_data: Tensor, p_g: Tensor) -> Tensor:
    """D*(x) = p_data(x) / (p_data(x) + p_g(x)), Proposition 1 of Goodfellow et al. (2014).

    Args:
        p_data: Density of the data at some points, any shape.
        p_g: Density of the generator at the same points, same shape.

    Returns:
        D* at these points, in [0, 1]; NaN where both densities are 0, since V does not depend on
        D there.

    Raises:
        ValueError: The shapes differ, or a density is negative.
    """
    if p_data.shape != p_g.shape:
        raise ValueError(
            f"p_data and p_g must have one shape, got {tuple(p_data.shape)} and {tuple(p_g.shape)}"
        )
    for name, density in (("p_data", p_data), ("p_g", p_g)):
        if (density < 0).any():
            raise ValueError(f"{name} is a density and must be at least 0, got {density.min()}")
    largest = torch.maximum(p_data, p_g)  # dividing by it first, the sum cannot overflow
    a, b = p_data / largest, p_g / largest
    return a / (a + b)
