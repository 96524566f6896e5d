"""The Parzen-window score of the 2014 paper: how likely held-out images are under samples.

On each sample stands a Gaussian of width σ, and the density at an image is their mean:

    log p(x) = log mean_i exp(−‖x − μ_i‖² / 2σ²)
               − d log(σ √(2π))

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

__all__ = ["FINE_SIGMAS", "PAPER_SIGMAS", "Score", "log_density", "score"]

#: Widths from 0.1 to 1, of the released parzen_ll.py.
PAPER_SIGMAS = tuple(np.logspace(-1, 0, 10))
#: Widths from 0.05 to 0.5 in steps of 5 %. The paper's, of 29 %, can miss the optimum: real images
#: of MNIST lose 2 nats so.
FINE_SIGMAS = tuple(0.05 * np.logspace(0, 1, 47))
VALIDATION = 1000  # so many validation images choose σ, the first ones
MEMORY = 2**27  # bytes
CACHE = 2**19  # bytes of distances worked on at a time, which twice fit a core's second cache
ON_A_GPU = 2**25  # there a step costs more than its bytes
NOTHING = -80.0  # exp of less changes no sum that holds a 1, and is slow where it underflows


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


@torch.no_grad()
def log_density(
    images: Tensor, centres: Tensor, sigmas: Sequence[float], *, memory: int = MEMORY
) -> Tensor:
    """Log-density of images under Gaussians on the centres, for several widths at once.

    The squared distances are computed once for all widths, as ‖x‖² + ‖μ‖² − 2 x·μ, in the dtype of
    the images, after the centres' mean is subtracted from both, which makes the norms small and
    with them the rounding errors. On MNIST with σ ≥ 0.1 float32 is within about 1e-3 nats; its
    error grows as 1/σ², with the number of pixels, and for images far from all centres. float64
    (pass float64 images) is exact to rounding. PyTorch's products must be those of that dtype: with
    TensorFloat-32 switched on, the digits are lost that the differences live on.

    Args:
        images: (n, ...) uint8, or float in [0, 1].
        centres: (m, ...) the samples, of the same shape behind the first axis.
        sigmas: Widths, each above 0, in units of the pixels' range 1.
        memory: Bytes to use at a time beside the centres as floats and the result. It is exceeded
            only where the distances of a single image need more.

    Returns:
        (len(sigmas), n) log-densities in nats, float64, on the images' device.

    Raises:
        ValueError: A set is empty, the shapes differ, a value lies outside [0, 1], or a width is
            not a positive number.
    """
    _check("images", images)
    _check("centres", centres)
    if images.shape[1:] != centres.shape[1:]:
        raise ValueError(
            f"images and centres must have the same shape behind the first axis, got "
            f"{tuple(images.shape[1:])} and {tuple(centres.shape[1:])}"
        )
    wrong = [sigma for sigma in sigmas if not (sigma > 0 and math.isfinite(sigma))]
    if wrong or not len(sigmas):
        raise ValueError(f"sigmas must be positive numbers, got {wrong or 'none'}")
    dtype = torch.promote_types(images.dtype, torch.float32)
    mu = to_float(centres.to(images.device), dtype).flatten(1)
    middle = mu.mean(0)
    mu = mu - middle
    norms = mu.square().sum(1)
    twice = 2 * torch.as_tensor(sigmas, dtype=torch.float64, device=mu.device)[:, None] ** 2
    cache = min(CACHE if mu.device.type == "cpu" else ON_A_GPU, memory // 2)
    cached = max(1, cache // norms.nbytes)
    rows = (memory - cached * norms.nbytes) // (norms.nbytes + 2 * middle.nbytes)
    rows = min(len(images), max(1, rows))
    distances = torch.empty(rows, len(mu), dtype=dtype, device=mu.device)
    result = torch.empty(len(sigmas), len(images), dtype=torch.float64, device=mu.device)
    for start in range(0, len(images), rows):
        x = to_float(images[start : start + rows], dtype).flatten(1) - middle
        squared = torch.addmm(norms, x, mu.T, alpha=-2, out=distances[: len(x)])  # less ‖x‖²
        sums = [_log_sums(part, sigmas) for part in squared.split(cached)]
        own = x.square().sum(1, dtype=torch.float64)
        result[:, start : start + rows] = torch.cat(sums, 1) - own / twice
    scale = math.log(len(mu)) + middle.numel() * (twice * math.pi).log() / 2
    return result - scale


def _log_sums(squared: Tensor, sigmas: Sequence[float]) -> Tensor:
    """log Σ exp(−squared / 2σ²) of every row, for every σ, in float64. It spends `squared`."""
    nearest = squared.amin(1)
    torch.sub(nearest[:, None], squared, out=squared)  # so that the largest exponential is 1
    result = torch.empty(len(sigmas), len(squared), dtype=torch.float64, device=squared.device)
    for row, sigma in zip(result, sigmas):
        terms = (squared * (1 / (2 * sigma**2))).clamp_(min=NOTHING).exp_()
        row.copy_(terms.sum(1)).log_().sub_(nearest, alpha=1 / (2 * sigma**2))
    return result


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
    log-density of all test images. The paper takes 10,000 samples and MNIST's test images, and
    `PAPER_SIGMAS`. `FINE_SIGMAS` tell what the steps of that grid cost a model: they run from 0.05
    to 0.5, around the best widths for MNIST and for the digits.

    Args:
        samples: (m, ...) uint8, or float in [0, 1]; 10,000 of them in the paper.
        validation: (v, ...) images that neither trained the generator nor test it.
        test: (n, ...) images, at least two.
        sigmas: Widths to choose from.
        memory: Bytes to use at a time, as for `log_density`.

    Returns:
        The score.

    Raises:
        ValueError: As `log_density`, or there are fewer than two test images.
    """
    for name, images in (("samples", samples), ("validation", validation), ("test", test)):
        _check(name, images)
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


def _check(name: str, images: Tensor) -> None:
    if images.ndim < 2 or not images.numel():
        raise ValueError(f"{name} must have shape (n, ...), n ≥ 1, got {tuple(images.shape)}")
    if images.dtype != torch.uint8:
        low, high = (extreme.item() for extreme in images.aminmax())
        if not (low >= 0 and high <= 1):  # also false for NaN
            raise ValueError(f"{name} must lie in [0, 1], got values from {low:.3g} to {high:.3g}")
