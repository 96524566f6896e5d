"""Named experiments as data: which images, which players, which moves, how long."""

import os
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from ganlib.checkpoints import CHECKPOINT
from ganlib.data import (
    DATASETS,
    Data,
    colour_pairs,
    derive_seed,
    load,
    load_pairs,
    stream,
    stream_pairs,
)
from ganlib.networks import build, limit_norms
from ganlib.training import Game, Schedule, train

__all__ = ["RECIPES", "Recipe", "fast_schedule", "paper_schedule", "tfd_schedule"]


def paper_schedule(step: int) -> dict[str, float]:
    """Learning rate and momentum of the MNIST recipe released with the 2014 paper.

    ``lr = max(0.1 / 1.000004**step, 1e-6)``. Momentum rises linearly from 0.5 in epoch 1 to 0.7 in
    epoch 250, by whole epochs of 500 steps (50,000 images in minibatches of 100).
    """
    done = min(step // 500 / 249, 1)
    return {"lr": max(0.1 / 1.000004**step, 1e-6), "momentum": 0.5 + 0.2 * done}


def fast_schedule(step: int) -> dict[str, float]:
    """Learning rate of the recipe mnist-225: twice as high as the paper's, with the same decay.

    Momentum stays where the paper starts. G then moves too restlessly to be sampled from, and far
    enough for its average.
    """
    return {"lr": 0.2 / 1.000004**step}


def tfd_schedule(step: int) -> dict[str, float]:
    """Learning rate and momentum of both TFD recipes released with the 2014 paper.

    As `paper_schedule`, but from 0.05 and by epochs of 980 steps (98,058 images).
    """
    done = min(step // 980 / 249, 1)
    return {"lr": max(0.05 / 1.000004**step, 1e-6), "momentum": 0.5 + 0.2 * done}


@dataclass(frozen=True)
class Recipe:
    """One experiment.

    Attributes:
        summary: What it is, in a line.
        data: A source for `ganlib.load`.
        generator: Its `config` without what the data give: the shape, and the number of classes or
            of the inputs' channels.
        discriminator: Likewise.
        optimizer: Both players' class in torch.optim.
        options: What both optimisers are made with.
        steps: Moves of G.
        length: The same in words.
        time: What it takes, as measured, and on what.
        start_at_mean: Whether G's output bias starts at the mean image.
        schedule: step → hyper-parameters of both optimisers, or None.
        rate_D: D's learning rate as a share of G's.
        training: Further arguments of `ganlib.train`.
        max_norm: Largest norm of the weights that enter a unit, after every step; or None.
        first: A recipe to run before; its generator becomes the top of this one's. Or None.
        condition: Which attribute of the data is y, "labels" or "inputs"; None without y.
        read: How a path is read: `load`, `load_pairs` or `colour_pairs`.
        size: To what `load_pairs` reduces images, None for not at all; into what squares
            `colour_pairs` cuts photos.
    """

    summary: str
    data: str
    generator: dict
    discriminator: dict
    optimizer: type[Optimizer]
    options: dict
    steps: int
    length: str
    time: str
    start_at_mean: bool = False
    schedule: Callable[[int], dict[str, float]] | None = None
    rate_D: float = 1.0
    training: dict = field(default_factory=dict)
    max_norm: float | None = None
    first: "Recipe | None" = None
    condition: str | None = None
    read: Callable[..., Data] = load
    size: int | None = None

    def players(self, data: Data, seed: int = 0) -> tuple[nn.Module, nn.Module]:
        """G and D for data such as these, with the first weights that the seed gives."""
        given = {"shape": list(data.shape)}
        if self.condition == "labels":
            given["classes"] = len(data.classes)
        elif self.condition == "inputs":
            given["inputs"] = data.inputs.shape[1]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive_seed(seed, "weights"))
            G = build(self.generator | given)
            D = build(self.discriminator | given)
        if self.start_at_mean:
            images = data.images
            few = slice(None, None, max(len(images) // 1000, 1))  # of what must be decoded
            G.start_at_mean(images if isinstance(images, Tensor) else images[few])
        return G, D

    def open(
        self, source=None, split: str = "train", *, streamed: bool = False, direction=None
    ) -> Data:
        """One split of the data to train on.

        Args:
            source: A name or an array for `load`; a path that is read as `read` says; None for the
                recipe's own data. "colour" is cut into squares of the size of a recipe of photos.
            split: "train", "validation" or "test".
            streamed: Decode a folder's images when they are needed, not at once.
            direction: Of the pairs in a folder, "AtoB" (also without it) or "BtoA".

        Raises:
            ValueError: As the functions of `ganlib.data` do; `streamed` is for no folder, or for
                photos that must be cut; `direction` is for no folder of pairs.
            FileNotFoundError: As `load` does.
        """
        self.check_source(source, streamed=streamed, direction=direction)
        source = self.data if source is None else source
        if self.read is colour_pairs and isinstance(source, str) and source == "colour":
            return colour_pairs(None, split, self.size)
        if not _is_path(source) or self.read is load:
            return (stream if streamed else load)(source, split)
        if self.read is load_pairs:
            read = stream_pairs if streamed else load_pairs
            return read(source, split, direction or "AtoB", self.size)
        return colour_pairs(source, split, self.size)

    def check_source(self, source=None, *, streamed: bool = False, direction=None) -> None:
        """Refuse, before anything is read, what does not suit the source: see `open`."""
        source = self.data if source is None else source
        if streamed and not (_is_path(source) and Path(source).expanduser().is_dir()):
            raise ValueError(f"data must be a folder of images to be streamed, got {source}")
        if direction and not (_is_path(source) and self.read is load_pairs):
            raise ValueError(
                "direction must be left out: it is of a folder of pairs, for a recipe that reads "
                f"one, got {direction!r}"
            )
        if streamed and self.read is colour_pairs:
            raise ValueError("streamed must be False: photos are cut into squares at once")

    def _scaled(self, rate: float, step: int) -> dict[str, float]:
        values = self.schedule(step)
        return values | {"lr": rate * values["lr"]}

    def run(self, *, data=None, steps: int | None = None, seed: int = 0, **options) -> Game:
        """Train by this recipe, and by the first one before, into the folder `first` of `out`.

        Args:
            data: Another source for `open`, or `Data`.
            steps: Another length; the first recipe's, too, where it is shorter.
            seed: Of the first weights, the shuffles, the noise and the dropout.
            options: Arguments of `ganlib.train`: batch_size, fabric, out, log_every, ...

        Returns:
            The game, as `train` does.

        Raises:
            ValueError: The data lack the condition.
            ValueError, FileNotFoundError, FloatingPointError, KeyboardInterrupt: As `open` and
                `train` do.
        """
        data = data if isinstance(data, Data) else self.open(data)
        y = getattr(data, self.condition) if self.condition else None
        if self.condition and y is None:
            raise ValueError(
                f"data must have {self.condition} for this recipe, {data.name} has none"
            )
        G, D = self.players(data, seed)
        out = options.get("out")
        if self.first and not (out and (Path(out) / CHECKPOINT).exists()):
            G.go_on_from(self._run_first(data, steps, seed, options).generator)
        optimizers, schedulers = [], []
        for player, rate in ((G, 1.0), (D, self.rate_D)):
            its_options = self.options | {"lr": rate * self.options["lr"]}
            optimizers.append(self.optimizer(player.parameters(), **its_options))
            if self.schedule:
                schedulers.append(Schedule(optimizers[-1], partial(self._scaled, rate)))
            if self.max_norm:
                _keep_norms(optimizers[-1], self.max_norm)
        return train(
            G,
            D,
            data.images,
            y,
            steps=self.steps if steps is None else steps,
            optimizer_G=optimizers[0],
            optimizer_D=optimizers[1],
            schedulers=schedulers,
            seed=seed,
            **(self.training | options),
        )

    def _run_first(self, data: Data, steps: int | None, seed: int, options: dict) -> Game:
        own = {name: value for name, value in options.items() if name != "on_log"}
        if own.get("out"):
            own["out"] = Path(own["out"]) / "first"
        steps = self.first.steps if steps is None else min(steps, self.first.steps)
        return self.first.run(data=data, steps=steps, seed=seed, **own)


def _is_path(source) -> bool:
    return isinstance(source, str | os.PathLike) and source not in DATASETS


def _keep_norms(optimizer: Optimizer, largest: float) -> None:
    """Limit the norms after every step, by an entry of the optimiser that its state keeps."""
    for group in optimizer.param_groups:
        group["max_norm"] = largest

    def limit(optimizer, *_):
        for group in optimizer.param_groups:
            limit_norms(group["params"], group["max_norm"])

    optimizer.register_step_post_hook(limit)


_PAPER = Recipe(
    summary="the 2014 paper's MNIST pair, by its released hyper-parameters",
    data="mnist",
    generator={
        "network": "MLPGenerator",
        "noise": {"dim": 100, "distribution": "uniform"},
        "hidden": [1200, 1200],
        "init": 0.05,
    },
    discriminator={"network": "MaxoutDiscriminator"},
    optimizer=torch.optim.SGD,
    options={"lr": 0.1, "momentum": 0.5, "fused": True},
    steps=125_000,
    length="250 epochs",
    time="about 35 minutes on one core in bf16",
    start_at_mean=True,
    schedule=paper_schedule,
    rate_D=0.5,  # the released code halves D's loss, which with SGD is the same
    training={"batch_size": 100, "simultaneous": True, "log_every": 100},
)

_AVERAGED = {"ema": 0.99999, "ema_power": 0.0}  # over the whole run, all steps alike

_CONDITIONAL = Recipe(
    summary="MNIST by the digit asked for: the networks of Mirza & Osindero (2014), by Adam",
    data="mnist",
    condition="labels",
    generator={
        "network": "ConditionalMLPGenerator",
        "noise": {"dim": 100, "distribution": "uniform"},
    },
    discriminator={
        "network": "ConditionalMaxoutDiscriminator",
        "keep_hidden": 0.8,
        "init": 0.03,
    },
    optimizer=torch.optim.Adam,
    options={"lr": 1e-3, "betas": (0.0, 0.999), "fused": True},
    steps=30_000,
    length="60 epochs",
    time="19 to 28 minutes on one core in bf16",
    start_at_mean=True,
    training={"batch_size": 100, "simultaneous": True, "ema": 0.9999, "log_every": 100},
)

# λ is 100 in the paper, on images in [−1, 1], where L1 is twice as large.
_PIX2PIX = {"same_samples": True, "jitter": True, "lambda_l1": 200.0}

_FACADES = Recipe(
    summary="pix2pix (Isola et al., 2017): from labels of a façade to a photo, 256×256",
    data="facades",
    condition="inputs",
    read=load_pairs,
    generator={"network": "UNetGenerator"},
    discriminator={"network": "PatchDiscriminator"},
    optimizer=torch.optim.Adam,
    options={"lr": 2e-4, "betas": (0.5, 0.999), "fused": True},
    steps=72_000,
    length="200 epochs",
    time="13 hours on one core, by the pace of its first steps",
    training=_PIX2PIX | {"batch_size": 1},
)

_FACADES_128 = replace(
    _FACADES,
    summary="the same at 128×128 for half as long, for machines without a GPU",
    data="facades-128",
    size=128,
    steps=36_000,
    length="100 epochs",
    time="about 2 hours on one core in bf16",
)

_TFD_FIRST = Recipe(
    summary="the first stage of the 2014 paper's pair for faces",
    data="tfd-1",
    generator={
        "network": "MLPGenerator",
        "noise": {"dim": 100, "distribution": "normal"},
        "hidden": [8000, 8000],
        "activations": ["relu", "sigmoid"],
        "init": 0.05,
        "sparse": 100,
    },
    discriminator={"network": "MaxoutDiscriminator", "units": [1200, 1200]},
    optimizer=torch.optim.SGD,
    options={"lr": 0.05, "momentum": 0.5, "fused": True},
    steps=49_000,
    length="50 epochs",
    time="a day on one core, by the pace of its first steps",
    start_at_mean=True,
    schedule=tfd_schedule,
    rate_D=0.5,
    training=_PAPER.training,
    max_norm=1.9365,
)

#: The experiments by their names; `ganlib recipes` lists them with their lengths and times.
RECIPES = {
    "digits": Recipe(
        summary="8×8 handwritten digits, embedded: no network, no GPU",
        data="digits",
        generator={
            "network": "MLPGenerator",
            "noise": {"dim": 64, "distribution": "normal"},
            "hidden": [256, 256],
        },
        discriminator={"network": "MLPDiscriminator", "hidden": [256, 256], "dropout": 0.2},
        optimizer=torch.optim.Adam,
        options={"lr": 2e-3, "betas": (0.0, 0.999)},
        steps=8000,
        length="400 epochs",
        time="half a minute on one core",
        start_at_mean=True,
        training={"batch_size": 64, "ema": 0.999},
    ),
    "cgan-digits": Recipe(
        summary="8×8 handwritten digits by their class, embedded: no network, no GPU",
        data="digits",
        condition="labels",
        generator={
            "network": "ConditionalMLPGenerator",
            "noise": {"dim": 64, "distribution": "normal"},
            "units_z": 128,
            "units_y": 64,
            "hidden": [256],
        },
        discriminator={
            "network": "ConditionalMaxoutDiscriminator",
            "units_x": 128,
            "units_y": 32,
            "units": 128,
            "keep_hidden": 0.8,
            "init": 0.05,
        },
        optimizer=torch.optim.Adam,
        options={"lr": 2e-3, "betas": (0.0, 0.999)},
        steps=5000,
        length="250 epochs",
        time="30 to 140 seconds on one core",
        start_at_mean=True,
        training={"batch_size": 64, "ema": 0.999},
    ),
    "mnist": _PAPER,
    "mnist-225": replace(
        _PAPER,
        summary="the same pair, moved twice as far a step and averaged: beyond the paper's score",
        steps=50_000,
        length="100 epochs",
        time="18 to 41 minutes on one core in bf16",
        schedule=fast_schedule,
        training=_PAPER.training | _AVERAGED,
    ),
    "cgan-mnist": _CONDITIONAL,
    "cgan-mnist-small": replace(
        _CONDITIONAL,
        summary="the same game with a narrower generator, of 985,000 weights",
        time="6 to 12 minutes on one core in bf16",
        generator=_CONDITIONAL.generator | {"hidden": [480]},
    ),
    "colour": replace(
        _FACADES,
        summary="pix2pix from grey to colour, on 128×128 squares of a folder of photos: --data",
        data="colour",
        generator={"network": "UNetGenerator", "width": 32},
        discriminator={"network": "PatchDiscriminator", "width": 32},
        read=colour_pairs,
        size=128,
        steps=20_000,
        length="1,111 epochs of the two photos embedded",
        time="about 40 minutes on one core in bf16",
    ),
    "colour-quick": replace(
        _FACADES,
        summary="pix2pix from grey to colour, on squares of two photos, embedded: no network",
        data="colour",
        generator={"network": "UNetGenerator", "width": 8},
        discriminator={"network": "PatchDiscriminator", "width": 8, "halvings": 2},
        read=colour_pairs,
        size=64,
        options=_FACADES.options | {"lr": 2e-3},
        steps=2000,
        length="28 epochs",
        time="about 25 seconds on one core",
        training=_FACADES.training | {"ema": 0.99},
    ),
    "facades": _FACADES,
    "facades-128": _FACADES_128,
    "facades-128-l1": replace(
        _FACADES_128,
        summary="the same by L1 alone, half as long: λ is so large that D counts for nothing",
        steps=18_000,
        length="50 epochs",
        time="about 90 minutes on one core in bf16",
        training=_FACADES_128.training | {"lambda_l1": 1e6},
    ),
    "fashion-mnist": replace(
        _PAPER, summary="the same pair on 28×28 pictures of clothes", data="fashion-mnist"
    ),
    "tfd": replace(
        _TFD_FIRST,
        summary="the 2014 paper's pair for the Toronto faces, by its released hyper-parameters",
        generator=_TFD_FIRST.generator
        | {"hidden": [8000, 100, 8000, 8000], "activations": ["relu", "sigmoid"] * 2},
        steps=21_560,
        length="22 epochs, after 50 of a first stage",
        time="32 hours on one core with the first stage, by the pace of its first steps",
        first=_TFD_FIRST,
    ),
    "faces": replace(
        _TFD_FIRST,
        summary="a public stand-in for tfd: a small pair, by its rates, averaged, on 280 faces",
        data="faces",
        generator=_PAPER.generator | {"noise": _TFD_FIRST.generator["noise"]},
        discriminator={"network": "MaxoutDiscriminator", "init": 0.02},  # 0.005 waits for long
        training=_PAPER.training | _AVERAGED,
        steps=6000,
        length="3,000 epochs",
        time="about 5 minutes on one core in bf16",
    ),
}
