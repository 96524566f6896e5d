"""Named experiments as data: which images, which players, which moves, how long."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from ganlib.data import derive_seed, load
from ganlib.networks import build
from ganlib.training import Game, Schedule, train

__all__ = ["RECIPES", "Recipe", "fast_schedule", "paper_schedule"]


def paper_schedule(step: int) -> dict[str, float]:
    """Learning rate and momentum of the MNIST recipe released with the 2014 paper.

    lr = max(0.1 / 1.000004^step, 1e-6). Momentum rises linearly from 0.5 in epoch 1 to 0.7 in
    epoch 250, by whole epochs of 500 steps (50,000 images in minibatches of 100).
    """
    done = min(step // 500 / 249, 1)
    return {"lr": max(0.1 / 1.000004**step, 1e-6), "momentum": 0.5 + 0.2 * done}


def fast_schedule(step: int) -> dict[str, float]:
    """Learning rate and momentum of the recipe mnist-225.

    The rate starts twice as high as the paper's and decays as slowly; momentum is 0.7 from the
    second epoch on. G then moves too restlessly to be sampled from, and far enough for its average.
    """
    return {"lr": 0.2 / 1.000004**step, "momentum": 0.5 if step < 500 else 0.7}


@dataclass(frozen=True)
class Recipe:
    """One experiment.

    Attributes:
        summary: What it is, in a line.
        data: A source for `ganlib.load`.
        generator, discriminator: Their `config`s without the shape, which the data give.
        optimizer: Both players' class in torch.optim.
        options: What both optimisers are made with.
        steps: Moves of G.
        length: The same in words.
        time: What it takes, as measured, and on what.
        start_at_mean: Whether G's output bias starts at the mean image.
        schedule: step → hyper-parameters of both optimisers, or None.
        rate_D: D's learning rate as a share of G's.
        training: Further arguments of `ganlib.train`.
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

    def players(self, images: Tensor, seed: int = 0) -> tuple[nn.Module, nn.Module]:
        """G and D for images of this shape, with the first weights that the seed gives."""
        shape = list(images.shape[1:])
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive_seed(seed, "weights"))
            G = build({**self.generator, "shape": shape})
            D = build({**self.discriminator, "shape": shape})
        if self.start_at_mean:
            G.start_at_mean(images)
        return G, D

    def _scaled(self, rate: float, step: int) -> dict[str, float]:
        values = self.schedule(step)
        return values | {"lr": rate * values["lr"]}

    def run(self, *, data=None, steps: int | None = None, seed: int = 0, **options) -> Game:
        """Train by this recipe.

        Args:
            data: Another source for `load`.
            steps: Another length.
            seed: Of the first weights, the shuffles, the noise and the dropout.
            options: Arguments of `ganlib.train`: batch_size, fabric, out, log_every, ...

        Returns:
            The game, as `train` does.

        Raises:
            ValueError, FileNotFoundError, FloatingPointError, KeyboardInterrupt: As `load` and
                `train` do.
        """
        images = load(self.data if data is None else data).images
        G, D = self.players(images, seed)
        optimizers, schedulers = [], []
        for player, rate in ((G, 1.0), (D, self.rate_D)):
            its_options = self.options | {"lr": rate * self.options["lr"]}
            optimizers.append(self.optimizer(player.parameters(), **its_options))
            if self.schedule:
                schedulers.append(Schedule(optimizers[-1], partial(self._scaled, rate)))
        return train(
            G,
            D,
            images,
            steps=self.steps if steps is None else steps,
            optimizer_G=optimizers[0],
            optimizer_D=optimizers[1],
            schedulers=schedulers,
            seed=seed,
            **(self.training | options),
        )


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
    time="about 80 minutes on one core",
    start_at_mean=True,
    schedule=paper_schedule,
    rate_D=0.5,  # the released code halves D's loss, which with SGD is the same
    training={"batch_size": 100, "simultaneous": True, "log_every": 100},
)

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
    "mnist": _PAPER,
    "mnist-225": replace(
        _PAPER,
        summary="the same pair, moved twice as far a step and averaged: beyond the paper's score",
        steps=50_000,
        length="100 epochs",
        time="about 15 minutes on one core",
        schedule=fast_schedule,
        training=_PAPER.training | {"ema": 0.99999, "ema_power": 0.0},
    ),
    "fashion-mnist": replace(
        _PAPER, summary="the same pair on 28×28 pictures of clothes", data="fashion-mnist"
    ),
}
