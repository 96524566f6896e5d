"""The players: generators, discriminators, and the noise that feeds a generator.

Every generator has an attribute `noise`, the distribution p_z that it pushes forward, and every
network an attribute `config`, the plain values that `build` makes it again from. D returns logits.
A generator that draws classes has an attribute `classes`, their number.
"""

import json
import math
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from torch import Tensor, nn
from torch.nn.functional import (
    dropout,
    fold,
    instance_norm,
    leaky_relu,
    linear,
    relu,
    unfold,
)

__all__ = [
    "Classifier",
    "ConditionalMLPGenerator",
    "ConditionalMaxoutDiscriminator",
    "MLPDiscriminator",
    "MLPGenerator",
    "Maxout",
    "MaxoutDiscriminator",
    "Noise",
    "PatchDiscriminator",
    "UNetGenerator",
    "build",
    "check_classes",
    "check_positive",
    "limit_norms",
    "load_network",
    "mode",
    "own_random_state",
    "pretrained",
    "random_generators",
    "save_network",
]


@dataclass(frozen=True)
class Noise:
    """The distribution p_z of G's input, with mean 0 and variance 1 in every coordinate.

    Args:
        dim: Number of coordinates of z.
        distribution: "normal" for N(0, I), "uniform" for U(−√3, √3) in every coordinate.

    Raises:
        ValueError: `dim` is below 1 or `distribution` is not one of the two.
    """

    dim: int
    distribution: str = "normal"

    def __post_init__(self):
        if self.dim < 1:
            raise ValueError(f"dim must be at least 1, got {self.dim}")
        if self.distribution not in ("normal", "uniform"):
            raise ValueError(
                f"distribution must be 'normal' or 'uniform', got {self.distribution!r}"
            )

    def __call__(self, n: int, like: Tensor | None = None, seed: int | None = None) -> Tensor:
        """Draw n points z.

        Args:
            n: How many.
            like: The draws take this tensor's device and dtype; float32 on the CPU without it.
            seed: Draw on the CPU from this seed, so that z is the same on every device; without
                it, draw on the device from PyTorch's global generator.

        Returns:
            (n, dim) noise.
        """
        target = torch.empty(0) if like is None else like
        generator = None if seed is None else torch.Generator().manual_seed(seed)
        device = target.device if seed is None else "cpu"
        z = torch.empty(n, self.dim, dtype=target.dtype, device=device)
        if self.distribution == "normal":
            z.normal_(generator=generator)
        else:
            z.uniform_(-math.sqrt(3), math.sqrt(3), generator=generator)
        return z.to(target.device)


class _Network(nn.Module):
    """Keeps the arguments a network was made with, so that `build` can make it again."""

    def __init__(self, **config):
        super().__init__()
        self.config = {"network": type(self).__name__, **config}


def _init_uniform(module: nn.Module, bound: float) -> None:
    """Draw every weight from U(−bound, bound) and set every bias to 0."""
    for name, parameter in module.named_parameters():
        if name.endswith("bias"):
            nn.init.zeros_(parameter)
        else:
            nn.init.uniform_(parameter, -bound, bound)


@torch.no_grad()
def _init_sparse(layer: nn.Linear, inputs: int) -> None:
    """Draw each unit's weights from N(0, 1) for some inputs of its own, and set the others to 0."""
    chosen = torch.rand_like(layer.weight).topk(inputs, dim=1).indices
    layer.weight.zero_().scatter_(1, chosen, torch.randn(chosen.shape))


_ACTIVATIONS = {"relu": nn.ReLU, "sigmoid": nn.Sigmoid}


class _Generator(_Network):
    """Ends in a layer `last` and in `output`, of as many numbers as a sample of `shape` has."""

    @torch.no_grad()
    def start_at_mean(self, images: Tensor) -> None:
        """Set the output bias so that a zero pre-activation gives the mean image.

        The bias becomes the logit of each pixel's mean, clipped to [1e-7, 1 − 1e-7], as in the
        code released with the 2014 paper.

        Args:
            images: (N, *shape) uint8, or float in [0, 1].

        Raises:
            ValueError: The images have another shape, or the output is not a sigmoid.
        """
        if not isinstance(self.output, nn.Sigmoid):
            raise ValueError("start_at_mean needs a generator whose output is 'sigmoid'")
        if tuple(images.shape[1:]) != self.shape:
            raise ValueError(
                f"images must have shape (N, {', '.join(map(str, self.shape))}), "
                f"got {tuple(images.shape)}"
            )
        mean = images.flatten(1).double().mean(0) / (255 if images.dtype == torch.uint8 else 1)
        self.last.bias.copy_(torch.logit(mean, eps=1e-7))


class MLPGenerator(_Generator):
    """z → x through fully connected layers.

    The 2014 paper's generator for MNIST is `MLPGenerator(Noise(100, "uniform"), (1, 28, 28),
    hidden=(1200, 1200), init=0.05)` after `start_at_mean(images)`; its first one for faces is
    `MLPGenerator(Noise(100), (1, 48, 48), hidden=(8000, 8000), init=0.05,
    activations=("relu", "sigmoid"), sparse=100)`.

    Args:
        noise: The distribution p_z of z.
        shape: Shape of one sample, such as (1, 28, 28), or (1,) on the line.
        hidden: Width of each hidden layer.
        output: "sigmoid" for images in [0, 1], "identity" for any real number.
        init: Weights start in U(−init, init), biases at 0, those of hidden sigmoids at −2;
            PyTorch's default without it.
        activations: "relu" or "sigmoid" for each hidden layer; "relu" for all without it.
        sparse: Each output starts with this many weights from N(0, 1), at inputs of its own, and
            the others at 0; as `init` says without it.

    Raises:
        ValueError: `output` is neither of the two; `activations` does not give each hidden layer
            one of the two; `sparse` is not from 1 to the width of the last hidden layer.
    """

    def __init__(
        self,
        noise: Noise,
        shape: Sequence[int],
        hidden: Sequence[int] = (256, 256),
        output: str = "sigmoid",
        init: float | None = None,
        activations: Sequence[str] | None = None,
        sparse: int | None = None,
    ):
        activations = ["relu"] * len(hidden) if activations is None else list(activations)
        super().__init__(
            noise={"dim": noise.dim, "distribution": noise.distribution},
            shape=list(shape),
            hidden=list(hidden),
            output=output,
            init=init,
            activations=activations,
            sparse=sparse,
        )
        if output not in ("sigmoid", "identity"):
            raise ValueError(f"output must be 'sigmoid' or 'identity', got {output!r}")
        if len(activations) != len(hidden) or not set(activations) <= set(_ACTIVATIONS):
            raise ValueError(
                f"activations must be 'relu' or 'sigmoid' for each of {len(hidden)} hidden layers, "
                f"got {activations}"
            )
        self.noise = noise
        self.shape = tuple(shape)
        widths = [noise.dim, *hidden]
        if sparse is not None and not 1 <= sparse <= widths[-1]:
            raise ValueError(
                f"sparse must be from 1 to {widths[-1]} (the outputs' inputs), got {sparse}"
            )
        self.hidden = nn.Sequential()
        for (before, after), activation in zip(pairwise(widths), activations, strict=True):
            self.hidden.extend([nn.Linear(before, after), _ACTIVATIONS[activation]()])
        self.last = nn.Linear(widths[-1], math.prod(shape))
        self.output = nn.Sigmoid() if output == "sigmoid" else nn.Identity()
        if init is not None:
            _init_uniform(self, init)
            for layer, activation in zip(self.hidden[::2], activations, strict=True):
                if activation == "sigmoid":
                    nn.init.constant_(layer.bias, -2)
        if sparse is not None:
            _init_sparse(self.last, sparse)

    def forward(self, z: Tensor) -> Tensor:
        """(N, noise.dim) → (N, *shape)."""
        return self.output(self.last(self.hidden(z))).unflatten(1, self.shape)

    def go_on_from(self, other: "MLPGenerator") -> None:
        """Take over another generator as the top of this one, which then feeds it instead of noise.

        So the code released with the 2014 paper makes its second generator of faces.

        Args:
            other: Its layers become the last of this one.

        Raises:
            ValueError: The last layers here have other widths or activations.
        """
        cut = max(len(self.hidden) - len(other.hidden), 0)
        top = nn.Sequential(*self.hidden[cut:])  # counted from 0 again
        feeds = self.hidden[cut - 2].out_features if cut else self.noise.dim
        here, there = [top, self.last, self.output], [other.hidden, other.last, other.output]
        if feeds != other.noise.dim or repr(here) != repr(there):
            raise ValueError(f"other must be the top of this generator, {self}, got {other}")
        top.load_state_dict(other.hidden.state_dict())
        self.last.load_state_dict(other.last.state_dict())


def check_classes(y: Tensor, classes: int) -> None:
    """Refuse numbers that are no class: a GPU would do so late, and then be of no more use.

    Raises:
        ValueError: One of y is below 0, or not below `classes`.
    """
    if y.numel() and not 0 <= y.min() <= y.max() < classes:
        raise ValueError(
            f"y must be from 0 to {classes - 1}, got values from {y.min()} to {y.max()}"
        )


def _from_classes(y: Tensor, classes: int, like: Tensor) -> Tensor:
    """(N,) int64 classes → (N, classes) numbers, 1 at the class and 0 elsewhere."""
    if y.dtype != torch.int64 or y.shape != like.shape[:1]:
        raise ValueError(
            f"y must be {len(like)} int64 classes, one for each sample, got {tuple(y.shape)} "
            f"{y.dtype}"
        )
    if y.device.type == "cpu":  # on another device each step would wait for it
        check_classes(y, classes)
    return (y.unsqueeze(1) == torch.arange(classes, device=y.device)).to(like.dtype)


class ConditionalMLPGenerator(_Generator):
    """(z, y) → x: z and the class y have a hidden layer each, and share those above.

    The defaults, but for the dropout, are the generator for MNIST of Mirza & Osindero (2014),
    Conditional generative adversarial nets, section 4.1: with `Noise(100, "uniform")` it maps z
    to 200 rectified linear units, y to 1000, both to 1200, and these to the pixels through
    sigmoids. The paper draws z from U[0, 1]¹⁰⁰, which is (1 + z/√3)/2 of ours: the first layer can
    undo what differs.

    Args:
        noise: The distribution p_z of z.
        shape: Shape of one sample.
        classes: How many there are.
        units_z: Width of z's own layer.
        units_y: Width of y's own layer.
        hidden: Width of each layer that both share.
        dropout: Probability with which each hidden unit is dropped in training; 0.5 in the paper.
        init: Weights start in U(−init, init), biases at 0; PyTorch's default without it.

    Raises:
        ValueError: `classes` is below 1.
    """

    def __init__(
        self,
        noise: Noise,
        shape: Sequence[int],
        classes: int,
        units_z: int = 200,
        units_y: int = 1000,
        hidden: Sequence[int] = (1200,),
        dropout: float = 0.0,
        init: float | None = None,
    ):
        super().__init__(
            noise={"dim": noise.dim, "distribution": noise.distribution},
            shape=list(shape),
            classes=classes,
            units_z=units_z,
            units_y=units_y,
            hidden=list(hidden),
            dropout=dropout,
            init=init,
        )
        check_positive(classes=classes)
        self.noise, self.shape, self.classes = noise, tuple(shape), classes
        self.of_z = nn.Sequential(nn.Linear(noise.dim, units_z), nn.ReLU(), _Dropout(dropout))
        self.of_y = nn.Sequential(nn.Linear(classes, units_y), nn.ReLU(), _Dropout(dropout))
        widths = [units_z + units_y, *hidden]
        self.hidden = nn.Sequential()
        for before, after in pairwise(widths):
            self.hidden.extend([nn.Linear(before, after), nn.ReLU(), _Dropout(dropout)])
        self.last = nn.Linear(widths[-1], math.prod(shape))
        self.output = nn.Sigmoid()
        if init is not None:
            _init_uniform(self, init)

    def forward(self, z: Tensor, y: Tensor) -> Tensor:
        """(N, noise.dim) and (N,) int64 classes → (N, *shape).

        Raises:
            ValueError: y has another shape or type; on the CPU also where a class is out of range.
        """
        both = [self.of_z(z), self.of_y(_from_classes(y, self.classes, z))]
        return self.output(self.last(self.hidden(torch.cat(both, 1)))).unflatten(1, self.shape)


class MLPDiscriminator(_Network):
    """x → logit through fully connected leaky ReLU layers (slope 0.2).

    Args:
        shape: Shape of one sample.
        hidden: Width of each hidden layer.
        dropout: Probability with which each hidden unit is dropped in training.
    """

    def __init__(
        self, shape: Sequence[int], hidden: Sequence[int] = (256, 256), dropout: float = 0.0
    ):
        super().__init__(shape=list(shape), hidden=list(hidden), dropout=dropout)
        widths = [math.prod(shape), *hidden]
        layers: list[nn.Module] = [nn.Flatten()]
        for before, after in pairwise(widths):
            layers += [nn.Linear(before, after), nn.LeakyReLU(0.2)]
            if dropout:
                layers.append(nn.Dropout(dropout))
        self.layers = nn.Sequential(*layers, nn.Linear(widths[-1], 1))

    def forward(self, x: Tensor) -> Tensor:
        """(N, *shape) → (N, 1) logits."""
        return self.layers(x)


class Maxout(nn.Module):
    """Each unit is the largest of several affine maps (Goodfellow et al., 2013, Maxout networks).

    Args:
        inputs: Width of the input.
        units: Width of the output.
        pieces: Affine maps per unit.
    """

    def __init__(self, inputs: int, units: int, pieces: int):
        super().__init__()
        self.units, self.pieces = units, pieces
        made = nn.Linear(inputs, units * pieces)
        self.weight, self.bias = made.weight, made.bias

    def extra_repr(self) -> str:
        return f"{self.weight.shape[1]}, units={self.units}, pieces={self.pieces}"

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs) → (N, units)."""
        # Pieces before units: a maximum over the last axis, which is short, takes longer.
        return linear(x, self.weight, self.bias).unflatten(1, (self.pieces, self.units)).amax(1)


class _Dropout(nn.Dropout):
    """nn.Dropout by comparing uniform numbers, which a CPU draws faster than coin flips."""

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or x.device.type != "cpu" or self.p in (0, 1):
            return super().forward(x)
        kept = torch.rand(x.shape) >= self.p
        return x * kept.to(x.dtype).div_(1 - self.p)


class MaxoutDiscriminator(_Network):
    """The 2014 paper's discriminator: maxout layers with dropout on the input of every layer.

    The defaults are those of the released MNIST recipe: two layers of 240 units with 5 pieces,
    each input kept with probability 0.8 at the image and 0.5 above, kept values divided by that
    probability, weights from U(−0.005, 0.005), biases 0.

    Args:
        shape: Shape of one sample.
        units: Width of each maxout layer.
        pieces: Affine maps per unit.
        keep_input: Probability of keeping a pixel in training.
        keep_hidden: Probability of keeping a hidden unit in training.
        init: Weights start in U(−init, init).
    """

    def __init__(
        self,
        shape: Sequence[int],
        units: Sequence[int] = (240, 240),
        pieces: int = 5,
        keep_input: float = 0.8,
        keep_hidden: float = 0.5,
        init: float = 0.005,
    ):
        super().__init__(
            shape=list(shape),
            units=list(units),
            pieces=pieces,
            keep_input=keep_input,
            keep_hidden=keep_hidden,
            init=init,
        )
        widths = [math.prod(shape), *units]
        layers: list[nn.Module] = [nn.Flatten(), _Dropout(1 - keep_input)]
        for before, after in pairwise(widths):
            layers += [Maxout(before, after, pieces), _Dropout(1 - keep_hidden)]
        self.layers = nn.Sequential(*layers, nn.Linear(widths[-1], 1))
        _init_uniform(self, init)

    def forward(self, x: Tensor) -> Tensor:
        """(N, *shape) → (N, 1) logits."""
        return self.layers(x)


class ConditionalMaxoutDiscriminator(_Network):
    """(x, y) → logit: x and the class y have a maxout layer each, and share the one above.

    The defaults are the discriminator for MNIST of Mirza & Osindero (2014), Conditional generative
    adversarial nets, section 4.1: x enters 240 units with 5 pieces, y enters 50 with 5, and both
    enter 240 with 4. The paper's dropout of 0.5 is that of `MaxoutDiscriminator` here, on the
    inputs of every layer but y's own: a D that does not see the class cannot insist on it.

    Args:
        shape: Shape of one sample.
        classes: How many there are.
        units_x: Width of x's own layer.
        units_y: Width of y's own layer.
        units: Width of the layer that both share.
        pieces: Affine maps per unit of x's and of y's own layer.
        pieces_joint: Affine maps per unit of the layer that both share.
        keep_input: Probability of keeping a pixel in training.
        keep_hidden: Probability of keeping a hidden unit in training.
        init: Weights start in U(−init, init), biases at 0.
        init_y: The weights of y's own layer start in U(−init_y, init_y): a single input of it is
            not 0, and with weights as small as the others D would be deaf to y for long.

    Raises:
        ValueError: `classes` is below 1.
    """

    def __init__(
        self,
        shape: Sequence[int],
        classes: int,
        units_x: int = 240,
        units_y: int = 50,
        units: int = 240,
        pieces: int = 5,
        pieces_joint: int = 4,
        keep_input: float = 0.8,
        keep_hidden: float = 0.5,
        init: float = 0.005,
        init_y: float = 0.5,
    ):
        super().__init__(
            shape=list(shape),
            classes=classes,
            units_x=units_x,
            units_y=units_y,
            units=units,
            pieces=pieces,
            pieces_joint=pieces_joint,
            keep_input=keep_input,
            keep_hidden=keep_hidden,
            init=init,
            init_y=init_y,
        )
        check_positive(classes=classes)
        self.classes = classes
        self.of_x = nn.Sequential(
            nn.Flatten(), _Dropout(1 - keep_input), Maxout(math.prod(shape), units_x, pieces)
        )
        self.of_y = Maxout(classes, units_y, pieces)
        self.of_both = nn.Sequential(
            _Dropout(1 - keep_hidden),
            Maxout(units_x + units_y, units, pieces_joint),
            _Dropout(1 - keep_hidden),
            nn.Linear(units, 1),
        )
        _init_uniform(self, init)
        _init_uniform(self.of_y, init_y)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """(N, *shape) and (N,) int64 classes → (N, 1) logits.

        Raises:
            ValueError: As the generator.
        """
        both = [self.of_x(x), self.of_y(_from_classes(y, self.classes, x))]
        return self.of_both(torch.cat(both, 1))


class Classifier(_Network):
    """x → logits of the classes: a small judge of samples, no player.

    Two 3×3 convolutions with 16 and 32 channels, a ReLU and a 2×2 maximum after each, a hidden
    layer and the last one. Its features are the hidden units, which know what is where, and the
    mean of each channel of both convolutions, which know how strokes and their edges look, and
    notice blur. A batch norm without parameters brings each to mean 0 and variance 1. The hidden
    units alone decide on the class, so that it hangs less on blur. 106,000 parameters for 28×28
    pixels and 10 classes, 14,000 for 8×8.

    Args:
        shape: Shape of one image, (C, H, W), at least 4 pixels high and wide.
        classes: How many there are.
        width: Of the hidden layer.

    Raises:
        ValueError: The shape is another.
    """

    def __init__(self, shape: Sequence[int], classes: int = 10, width: int = 64):
        if len(shape) != 3 or min(shape[1:]) < 4:
            raise ValueError(f"shape must be (C, H, W), H and W at least 4, got {tuple(shape)}")
        super().__init__(shape=list(shape), classes=classes, width=width)
        channels, height, across = shape
        self.first = nn.Sequential(nn.Conv2d(channels, 16, 3, padding=1), nn.ReLU())
        self.second = nn.Sequential(nn.MaxPool2d(2), nn.Conv2d(16, 32, 3, padding=1), nn.ReLU())
        inputs = 32 * (height // 4) * (across // 4)
        self.hidden = nn.Sequential(
            nn.MaxPool2d(2), nn.Flatten(), nn.Linear(inputs, width), nn.ReLU()
        )
        self.norm = nn.BatchNorm1d(16 + 32 + width, affine=False)
        self.last = nn.Linear(width, classes)

    def features(self, x: Tensor) -> Tensor:
        """(N, C, H, W) → (N, 48 + width), the means of the channels and the hidden units."""
        first = self.first(x)
        second = self.second(first)
        means = [first.mean((2, 3)), second.mean((2, 3))]
        return self.norm(torch.cat([*means, self.hidden(second)], 1))

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) → (N, classes) logits."""
        return self.last(self.features(x)[:, 48:])


@torch.no_grad()
def _init_normal(module: nn.Module) -> None:
    """pix2pix's start: weights N(0, 0.02²), scales of norms N(1, 0.02²), biases 0."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d | nn.BatchNorm2d):
            nn.init.normal_(layer.weight, float(isinstance(layer, nn.BatchNorm2d)), 0.02)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


def _few(pixels: int, like: Tensor) -> bool:
    """Whether a CPU convolves by a product of matrices, in half the time.

    Where pixels are few, a convolution's time goes into putting its many weights into an order of
    its own, forward and back. A product takes them as they are. The layer is then not called, nor
    are hooks on it.
    """
    return like.device.type == "cpu" and pixels <= 64


def _check_images(y: Tensor | None, inputs: int, multiple: int = 1) -> None:
    """Refuse a y that is no images of so many channels, of sides that are such multiples."""
    fits = y is not None and y.ndim == 4 and y.shape[1] == inputs
    if not fits or any(side % multiple for side in y.shape[2:]):
        sides = f", H and W multiples of {multiple}" if multiple > 1 else ""
        got = None if y is None else tuple(y.shape)
        raise ValueError(f"y must be (N, {inputs}, H, W){sides}, got {got}")


def _halved(x: Tensor, layer: nn.Conv2d) -> Tensor:
    """(N, C, H, W) → (N, C', H/2, W/2) by a 4×4 convolution with stride 2."""
    n, _, height, width = x.shape
    if not _few(n * height * width // 4, x):
        return layer(x)
    patches = unfold(x, 4, padding=1, stride=2).transpose(1, 2)
    pixels = linear(patches.flatten(0, 1), layer.weight.flatten(1), layer.bias)
    return pixels.unflatten(0, (n, height // 2, width // 2)).permute(0, 3, 1, 2)


def _doubled(x: Tensor, layer: nn.ConvTranspose2d) -> Tensor:
    """(N, C, H, W) → (N, C', 2H, 2W) by a transposed 4×4 convolution with stride 2, no bias."""
    n, _, height, width = x.shape
    if not _few(n * height * width, x):
        return layer(x)
    pixels = x.permute(0, 2, 3, 1).flatten(0, 2)
    patches = (pixels @ layer.weight.flatten(1)).unflatten(0, (n, -1)).transpose(1, 2)
    return fold(patches, (2 * height, 2 * width), 4, padding=1, stride=2)


class UNetGenerator(_Network):
    """(z, y) → x, image to image: the U-Net of pix2pix (Isola et al., 2017, section 6.1.1).

    Convolutions, 4×4 with stride 2, halve the image down to one pixel; as many transposed ones
    bring it back, and each is given what the way down had at its resolution, too. On the way down
    `width` channels double up to 8 · `width`. For 256×256 that is
    C64-C128-C256-C512-C512-C512-C512-C512, and 54.4 million parameters from 3 channels to 3; a
    smaller image has fewer layers at the bottleneck. Leaky ReLU (slope 0.2) down, ReLU up, batch
    norm on all layers but the first, the bottleneck and the last, dropout of one half on the first
    three of the way up. Images in [0, 1] are mapped to [−1, 1] at the input, and tanh's [−1, 1]
    back to [0, 1] at the output. An image whose sides are multiples of H passes, too; at the
    bottleneck it is more than one pixel.

    The paper's z is the dropout alone. A `noise` is fed in as further channels of the input,
    constant over the image.

    In evaluation mode two switches say what stays as it was in training, by default both, as in
    the paper (section 3.3). They are attributes and can be set at any time.

    Args:
        shape: Shape of one sample, (C, H, W) with H = W a power of two, at least 16.
        inputs: Channels of y.
        width: Channels of the first layer.
        noise: The distribution of a z that is fed in; None for no z but the dropout.
        dropout_at_test: Whether evaluation mode still drops units.
        batch_statistics_at_test: Whether evaluation mode still normalises by the images at hand,
            each by its own mean and variance, as a batch of one is in the paper; otherwise by the
            running ones of training. Trained on larger minibatches, G has not met images that are
            normalised alone, and does better with the running ones.

    Raises:
        ValueError: The shape is another; `inputs` or `width` is below 1.
    """

    def __init__(
        self,
        shape: Sequence[int],
        inputs: int = 3,
        width: int = 64,
        noise: Noise | None = None,
        dropout_at_test: bool = True,
        batch_statistics_at_test: bool = True,
    ):
        super().__init__(
            shape=list(shape),
            inputs=inputs,
            width=width,
            noise=None if noise is None else {"dim": noise.dim, "distribution": noise.distribution},
        )
        size = shape[-1] if len(shape) == 3 else 0
        if size < 16 or shape[1] != size or size & (size - 1):
            raise ValueError(
                f"shape must be (C, H, W), H = W a power of two from 16 on, got {tuple(shape)}"
            )
        check_positive(inputs=inputs, width=width)
        self.noise, self.inputs, self.size = noise, inputs, size
        self.dropout_at_test = dropout_at_test
        self.batch_statistics_at_test = batch_statistics_at_test
        depth = size.bit_length() - 1
        widths = [width * min(2**level, 8) for level in range(depth)]
        before = inputs + (0 if noise is None else noise.dim)
        self.down, self.down_norms = nn.ModuleList(), nn.ModuleList()
        for level, after in enumerate(widths):
            normed = 0 < level < depth - 1
            self.down.append(nn.Conv2d(before, after, 4, 2, 1, bias=not normed))
            self.down_norms.append(nn.BatchNorm2d(after) if normed else nn.Identity())
            before = after
        self.up, self.up_norms = nn.ModuleList(), nn.ModuleList()
        for after in reversed(widths[:-1]):
            self.up.append(nn.ConvTranspose2d(before, after, 4, 2, 1, bias=False))
            self.up_norms.append(nn.BatchNorm2d(after))
            before = 2 * after  # with what comes across
        self.last = nn.ConvTranspose2d(before, shape[0], 4, 2, 1)
        _init_normal(self)

    @property
    def config(self) -> dict:
        """What `build` makes this network from, its switches as they are now."""
        return self._config | {
            "dropout_at_test": self.dropout_at_test,
            "batch_statistics_at_test": self.batch_statistics_at_test,
        }

    @config.setter
    def config(self, config: dict) -> None:
        self._config = config

    def forward(self, z: Tensor | None, y: Tensor | None = None) -> Tensor:
        """z (N, noise.dim) or None, y (N, inputs, H, W) in [0, 1] → (N, C, H, W) in [0, 1].

        Raises:
            ValueError: There is no y, or it has another shape.
        """
        _check_images(y, self.inputs, self.size)
        x = 2 * y - 1
        if z is not None:
            x = torch.cat([x, z[..., None, None].expand(-1, -1, *y.shape[2:])], 1)
        across = []
        for level, (convolve, norm) in enumerate(zip(self.down, self.down_norms, strict=True)):
            x = self._normalise(norm, _halved(leaky_relu(x, 0.2) if level else x, convolve))
            across.append(x)
        across.pop()  # the bottleneck itself
        for level, (convolve, norm) in enumerate(zip(self.up, self.up_norms, strict=True)):
            x = self._normalise(norm, _doubled(relu(x), convolve))
            if level < 3:
                x = dropout(x, 0.5, self.training or self.dropout_at_test)
            x = torch.cat([x, across.pop()], 1)
        # In y's precision, since autocast's 8 bits are too few for colours.
        return (self.last(relu(x)).to(y.dtype).tanh() + 1) / 2

    def _normalise(self, norm: nn.Module, x: Tensor) -> Tensor:
        if self.training or not self.batch_statistics_at_test or isinstance(norm, nn.Identity):
            return norm(x)
        return instance_norm(x, weight=norm.weight, bias=norm.bias, eps=norm.eps)


class PatchDiscriminator(_Network):
    """(x, y) → a logit for each patch: the PatchGAN of pix2pix (Isola et al., 2017, 6.1.2).

    4×4 convolutions, `halvings` of them with stride 2 and two more with stride 1, the last one to
    one channel; leaky ReLU (slope 0.2), batch norm on all but the first and the last. `width`
    channels double up to 8 · `width`. By default C64-C128-C256-C512, where each logit sees 70×70
    pixels, 30×30 logits of a 256×256 image, and 2.77 million parameters for 3 channels each of x
    and y. With 0 to 5 halvings a logit sees 1, 16, 34, 70, 142 and 286 pixels each way, among them
    the fields of the paper's section 4.4. Without halvings it is its C64-C128 of 1×1 convolutions.

    Args:
        shape: Shape of one x, (C, H, W).
        inputs: Channels of y, which has the height and width of x. 0 for a D that does not look
            at y, the paper's unconditional one.
        width: Channels of the first layer.
        halvings: Convolutions with stride 2.

    Raises:
        ValueError: `shape` is no image's, or too small for so many halvings; `inputs` or
            `halvings` is below 0, `width` below 1.
    """

    def __init__(self, shape: Sequence[int], inputs: int = 3, width: int = 64, halvings: int = 3):
        super().__init__(shape=list(shape), inputs=inputs, width=width, halvings=halvings)
        if inputs < 0 or halvings < 0:
            raise ValueError(f"inputs and halvings must be at least 0, got {inputs} and {halvings}")
        check_positive(width=width)
        smallest = 3 << halvings if halvings else 1
        if len(shape) != 3 or min(shape[1:]) < smallest:
            raise ValueError(
                f"shape must be (C, H, W), H and W at least {smallest} for {halvings} halvings, "
                f"got {tuple(shape)}"
            )
        self.inputs = inputs
        kernel, padding = (4, 1) if halvings else (1, 0)
        strides = [2] * halvings + [1] if halvings else [1, 1]
        before = shape[0] + inputs
        layers: list[nn.Module] = []
        for level, stride in enumerate(strides):
            after = width * min(2**level, 8)
            layers.append(nn.Conv2d(before, after, kernel, stride, padding, bias=not level))
            if level:
                layers.append(nn.BatchNorm2d(after))
            layers.append(nn.LeakyReLU(0.2))
            before = after
        self.layers = nn.Sequential(*layers, nn.Conv2d(before, 1, kernel, 1, padding))
        _init_normal(self)

    @property
    def receptive_field(self) -> int:
        """Height and width, in pixels, of the patch that a logit depends on."""
        field = 1
        for layer in reversed(self.layers):
            if isinstance(layer, nn.Conv2d):
                field = (field - 1) * layer.stride[0] + layer.kernel_size[0]
        return field

    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """x (N, *shape), y (N, inputs, H, W), both in [0, 1] → (N, 1, h, w) logits.

        Raises:
            ValueError: `inputs` is not 0, and there is no y, or it has another shape.
        """
        if self.inputs:
            _check_images(y, self.inputs)
        both = torch.cat([x, y], 1) if self.inputs else x
        return self.layers(2 * both - 1)


def check_positive(**numbers: int) -> None:
    """Refuse numbers below 1.

    Raises:
        ValueError: One of them, by its name.
    """
    for name, number in numbers.items():
        if number < 1:
            raise ValueError(f"{name} must be at least 1, got {number}")


@torch.no_grad()
def limit_norms(weights: Iterable[Tensor], largest: float) -> None:
    """Scale the weights that enter a unit down, where their Euclidean norm exceeds the largest.

    The max-norm constraint of Srebro & Shraibman (2005) in the form of Hinton et al. (2012),
    applied after every step. A maxout unit's affine maps count as units of their own.

    Args:
        weights: Changed in place. Matrices have a row a unit; vectors, such as biases, stay.
        largest: The norm allowed.

    Raises:
        ValueError: `largest` is not positive.
    """
    if not largest > 0:
        raise ValueError(f"largest must be positive, got {largest}")
    for weight in weights:
        if weight.ndim > 1:
            weight.renorm_(2, 0, largest)


WEIGHTS = Path(__file__).parent / "weights"  # of trained generators

_NETWORKS = {
    network.__name__: network
    for network in (
        MLPGenerator,
        ConditionalMLPGenerator,
        MLPDiscriminator,
        MaxoutDiscriminator,
        ConditionalMaxoutDiscriminator,
        Classifier,
        UNetGenerator,
        PatchDiscriminator,
    )
}


def build(config: dict, kinds: dict[str, type[nn.Module]] | None = None) -> nn.Module:
    """Make a network from its `config`: only classes that are known, only plain values.

    Args:
        config: ``{"network": class name, argument: value, ...}``; `noise` as
            ``{"dim": ..., "distribution": ...}``, or None.
        kinds: Class name → class, of what may be made; without it, those of this module.

    Returns:
        The network, freshly initialised.

    Raises:
        ValueError: No class that is known has that name, or it takes no such argument.
    """
    kinds = kinds or _NETWORKS
    arguments = dict(config)
    name = arguments.pop("network", None)
    if name not in kinds:
        raise ValueError(f"network must be one of {', '.join(kinds)}, got {name!r}")
    try:
        if arguments.get("noise") is not None:
            arguments["noise"] = Noise(**arguments["noise"])
        return kinds[name](**arguments)
    except (TypeError, AttributeError) as error:  # no value of the kind it takes
        raise ValueError(f"{name} cannot be built from {arguments}: {error}") from error


def save_network(network: nn.Module, path: str | os.PathLike) -> None:
    """Write a network's weights as safetensors, with its `config` (if it has one) as metadata."""
    about = {"class": type(network).__name__, "config": getattr(network, "config", None)}
    weights = {
        name: w.detach().cpu().clone(memory_format=torch.contiguous_format)
        for name, w in network.state_dict().items()
    }
    Path(path).write_bytes(save(weights, metadata={"ganlib": json.dumps(about)}))


def load_network(
    path: str | os.PathLike, kinds: dict[str, type[nn.Module]] | None = None
) -> nn.Module:
    """Read a network that `save_network` wrote. Nothing in the file is executed.

    Args:
        path: The file.
        kinds: As for `build`.

    Returns:
        The network, on the CPU, in evaluation mode.

    Raises:
        FileNotFoundError: Nothing is at `path`.
        ValueError: The file is damaged, was not written by ganlib, or holds a network that ganlib
            does not know how to build.
    """
    if not os.path.isfile(path):
        raise FileNotFoundError(f"path must be a file of weights, got {path}, and none is there")
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
    except SafetensorError as error:
        raise ValueError(f"{path} is not a readable safetensors file: {error}") from error
    if "ganlib" not in metadata:
        raise ValueError(f"{path} was not written by ganlib: its metadata names no network")
    try:
        about = json.loads(metadata["ganlib"])
        name, config = about["class"], about["config"]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is damaged: its metadata cannot be read: {error}") from error
    if config is None:
        raise ValueError(
            f"{path} holds the weights of a {name}, which ganlib cannot build: make it "
            "yourself and give it the weights that safetensors.torch.load_file reads"
        )
    network = build(config, kinds)
    weights = {name: w.clone() for name, w in load_file(path).items()}  # no longer in the file
    try:
        network.load_state_dict(weights, assign=True)  # in the type they were saved in
    except RuntimeError as error:
        raise ValueError(
            f"{path} is damaged: its weights do not fit its network: {error}"
        ) from error
    return network.eval()


def pretrained(name: str = "mnist") -> nn.Module:
    """A trained generator that comes with the package: no network, no training.

    `"mnist"` is the averaged generator of one run of the recipe `mnist-225`, `"cgan-mnist"`, which
    draws the class asked for, that of `cgan-mnist-small`; both are in half precision on disk.
    `ganlib/weights/<name>.json` says which run, and what it scored.

    Args:
        name: Which one.

    Returns:
        The generator, float32, on the CPU, in evaluation mode.

    Raises:
        ValueError: There is none of that name.
    """
    weights = {path.stem: path for path in WEIGHTS.glob("*.safetensors")}
    if name not in weights:
        raise ValueError(f"name must be one of {', '.join(sorted(weights))}, got {name!r}")
    return load_network(weights[name]).float()


@contextmanager
def mode(*networks: nn.Module, training: bool) -> Iterator[None]:
    """Put networks into training or evaluation mode for a while; every module's own comes back."""
    modules = [module for network in networks for module in network.modules()]
    before = [module.training for module in modules]
    for network in networks:
        network.train(training)
    try:
        yield
    finally:
        for module, was in zip(modules, before, strict=True):
            module.training = was


def random_generators(like: Tensor) -> dict[str, torch.Generator]:
    """PyTorch's global generators that work on this tensor's device draws from, by device."""
    generators = {"cpu": torch.default_generator}
    kind = like.device.type
    if kind == "mps":
        generators[kind] = torch.mps._get_default_mps_generator()
    elif kind != "cpu":
        generators[kind] = getattr(torch, kind).default_generators[like.device.index or 0]
    return generators


@contextmanager
def own_random_state(like: Tensor, seed: int | None = None) -> Iterator[None]:
    """Draw from this seed for a while, or go on without one; the caller's random state comes back.

    Args:
        like: On the device whose state it is, besides the CPU's.
        seed: From 0 to 2³² − 1, or None.
    """
    generators = random_generators(like)
    before = {name: generator.get_state() for name, generator in generators.items()}
    if seed is not None:
        for generator in generators.values():
            generator.manual_seed(seed)
    try:
        yield
    finally:
        for name, generator in generators.items():
            generator.set_state(before[name])
