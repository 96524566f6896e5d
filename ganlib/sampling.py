"""Looking at a generator: samples, walks through z, and the nearest training images."""

import math

import torch
from torch import Tensor, nn

from ganlib.data import ImageFiles, as_condition, derive_seed, to_float
from ganlib.networks import check_classes, mode, own_random_state

__all__ = ["in_turn", "interpolate", "nearest", "sample", "walk"]


@torch.no_grad()
def generate(
    G: nn.Module,
    z: Tensor | None,
    y: Tensor | ImageFiles | None = None,
    batch_size: int = 1000,
    *,
    seed: int = 0,
) -> Tensor:
    """G(z, y) in evaluation mode, a batch at a time.

    Images as conditions are taken one at a time, whatever the batch size, as pix2pix is tested
    (Isola et al., 2017, section 3.3): so neither memory nor an image's dropout depends on how many
    there are. The caller's random state is left as it was.

    Args:
        G: Generator; its mode comes back as it was.
        z: (N, dim) noise, on any device; None for a G that takes y alone.
        y: (N, ...) conditions, or None.
        batch_size: How many to make at once.
        seed: Of a G that draws, by dropout, in evaluation mode, too.

    Returns:
        (N, ...) samples, float, on the CPU.

    Raises:
        ValueError: z and y differ in number, or there is neither; y is out of G's classes.
    """
    if z is None and y is None:
        raise ValueError("y must hold the conditions of a G that takes no noise, got None")
    n = len(y) if z is None else len(z)
    if y is not None and len(y) != n:
        raise ValueError(f"y must have one condition for each of the {len(z)} z, got {len(y)}")
    if y is not None and hasattr(G, "classes"):
        check_classes(y, G.classes)
    like = next(G.parameters())
    if y is not None and len(y.shape) == 4:
        batch_size = 1
    batches = []
    with mode(G, training=False), own_random_state(like, derive_seed(seed, "dropout")):
        for start in range(0, n, batch_size):
            part = slice(start, start + batch_size)
            noise = None if z is None else z[part].to(like)
            conditions = () if y is None else (as_condition(y[part].to(like.device), like.dtype),)
            batches.append(G(noise, *conditions).cpu())
    return torch.cat(batches)


def in_turn(n: int, classes: int) -> Tensor:
    """n classes, each in its turn: 0, 1, …, classes − 1, 0, 1, …; (n,) int64."""
    return torch.arange(n) % classes


def sample(
    G: nn.Module, n: int = 64, y: Tensor | ImageFiles | None = None, *, seed: int = 0
) -> Tensor:
    """Draw samples: z ~ p_z pushed through G. The first come, none is chosen.

    Args:
        G: Generator with an attribute `noise`.
        n: How many.
        y: (n, ...) conditions; without them a G of classes draws each in its turn.
        seed: Of z, the same on every device, and of dropout where G keeps it, which is another on
            another device.

    Returns:
        (n, ...) samples, float, on the CPU.

    Raises:
        ValueError: n is below 1, or y does not hold n conditions.
    """
    if n < 1:
        raise ValueError(f"n must be at least 1, got {n}")
    if y is not None and len(y) != n:
        raise ValueError(f"y must have one condition for each of the {n} samples, got {len(y)}")
    z = None if G.noise is None else G.noise(n, next(G.parameters()), seed=seed)
    if y is None and hasattr(G, "classes"):
        y = in_turn(n, G.classes)
    return generate(G, z, y, seed=seed)


def walk(z0: Tensor, z1: Tensor, steps: int = 9, *, spherical: bool = False) -> Tensor:
    """Points on the way from z0 to z1, both ends included, equally spaced.

    Linear: (1 − t) z0 + t z1. Spherical: along the arc, sin((1 − t)ω)/sin ω · z0 +
    sin(tω)/sin ω · z1 with ω the angle between z0 and z1 (Shoemake, 1985); where the two have one
    direction it is linear.

    Args:
        z0: (dim,) or (N, dim) starts.
        z1: Ends, of the same shape.
        steps: Points on each way, at least 2.
        spherical: Follow the arc, which suits normal noise, whose norm hardly varies.

    Returns:
        (steps, dim) or (N, steps, dim).

    Raises:
        ValueError: The shapes differ, steps is below 2, or a spherical way has an end at 0 or two
            opposite ends, between which no arc is the shortest.
    """
    if z0.shape != z1.shape or z0.ndim not in (1, 2):
        raise ValueError(
            "z0 and z1 must have one shape, (dim,) or (N, dim), got "
            f"{tuple(z0.shape)} and {tuple(z1.shape)}"
        )
    if not (z0.is_floating_point() and z1.is_floating_point()):
        raise ValueError(f"z0 and z1 must be floats, got {z0.dtype} and {z1.dtype}")
    if steps < 2:
        raise ValueError(f"steps must be at least 2, got {steps}")
    t = torch.linspace(0, 1, steps, dtype=z0.dtype, device=z0.device).unsqueeze(-1)
    start, end = z0.unsqueeze(-2), z1.unsqueeze(-2)
    a, b = 1 - t, t
    if spherical:
        norms = start.norm(dim=-1, keepdim=True), end.norm(dim=-1, keepdim=True)
        if (norms[0] == 0).any() or (norms[1] == 0).any():
            raise ValueError("z0 and z1 must not be 0 for a spherical way: 0 has no direction")
        u, v = start / norms[0], end / norms[1]
        # Kahan's angle: exact for small and for nearly opposite directions, where acos is not.
        angle = 2 * torch.atan2(
            (u - v).norm(dim=-1, keepdim=True), (u + v).norm(dim=-1, keepdim=True)
        )
        if (torch.pi - angle < 1e-3).any():
            raise ValueError(
                "z0 and z1 must not be opposite for a spherical way: no arc is shortest"
            )
        sine = torch.sin(angle)
        bent = sine > 1e-4
        a = torch.where(bent, torch.sin((1 - t) * angle) / sine, a)
        b = torch.where(bent, torch.sin(t * angle) / sine, b)
    points = a * start + b * end
    points[..., 0, :], points[..., -1, :] = z0, z1  # to the bit
    return points


def interpolate(
    G: nn.Module,
    z0: Tensor,
    z1: Tensor,
    steps: int = 9,
    y: Tensor | None = None,
    *,
    spherical: bool = False,
    seed: int = 0,
) -> Tensor:
    """G along the `walk` from z0 to z1 (Goodfellow et al., 2014, figure 3).

    Args:
        G: Generator.
        z0: (dim,) or (N, dim) starts.
        z1: Ends, of the same shape.
        steps: Images on each way, at least 2.
        y: Condition of each way, () or (N,) or with further dimensions, which stays as it is on the
            way; without it a G of classes takes each in its turn, one a way.
        spherical: Follow the arc instead of the straight line.
        seed: Of a G that draws, by dropout, in evaluation mode, too.

    Returns:
        (steps, ...) or (N, steps, ...) samples, float, on the CPU.

    Raises:
        ValueError: As `walk` does, or y does not hold one condition for each way.
    """
    points = walk(z0, z1, steps, spherical=spherical)
    if y is None and hasattr(G, "classes"):
        y = in_turn(math.prod(z0.shape[:-1]), G.classes).view(z0.shape[:-1])
    if y is not None:
        if y.shape[: z0.ndim - 1] != z0.shape[:-1]:
            raise ValueError(
                f"y must have one condition for each of the {len(z0)} ways, got {tuple(y.shape)}"
            )
        y = y.unsqueeze(z0.ndim - 1).expand(*points.shape[:-1], *y.shape[z0.ndim - 1 :])
        y = y.flatten(0, z0.ndim - 1)
    return generate(G, points.flatten(0, -2), y, seed=seed).unflatten(0, points.shape[:-1])


def nearest(
    images: Tensor, data: Tensor, k: int = 1, *, batch_size: int = 64
) -> tuple[Tensor, Tensor]:
    """The k nearest data of each image, by Euclidean distance, exactly.

    Differences are squared and summed as they are, in double precision: the shortcut
    |a|² − 2ab + |b|² loses the digits that near neighbours differ in. Between uint8 images the sums
    are whole numbers, so that equals are equal.

    Args:
        images: (N, ...) uint8, or float in [0, 1].
        data: (M, ...) uint8, or float in [0, 1], of the same shape.
        k: How many neighbours, from 1 to M.
        batch_size: Images compared at once; memory grows with it, the answer does not change.

    Returns:
        Distances (N, k) float64 in ascending order, in the unit of images in [0, 1], and the
        neighbours' places in `data` (N, k); the first of equals comes first.

    Raises:
        ValueError: The shapes differ, or k is out of range.
    """
    if images.shape[1:] != data.shape[1:]:
        raise ValueError(
            f"images and data must have one shape, got {tuple(images.shape[1:])} and "
            f"{tuple(data.shape[1:])}"
        )
    if not 1 <= k <= len(data):
        raise ValueError(f"k must be from 1 to {len(data)} (the data), got {k}")
    whole = images.dtype == data.dtype == torch.uint8
    device = "cpu" if data.device.type == "mps" else data.device  # which has no float64
    images, points = (
        (x if whole or x.is_floating_point() else to_float(x)).flatten(1).double()
        for x in (images.to(device), data.to(device))
    )
    distances, places = [], []
    for batch in images.split(batch_size):
        far = torch.cdist(batch, points, compute_mode="donot_use_mm_for_euclid_dist")
        near = far.sort(dim=1, stable=True)
        distances.append(near.values[:, :k] / (255 if whole else 1))
        places.append(near.indices[:, :k])
    return torch.cat(distances), torch.cat(places)
