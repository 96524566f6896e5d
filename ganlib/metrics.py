"""What a likelihood does not tell of samples: are they like the data, and is all of the data there?

Precision and recall compare two sets of points by their neighbours. In pixels they praise blur: it
moves images together, into the balls around the real ones. Of 10,000 training images of MNIST 83 %
lie in the manifold of its test images, and after a 3×3 box blur more than 99 %. In the `features`
of a `Classifier` it is 83 % and none (results/mnist-225/metrics.json).
"""

import math
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from ganlib.data import GREY, Minibatches, derive_seed, to_float
from ganlib.networks import Classifier, mode

__all__ = [
    "PrecisionRecall",
    "accuracy",
    "classes",
    "colour_spread",
    "effective_sample_size",
    "features",
    "precision_recall",
    "sharpness",
    "train_classifier",
]

MEMORY = 2**27  # bytes


class PrecisionRecall(NamedTuple):
    """Two shares, from 0 to 1.

    Attributes:
        precision: Of the fake points, those that lie in the real points' manifold.
        recall: Of the real points, those that lie in the fake points' manifold.
    """

    precision: float
    recall: float

    def __repr__(self) -> str:
        return f"PrecisionRecall({self.precision:.3f}, {self.recall:.3f})"


@torch.no_grad()
def precision_recall(
    real: Tensor, fake: Tensor, k: int = 3, *, memory: int = MEMORY
) -> PrecisionRecall:
    """Improved precision and recall (Kynkäänniemi et al., 2019, equations 1 and 2).

    The manifold of a set is the union of closed balls around its points, each with the distance to
    the point's k-th nearest neighbour in the set as radius; the point itself does not count, its
    copies do. Compare sets of equal size: a larger set has smaller balls.

    Distances are computed as ‖a‖² + ‖b‖² − 2 a·b in float64, of points that were centred. Balls
    are widened by 1e-12 of the largest squared norm, more than the rounding errors, so that a copy
    of a point lies in its ball even where the radius is 0.

    Args:
        real: (n, ...) features, or images; uint8 is scaled to [0, 1].
        fake: (m, ...) likewise, of the same shape behind the first axis.
        k: Which neighbour gives the radius, at least 1 and below n and m; 3 in the paper.
        memory: Bytes that the distances may take at a time, those of one point at least.

    Returns:
        The precision and the recall of `fake`.

    Raises:
        ValueError: A set is empty or not finite, the shapes differ, or k is out of range.
    """
    _check_finite("real", real)
    _check_finite("fake", fake)
    if real.shape[1:] != fake.shape[1:]:
        raise ValueError(
            f"real and fake must have the same shape behind the first axis, got "
            f"{tuple(real.shape[1:])} and {tuple(fake.shape[1:])}"
        )
    smaller = min(len(real), len(fake))
    if not 1 <= k < smaller:
        raise ValueError(f"k must be from 1 to {smaller - 1} (the points, less one), got {k}")
    device = "cpu" if real.device.type == "mps" else real.device  # which has no float64
    real, fake = (
        to_float(points, torch.promote_types(points.dtype, torch.float32)).to(device).double()
        for points in (real.flatten(1), fake.flatten(1))
    )
    middle = real.mean(0)
    real, fake = real - middle, fake - middle
    rounding = 1e-12 * torch.stack([p.square().sum(1).max() for p in (real, fake)]).max()
    real_reach = _radii(real, k, memory) + rounding
    fake_reach = _radii(fake, k, memory) + rounding
    covers_fake = torch.zeros(len(fake), dtype=torch.bool, device=device)
    covered = []
    for squared in _squared_distances(real, fake, memory):
        start = sum(map(len, covered))
        reach = real_reach[start : start + len(squared), None]
        covers_fake |= (squared <= reach).any(0)
        covered.append((squared <= fake_reach).any(1))
    recall = torch.cat(covered).double().mean().item()
    return PrecisionRecall(covers_fake.double().mean().item(), recall)


def _squared_distances(points: Tensor, others: Tensor, memory: int) -> Iterator[Tensor]:
    """Rows of ‖a − b‖² for blocks of `points`, as many at a time as fit the memory."""
    norms = others.square().sum(1)
    for block in points.split(max(1, memory // (3 * norms.nbytes))):  # and what is made of them
        squared = torch.addmm(norms, block, others.T, alpha=-2)
        yield squared.add_(block.square().sum(1)[:, None])


def _radii(points: Tensor, k: int, memory: int) -> Tensor:
    """Squared distance of each point to its k-th nearest other one."""
    nearest = [  # k + 1: each point is one of its own nearest, at 0
        squared.topk(k + 1, largest=False).values[:, k]
        for squared in _squared_distances(points, points, memory)
    ]
    return torch.cat(nearest)


def _as_floats(images: Tensor) -> Tensor:
    """Floats as they are, in their own precision."""
    return images if images.is_floating_point() else to_float(images)


def colour_spread(images: Tensor) -> Tensor:
    """How much the pixels of a set of images differ in colour, whatever their grey.

    From each channel the pixel's grey is taken away, 0.299 R + 0.587 G + 0.114 B (ITU-R 601); it is
    the standard deviation of what is left over all pixels of the set, averaged over the channels.
    0 for grey images, and for grey ones with one tint added; a model that hedges between colours
    has less of it than real images.

    Args:
        images: (N, 3, H, W) uint8, or float in [0, 1].

    Returns:
        Scalar, in the unit of the pixels' range 1.

    Raises:
        ValueError: The images have another shape.
    """
    if images.ndim != 4 or images.shape[1] != 3:
        raise ValueError(f"images must have shape (N, 3, H, W), got {tuple(images.shape)}")
    images = _as_floats(images)
    weights = images.new_tensor(GREY).view(3, 1, 1) / 1000
    colours = images - (images * weights).sum(1, keepdim=True)
    return colours.transpose(0, 1).flatten(1).std(1).mean()


def sharpness(images: Tensor) -> Tensor:
    """Mean squared difference of the pixels that touch side by side or one above the other.

    S(x) = 1/n Σ (x_i − x_j)² over an image's n pairs of such pixels, in all its channels. Blur
    lowers it. Noise raises it, so that more than real images have is as wrong as less.

    Args:
        images: (N, ..., H, W) uint8, or float in [0, 1].

    Returns:
        (N,) sharpness, in squares of the pixels' range 1; float32, or the images' own float.

    Raises:
        ValueError: The images have fewer than three axes, or no two pixels that touch.
    """
    if images.ndim < 3 or not len(images) or images.shape[-1] * images.shape[-2] < 2:
        raise ValueError(
            f"images must have shape (N, ..., H, W) with touching pixels, got {tuple(images.shape)}"
        )
    images = _as_floats(images)
    down, right = images.diff(dim=-2).flatten(1), images.diff(dim=-1).flatten(1)
    return torch.cat([down, right], 1).square().mean(1)


def train_classifier(
    images: Tensor, labels: Tensor, *, epochs: int, seed: int = 0, batch_size: int = 64
) -> Classifier:
    """A classifier of real images, to judge samples with: their class, and their `features`.

    Adam with a learning rate of 0.002 that falls to 0 along half a cosine. Two epochs of MNIST are
    enough to name 99 % of its test images rightly (results/mnist-225/metrics.json). The caller's
    random state is left as it was.

    Args:
        images: (N, C, H, W) uint8, or float in [0, 1]; training images only.
        labels: (N,) int64 classes, from 0.
        epochs: How often every image is seen.
        seed: Decides the starting weights and the shuffles.
        batch_size: Images in a step, at least 2.

    Returns:
        The classifier in evaluation mode, on the images' device.

    Raises:
        ValueError: Images, labels, epochs or batch_size cannot be.
    """
    _check_labels(images, labels)
    if epochs < 1:
        raise ValueError(f"epochs must be at least 1, got {epochs}")
    if batch_size < 2:
        raise ValueError(f"batch_size must be at least 2 for a batch norm, got {batch_size}")
    batches = Minibatches(images, labels, batch_size, derive_seed(seed, "classifier"))
    steps = epochs * (len(images) // batch_size)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(seed, "classifier"))
        network = Classifier(images.shape[1:], int(labels.max()) + 1).to(images.device)
    optimizer = torch.optim.Adam(network.parameters(), lr=2e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for step in range(steps):
        x, (y,) = batches[step]
        loss = cross_entropy(network(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return network.eval()


def features(classifier: Classifier, images: Tensor, *, batch_size: int = 500) -> Tensor:
    """What a classifier sees in images: `Classifier.features`, whatever their number.

    Two images are near to each other here if they show the same thing, drawn in the same way. Give
    the features of real and of generated images to `precision_recall`. Judge all models by one
    classifier: another one has other features.

    Args:
        classifier: From `train_classifier`; its mode comes back as it was.
        images: (N, C, H, W) uint8, or float in [0, 1].
        batch_size: How many to look at at once.

    Returns:
        (N, 48 + width) features, on the images' device.
    """
    return _in_batches(classifier, classifier.features, images, batch_size)


def accuracy(
    classifier: Classifier, images: Tensor, labels: Tensor, *, batch_size: int = 500
) -> float:
    """Share of images in which the classifier sees the class that their label names.

    On real test images it says how good the classifier is. On samples of a conditional generator,
    with the classes asked for as labels, it says how often the generator obeys.

    Args:
        classifier: From `train_classifier`; its mode comes back as it was.
        images: (N, C, H, W) uint8, or float in [0, 1].
        labels: (N,) int64 classes.
        batch_size: How many to look at at once.

    Returns:
        The share, from 0 to 1.

    Raises:
        ValueError: The images are none, or the labels do not fit them.
    """
    _check_labels(images, labels)
    return (classes(classifier, images, batch_size=batch_size) == labels).double().mean().item()


def classes(classifier: Classifier, images: Tensor, *, batch_size: int = 500) -> Tensor:
    """The class that a classifier sees in each image.

    Args:
        classifier: From `train_classifier`; its mode comes back as it was.
        images: (N, C, H, W) uint8, or float in [0, 1].
        batch_size: How many to look at at once.

    Returns:
        (N,) int64 classes, on the images' device.
    """
    return _in_batches(classifier, classifier, images, batch_size).argmax(1)


def effective_sample_size(chains: Tensor) -> Tensor:
    """How many independent draws would tell a mean as surely as Markov chains do.

    N / (1 + 2 Σ ρ_t) for N draws in all, where the autocorrelations ρ_t also fall when chains
    disagree with each other (Vehtari et al., 2021, section 3.2): each chain is halved, and the sum
    ends where the sum of two neighbours is no longer positive (Geyer, 1992).

    Args:
        chains: (n, m, ...) numbers along m chains of n ≥ 4 steps.

    Returns:
        (...) sizes, float64; of chains that all stand still at different places about half their
        number of halves. NaN for a number that is the same everywhere.

    Raises:
        ValueError: There are too few steps, or no chain.
    """
    if chains.ndim < 2 or len(chains) < 4 or not chains.numel():
        raise ValueError(f"chains must have shape (n, m, ...), n ≥ 4, got {tuple(chains.shape)}")
    half = len(chains) // 2
    chains = torch.cat([chains[:half], chains[-half:]], 1).double()
    n, m = chains.shape[:2]
    means = chains.mean(0)
    spectrum = torch.fft.rfft(chains - means, 2 * n, dim=0).abs().square()
    covariances = torch.fft.irfft(spectrum, 2 * n, dim=0)[:n].mean(1) / n
    within = covariances[0] * n / (n - 1)
    rho = 1 - (within - covariances) / (covariances[0] + means.var(0))
    rho[0] = 1
    pairs = rho[: n // 2 * 2].unflatten(0, (-1, 2)).sum(1)
    positive = (pairs > 0).cumprod(0)
    time = 2 * (pairs.cummin(0).values * positive).sum(0) - 1
    return n * m / time.clamp(min=1 / math.log10(n * m))


@torch.no_grad()
def _in_batches(network, function, images: Tensor, batch_size: int) -> Tensor:
    like = next(network.parameters())
    with mode(network, training=False):
        outputs = [
            function(to_float(batch.to(like.device), like.dtype)).to(images.device)
            for batch in images.split(batch_size)
        ]
    return torch.cat(outputs)


def _check_finite(name: str, points: Tensor) -> None:
    if points.ndim < 2 or not points.numel():
        raise ValueError(f"{name} must have shape (n, ...), n ≥ 1, got {tuple(points.shape)}")
    wrong = int((~points.isfinite()).sum())
    if wrong:
        raise ValueError(f"{name} must be finite, got {wrong} values that are not")


def _check_labels(images: Tensor, labels: Tensor) -> None:
    if images.ndim != 4 or not images.numel():
        raise ValueError(f"images must have shape (N, C, H, W), N ≥ 1, got {tuple(images.shape)}")
    if labels.dtype != torch.int64 or labels.shape != images.shape[:1] or labels.min() < 0:
        raise ValueError(
            f"labels must be {len(images)} int64 classes from 0, one for each image, got "
            f"{tuple(labels.shape)} {labels.dtype}"
        )
