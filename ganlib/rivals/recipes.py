"""The rivals' recipes, as `ganlib.recipes` holds those of the games.

What is known of the published rows is little. The network and the training of the GSN are in its
released code. One contractive auto-encoder is released, the stack is not; two of that size are the
recipe `cae-released`. The size of the DBN is not known, either; it follows common practice.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial

import torch
from torch.optim import Optimizer

from ganlib import rivals
from ganlib.data import Data, derive_seed, load
from ganlib.rivals.rival import Course

__all__ = ["RIVALS", "RivalRecipe", "cd_schedule", "gsn_schedule", "pcd_schedule"]


def cd_schedule(step: int) -> dict[str, float]:
    """Momentum 0.5 for five epochs of 500 steps, then 0.9, as Hinton (2012, section 9) advises."""
    return {"momentum": 0.5 if step < 2500 else 0.9}


def pcd_schedule(step: int) -> dict[str, float]:
    """A learning rate that falls in a line from 0.05 to 0 over 50 epochs of 500 steps.

    The chains must keep up with the model, so persistent contrastive divergence ends slowly
    (Tieleman, 2008, section 4).
    """
    return {"lr": 0.05 * max(1 - step / 25_000, 0.0)}


def gsn_schedule(step: int) -> dict[str, float]:
    """0.25 × 0.995 an epoch, of 600 steps of 100 images, as released."""
    return {"lr": 0.25 * 0.995 ** (step // 600)}


@dataclass(frozen=True)
class RivalRecipe:
    """One experiment with a rival.

    Attributes:
        summary: What it is, in a line.
        data: A source for `ganlib.load`.
        model: Its `config` without the shape.
        optimizer: Class in torch.optim of each part's optimiser.
        options: What it is made with.
        lengths: Steps of each part.
        length: The same in words.
        time: What it takes, and on what.
        schedule: Step of a part → hyper-parameters of its optimiser, or None.
        training: Further arguments of `Rival.fit`.
        choices: Arguments of the model's `move`, of which validation images choose.
        sigma: Parzen window of its own published protocol, or None where that is not known.
        all_images: Whether validation images train it, too, as they did the published one. Then
            its score is that of its own protocol: what they choose elsewhere is not to be trusted.
    """

    summary: str
    data: str
    model: dict
    optimizer: type[Optimizer]
    options: dict
    lengths: tuple[int, ...]
    length: str
    time: str
    schedule: Callable[[int], dict[str, float]] | None = None
    training: dict = field(default_factory=lambda: {"batch_size": 100, "log_every": 100})
    choices: tuple[dict, ...] = ({},)
    sigma: float | None = None
    all_images: bool = False

    @property
    def steps(self) -> int:
        """Of all parts together."""
        return sum(self.lengths)

    def quick(self) -> "RivalRecipe":
        """The same from end to end on embedded digits, in seconds: narrow layers, few steps."""
        return replace(
            self,
            data="digits",
            model=self.model | {"hidden": [100] * len(self.model["hidden"])},
            lengths=(300,) * len(self.lengths),
        )

    def open(self, source=None, split: str = "train") -> Data:
        """One split of the data, for training with the validation images where they belong to it.

        Args:
            source: Other data for `ganlib.load`.
            split: "train", "validation" or "test".

        Raises:
            ValueError, FileNotFoundError: As `ganlib.load`.
        """
        source = self.data if source is None else source
        data = load(source, split)
        if split != "train" or not self.all_images:
            return data
        more = load(source, "validation")
        labels = None if data.labels is None else torch.cat([data.labels, more.labels])
        return replace(data, images=torch.cat([data.images, more.images]), labels=labels)

    def run(self, *, data: Data | None = None, seed: int = 0, **options) -> Course:
        """Train by this recipe.

        Args:
            data: What to train on; the recipe's own without it.
            seed: Of the first weights, the shuffles and all that is drawn.
            options: Arguments of `Rival.fit`: fabric, out, on_log, ...

        Returns:
            The course of the training, as `Rival.fit` does.

        Raises:
            ValueError, FloatingPointError, KeyboardInterrupt: As `Rival.fit`.
        """
        data = data or self.open()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive_seed(seed, "weights"))
            model = rivals.build(self.model | {"shape": list(data.shape)})
        return model.fit(
            data.images,
            steps=self.lengths,
            optimizer=partial(self.optimizer, **self.options),
            schedule=self.schedule,
            seed=seed,
            **(self.training | options),
        )


_DBN = RivalRecipe(
    summary="a deep belief network of two layers; persistent chains (PCD) teach the top one",
    data="mnist",
    model={"network": "DBN", "hidden": [1000, 1000], "particles": 100},
    optimizer=torch.optim.SGD,
    options={"lr": 0.05, "fused": True},
    lengths=(25_000, 25_000),
    length="50 epochs of each layer",
    time="4 to 6 minutes on one core in bf16",
    schedule=pcd_schedule,
    choices=({"down": "draws"}, {"down": "means"}),
)

_CAE = RivalRecipe(
    summary="two contractive auto-encoders, one on the other; validation images chose their size",
    data="mnist",
    model={"network": "StackedCAE", "hidden": [100, 100], "penalty": 1.0},
    optimizer=torch.optim.SGD,
    options={"lr": 0.1, "fused": True},
    lengths=(25_000, 25_000),
    length="10 epochs of each layer",
    time="20 to 30 seconds on one core in bf16",
    training={"batch_size": 20, "log_every": 500},
    choices=tuple({"sigma": sigma} for sigma in (0.5, 1.0, 1.4, 2.0, 2.8, 4.0)),
)

_GSN = RivalRecipe(
    summary="a deep generative stochastic network, as released but for Adam and 100 epochs",
    data="mnist",
    model={"network": "GSN", "hidden": [1500, 1500]},
    optimizer=torch.optim.Adam,
    options={"lr": 1e-3, "fused": True},
    lengths=(50_000,),
    length="100 epochs",
    time="about 50 minutes on one core in bf16",
    sigma=0.2,
)

RIVALS = {
    "dbn": _DBN,
    "dbn-cd": replace(
        _DBN,
        summary="the same by contrastive divergence (CD-1) alone, as was common practice",
        model={"network": "DBN", "hidden": [1000, 1000]},
        options={"lr": 0.05, "momentum": 0.5, "fused": True},
        time="3 to 6 minutes on one core in bf16",
        schedule=cd_schedule,
    ),
    "cae": _CAE,
    "cae-released": replace(
        _CAE,
        summary="the same with the sizes and the penalty of their authors' code for one of them",
        # That code's gradient of the penalty lacks a factor of 2: its λ = 0.1 is 0.05.
        model=_CAE.model | {"hidden": [1024, 1024], "penalty": 0.05},
        lengths=(50_000, 50_000),
        length="20 epochs of each layer",
        time="3 to 4 minutes on one core in bf16",
        choices=tuple({"sigma": sigma} for sigma in (0.1, 0.25, 0.5, 1.0, 2.0, 4.0)),
    ),
    "gsn": _GSN,
    "gsn-all": replace(
        _GSN,
        summary="the same on training and validation images, scored as released; 50 epochs",
        lengths=(30_000,),
        length="50 epochs",
        time="about 25 minutes on one core in bf16",
        all_images=True,
    ),
    "gsn-released": replace(
        _GSN,
        summary="the same as released: SGD for 1,000 epochs on training and validation images",
        optimizer=torch.optim.SGD,
        # Its momentum is m v + (1 − m) g, here but for the very first step.
        options={"lr": 0.25, "momentum": 0.5, "dampening": 0.5, "fused": True},
        lengths=(600_000,),
        length="1,000 epochs",
        time="about 10 hours on one core in bf16, by the pace of its first steps",
        schedule=gsn_schedule,
        all_images=True,
    ),
}
