"""The Parzen-window score of the 2014 paper: how likely held-out images are under samples.

On each sample stands a Gaussian of width σ, and the density at an image is their mean:

    log p(x) = log mean_i exp(−‖x − μ_i‖² / 2σ²) − d log(σ √(2π))

σ is chosen on validation images, and the score is the mean over test images. The score has known
faults (Theis et al., 2016): blurred images can beat real ones. It is here because the paper's
Table 1 is stated in it.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ganlib.data import to_float

__all__ = ["PAPER_SIGMAS", "Score", "log_density", "score"]

PAPER_SIGMAS = tuple(np.logspace(-1, 0, 10))  # of the released parzen_ll.py
VALIDATION = 1000  # so many validation images choose σ, the first ones
MEMORY = 2**28  # bytes


@dataclass(frozen=True, eq=False)
class Score:
    """A Parzen-window score, in nats.

    Attributes:
        mean: Mean log-density of the test images.
        error: Its standard error over the test images. It leaves out what another training run,
            other samples or another choice of σ would change.
        sigma: The width that the validation images chose. Where it is the first or the last of
            `sigmas`, a wider range may score more.
        sigmas: The widths to choose from.
        validation: Mean log-density of the validation images at each of them.
        each: (n,) log-density of each test image, float64.
    """

    mean: float
    error: float
    sigma: float
    sigmas: tuple[float, ...]
    validation: tuple[float, ...]
    each: Tensor

    def __repr__(self) -> str:
        return f"Score({self.mean:.1f} ± {self.error:.1f} nats at σ = {self.sigma:.3f})"


def log_density(
    images: Tensor, centres: Tensor, sigmas: Sequence[float], *, memory: int = MEMORY
) -> Tensor:
    """Log-density of images under Gaussians on the centres, for several widths at once.

    The squared distances are computed once for all widths, as ‖x‖² + ‖μ‖² − 2 x·μ, in the dtype of
    the images, after the centres' mean is subtracted from both, which makes the norms small and
    with them the rounding errors. On MNIST with σ ≥ 0.1 float32 is within about 1e-3 nats; its
    error grows as 1/σ², with the number of pixels, and for images far from all centres. float64
    (pass float64 images) is exact to rounding.

    Args:
        images: (n, ...) uint8, or float in [0, 1].
        centres: (m, ...) the samples, of the same shape behind the first axis.
        sigmas: Widths, each above 0, in units of the pixels' range 1.
        memory: Bytes that the distances may take at a time.

    Returns:
        (len(sigmas), n) log-densities in nats, float64, on the images' device.

    Raises:
        ValueError: A set is empty, the shapes differ, a value lies outside [0, 1], or a width is
            not a positive number.
    """
    images, centres = _checked("images", images), _checked("centres", centres)
    if images.shape[1:] != centres.shape[1:]:
        raise ValueError(
            f"images and centres must have the same shape behind the first axis, got "
            f"{tuple(images.shape[1:])} and {tuple(centres.shape[1:])}"
        )
    wrong = [sigma for sigma in sigmas if not (sigma > 0 and math.isfinite(sigma))]
    if wrong or not len(sigmas):
        raise ValueError(f"sigmas must be positive numbers, got {wrong or 'none'}")
    centres = centres.to(images)
    x, mu = images.flatten(1), centres.flatten(1)
    middle = mu.mean(0)
    x, mu = x - middle, mu - middle
    mu_norms = mu.square().sum(1)
    rows = max(1, memory // (3 * mu_norms.nbytes))  # distances, a scaled copy, its exponentials
    result = torch.empty(len(sigmas), len(x), dtype=torch.float64, device=x.device)
    for start in range(0, len(x), rows):
        part = x[start : start + rows]
        squared = torch.addmm(mu_norms, part, mu.T, alpha=-2).add_(part.square().sum(1)[:, None])
        nearest = squared.amin(1, keepdim=True)
        squared -= nearest  # so that the largest exponential is 1
        for row, sigma in zip(result, sigmas):
            summed = (squared / (-2 * sigma**2)).exp_().sum(1, dtype=torch.float64).log_()
            row[start : start + rows] = summed - nearest[:, 0].double() / (2 * sigma**2)
    widths = torch.as_tensor(sigmas, dtype=torch.float64, device=x.device)[:, None]
    scale = math.log(len(mu)) + x.shape[1] * (widths.log() + math.log(2 * math.pi) / 2)
    return result - scale


def score(
    samples: Tensor,
    validation: Tensor,
    test: Tensor,
    sigmas: Sequence[float] = PAPER_SIGMAS,
    *,
    memory: int = MEMORY,
) -> Score:
    """Score samples by the protocol of the 2014 paper.

    The width is the best of `sigmas` on the first 1,000 validation images; the score is the mean
    log-density of all test images. The paper takes 10,000 samples and MNIST's test images.

    Args:
        samples: (m, ...) uint8, or float in [0, 1]; 10,000 of them in the paper.
        validation: (v, ...) images that neither trained the generator nor test it.
        test: (n, ...) images, at least two.
        sigmas: Widths to choose from.
        memory: Bytes that the distances may take at a time.

    Returns:
        The score.

    Raises:
        ValueError: As `log_density`, or there are fewer than two test images.
    """
    samples, validation = _checked("samples", samples), _checked("validation", validation)
    test = _checked("test", test)
    if len(test) < 2:
        raise ValueError(f"test must hold at least 2 images for a standard error, got {len(test)}")
    chosen_on = log_density(validation[:VALIDATION], samples, sigmas, memory=memory).mean(1)
    sigma = float(sigmas[int(chosen_on.argmax())])
    each = log_density(test, samples, [sigma], memory=memory)[0]
    return Score(
        mean=each.mean().item(),
        error=(each.std() / math.sqrt(len(each))).item(),
        sigma=sigma,
        sigmas=tuple(map(float, sigmas)),
        validation=tuple(chosen_on.tolist()),
        each=each.cpu(),
    )


def _checked(name: str, images: Tensor) -> Tensor:
    """The images as floats in [0, 1]."""
    if images.ndim < 2 or not images.numel():
        raise ValueError(f"{name} must have shape (n, ...), n ≥ 1, got {tuple(images.shape)}")
    images = to_float(images, torch.promote_types(images.dtype, torch.float32))
    low, high = images.min().item(), images.max().item()
    if not (low >= 0 and high <= 1):
        raise ValueError(f"{name} must lie in [0, 1], got values from {low:.3g} to {high:.3g}")
    return images
