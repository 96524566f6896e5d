"""What the rivals share: they learn one part after the other, and they draw by a Markov chain.

A `Rival` says what its parts are and how its chain moves. `fit` trains the parts, or goes on from
where it stopped; `Course` holds all that changes meanwhile. `sample` runs many chains side by side.
"""

import math
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from itertools import accumulate
from pathlib import Path

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.optim import Optimizer
from tqdm import tqdm

from ganlib.checkpoints import (
    CHECKPOINT,
    FORMAT,
    GENERATOR,
    LateInterrupts,
    check_out,
    describe,
    describe_optimizer,
    fabric_for,
    fingerprint,
    get_rng,
    probe,
    read_checkpoint,
    seed_all,
    set_rng,
    write_whole,
)
from ganlib.data import derive_seed, minibatches, to_float
from ganlib.networks import check_positive, own_random_state, save_network

__all__ = ["Course", "Rival", "affine", "draw", "flat"]


def affine(x: Tensor, W: Tensor, b: Tensor) -> Tensor:
    """x W + b, in the type of b whatever the type that autocast multiplies in.

    Args:
        x: (N, I).
        W: (I, O).
        b: (O,).

    Returns:
        (N, O).
    """
    return (x @ W).to(b.dtype) + b


def draw(p: Tensor) -> Tensor:
    """Binary draws: 1 with probability p. Several times faster on a CPU than torch.bernoulli."""
    return (torch.rand_like(p) < p).to(p.dtype)


def flat(x: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """(N, ...) images, uint8 or float in [0, 1], as (N, I) floats."""
    return to_float(x, dtype).flatten(1)


class Rival(nn.Module, ABC):
    """A model of images that learns part by part and draws by a Markov chain.

    A child defines `parts`, `inputs`, `start` and `move`. A part has `set_gradient(x)`, which gives
    its parameters what the optimiser is to descend, and `loss(x)`, a number to watch.

    Args:
        shape: Of an image, (C, H, W).
        config: The other arguments it was made with, from which `ganlib.rivals.load` makes it anew.

    Raises:
        ValueError: The shape is not one of images.
    """

    def __init__(self, shape: Sequence[int], **config):
        super().__init__()
        if len(shape) != 3 or min(shape) < 1:
            raise ValueError(f"shape must be (C, H, W), each at least 1, got {tuple(shape)}")
        self.shape, self.pixels = tuple(shape), math.prod(shape)
        self.config = {"network": type(self).__name__, "shape": list(shape), **config}

    @property
    @abstractmethod
    def parts(self) -> Sequence[nn.Module]:
        """What is trained, in this order."""

    @abstractmethod
    def inputs(self, number: int, x: Tensor) -> Tensor:
        """What part `number` learns from: (N, I) floats, of images x (N, C, H, W) in [0, 1]."""

    @abstractmethod
    def start(self, x: Tensor) -> tuple[Tensor, ...]:
        """The state of chains that begin at the images x, (m, I) in [0, 1]."""

    @abstractmethod
    def move(self, state: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
        """One step of every chain: the means of its image's pixels, (m, I), and its next state."""

    @torch.no_grad()
    def sample(
        self,
        x: Tensor,
        length: int = 1,
        *,
        burn_in: int = 0,
        every: int = 1,
        seed: int = 0,
        **options,
    ) -> Tensor:
        """Run chains that start from images, and collect the means of the images they go through.

        Means, not binary draws: under a Parzen window the difference is large, and by draws no
        model here comes near the published scores. `ganlib.rivals.rival.draw` makes draws of them.

        Args:
            x: (m, C, H, W) uint8, or float in [0, 1]; one chain starts from each.
            length: Images to collect from each chain.
            burn_in: Steps that every chain takes before.
            every: Steps from one image collected to the next.
            seed: Of the chains. Another device draws other numbers from it.
            options: Of this model's `move`.

        Returns:
            (length, m, C, H, W) means in [0, 1], on the CPU; `flatten(0, 1)` makes a set of them.

        Raises:
            ValueError: The images have another shape than the model's, or a number cannot be.
        """
        check_positive(length=length, every=every)
        if burn_in < 0:
            raise ValueError(f"burn_in must be at least 0, got {burn_in}")
        if tuple(x.shape[1:]) != self.shape or not len(x):
            raise ValueError(f"x must be images {('m', *self.shape)}, got {tuple(x.shape)}")
        like = next(self.parameters())
        collected = torch.empty(length, len(x), *self.shape, dtype=like.dtype)
        with own_random_state(like, derive_seed(seed, "chains")):
            state = self.start(flat(x.to(like.device), like.dtype))
            for _ in range(burn_in):
                _, state = self.move(state, **options)
            for row in collected:
                for _ in range(every):
                    means, state = self.move(state, **options)
                row.copy_(means.view(-1, *self.shape))
        return collected

    def fit(
        self,
        x: Tensor,
        *,
        steps: Sequence[int],
        optimizer: Callable[..., Optimizer],
        schedule: Callable[[int], dict[str, float]] | None = None,
        batch_size: int = 100,
        seed: int = 0,
        fabric: Fabric | None = None,
        log_every: int = 50,
        on_log: Callable[["Course"], None] | None = None,
        out: str | os.PathLike | None = None,
        save_every: int = 1000,
    ) -> "Course":
        """Train the parts one after the other.

        If `out` holds a checkpoint of the same run, it goes on from there and ends, on a CPU, in
        the same bits as if it had never stopped. Ctrl-C (or SIGTERM) finishes the step, saves to
        `out` and raises KeyboardInterrupt. The caller's random state is left as it was.

        Args:
            x: (N, C, H, W) images, uint8 or float in [0, 1].
            steps: For each part, in their order, its number of steps. On resuming only the last
                part's may be another.
            optimizer: Makes the optimiser of a part from its parameters, for example
                `functools.partial(torch.optim.SGD, lr=0.1)`.
            schedule: Step of a part, from 0 → hyper-parameters of its optimiser, such as
                ``{"lr": ..., "momentum": ...}``; defined for every step, also after the last one.
            batch_size: Images in a step.
            seed: Of the shuffles and of all that is drawn.
            fabric: Device and precision, one process; where the model is, in float32, without it.
            log_every: Steps between two entries of the history.
            on_log: Called after each entry.
            out: Folder to save to, and to resume from.
            save_every: Steps between two checkpoints.

        Returns:
            The course of the training at its end.

        Raises:
            ValueError: An argument cannot be; the checkpoint is damaged, newer than this ganlib, or
                of a run with other settings.
            FloatingPointError: The loss or a weight is no longer finite. Files saved before stay.
        """
        fabric = fabric_for(self, fabric)
        _check(self, x, steps, fabric)
        check_positive(batch_size=batch_size, log_every=log_every, save_every=save_every)
        fabric.to_device(self)
        if out is not None:
            check_out(out, self)
        course = Course(self, x, steps, optimizer, schedule, batch_size, seed, fabric)
        with own_random_state(course.like), LateInterrupts() as interrupts:
            seed_all(course.like, derive_seed(seed, "noise"))
            if out is not None and (Path(out) / CHECKPOINT).exists():
                course.load(out)
            total = course.ends[-1]
            with tqdm(total=total, initial=course.step, unit="step", disable=None) as bar:
                while course.step < total:
                    course.take_step()
                    bar.update()
                    ends = course.step == total
                    if ends or course.step % log_every == 0:
                        course.log()
                        bar.set_postfix(loss=f"{course.history['loss'][-1]:.4g}")
                        if on_log is not None:
                            with own_random_state(course.like):
                                on_log(course)
                    stops = interrupts.received
                    if out is not None and (ends or stops or course.step % save_every == 0):
                        course.save(out)
                    if stops:
                        raise KeyboardInterrupt(f"stopped after step {course.step}")
        return course


class Course:
    """A rival, its optimiser, and how far its training has come.

    `Rival.fit` makes one and returns it; the arguments are explained there.

    Attributes:
        model: What learns.
        part: Number of the part that learns now.
        step: Steps taken, by all parts together.
        history: Lists of one length: "step"; "part", its number; "loss", that part's loss on the
            minibatch of that step, in nats.
    """

    def __init__(self, model, x, steps, optimizer, schedule, batch_size, seed, fabric):
        self.model, self.fabric, self.seed, self.schedule = model, fabric, seed, schedule
        self.make_optimizer = optimizer
        self.ends = list(accumulate(steps))
        self.like = next(model.parameters()).detach()
        self.minibatches = minibatches(fabric.to_device(x), None, batch_size, seed, self.like.dtype)
        self.step = 0
        self.history: dict[str, list] = {"step": [], "part": [], "loss": []}
        self.begin(0)
        rule = schedule or (lambda step: {})
        unknown = rule(0).keys() - self.optimizer.param_groups[0].keys()
        if unknown:
            name = type(self.optimizer).__name__
            raise ValueError(f"schedule must set what {name} has, got {', '.join(unknown)}")
        self.settings = {
            "model": describe(model),
            "config": str(model.config),
            "x": fingerprint(x),
            "steps": str(list(steps[:-1])),
            "batch_size": batch_size,
            "optimizer": describe_optimizer(self.optimizer),
            "schedule": str(probe("schedule", rule)),
            "seed": seed,
            "precision": fabric.strategy.precision.precision,
        }

    def begin(self, part: int) -> None:
        """Turn to a part, with a fresh optimiser."""
        self.part = part
        self.begun = self.ends[part - 1] if part else 0
        self.optimizer = self.make_optimizer(self.model.parts[part].parameters())

    @torch.no_grad()
    def take_step(self) -> None:
        """One step of the part whose turn it is."""
        if self.step == self.ends[self.part]:
            self.begin(self.part + 1)
        images, _ = self.minibatches[self.step]
        with self.fabric.autocast():
            self.x = self.model.inputs(self.part, images)
            self.model.parts[self.part].set_gradient(self.x)
        if self.schedule is not None:
            for group in self.optimizer.param_groups:
                group.update(self.schedule(self.step - self.begun))
        self.optimizer.step()
        self.step += 1

    @torch.no_grad()
    def log(self) -> None:
        """Add the loss on the latest minibatch to the history.

        Raises:
            FloatingPointError: It is not a finite number.
        """
        with own_random_state(self.like, derive_seed(self.seed, "loss", self.step)):
            loss = self.model.parts[self.part].loss(self.x).item()
        if not math.isfinite(loss):
            raise FloatingPointError(
                f"the loss became {loss} by step {self.step}: the training has diverged. A lower "
                "learning rate is the first thing to try."
            )
        for name, value in {"step": self.step, "part": self.part, "loss": loss}.items():
            self.history[name].append(value)

    def save(self, folder: str | os.PathLike) -> None:
        """Write `checkpoint.pt` and `generator.safetensors`, each whole or not at all.

        Raises:
            FloatingPointError: A weight is not a finite number; the files stay as they are.
        """
        weights = self.model.state_dict()
        if not all(weight.isfinite().all() for weight in weights.values()):
            raise FloatingPointError(
                f"a weight became infinite or NaN by step {self.step}: the training has diverged, "
                f"and {folder} was left as it is. A lower learning rate is the first thing to try."
            )
        state = {
            "format": FORMAT,
            "settings": self.settings,
            "step": self.step,
            "model": weights,
            "optimizer": self.optimizer.state_dict(),
            "history": {
                name: torch.tensor(values, dtype=torch.float64)
                for name, values in self.history.items()
            },
            "rng": get_rng(self.like),
        }
        folder = Path(folder)
        write_whole(folder / GENERATOR, lambda path: save_network(self.model, path))
        write_whole(folder / CHECKPOINT, lambda path: torch.save(state, path))

    def load(self, folder: str | os.PathLike) -> None:
        """Take up the training that `save` wrote.

        Raises:
            ValueError: The checkpoint is damaged, comes from a newer ganlib, belongs to a run with
                other settings, or is further than this run is to go.
        """
        state = read_checkpoint(Path(folder) / CHECKPOINT, self.settings)
        self.step = state["step"]
        if self.step > self.ends[-1]:
            raise ValueError(
                f"steps must be at least {self.step} in all, where the run in {folder} is, got "
                f"{self.ends[-1]}"
            )
        self.model.load_state_dict(state["model"])
        self.begin(sum(end < self.step for end in self.ends))
        self.optimizer.load_state_dict(state["optimizer"])
        self.history = {name: values.tolist() for name, values in state["history"].items()}
        for name in ("step", "part"):
            self.history[name] = [int(value) for value in self.history[name]]
        if state["rng"].keys() == get_rng(self.like).keys():
            set_rng(self.like, state["rng"])
        else:  # another kind of device than when it was saved
            seed_all(self.like, derive_seed(self.seed, "resumed", self.step))


def _check(model: Rival, x: Tensor, steps: Sequence[int], fabric: Fabric) -> None:
    if fabric.world_size > 1:
        raise ValueError(f"fabric must have one process, got {fabric.world_size}")
    if not isinstance(x, Tensor) or not (x.dtype == torch.uint8 or x.dtype.is_floating_point):
        got = x.dtype if isinstance(x, Tensor) else type(x).__name__
        raise ValueError(f"x must be a tensor of uint8 or floats, got {got}")
    if tuple(x.shape[1:]) != model.shape or not len(x):
        raise ValueError(f"x must be images {('N', *model.shape)}, got {tuple(x.shape)}")
    if x.dtype.is_floating_point and not (x.min() >= 0 and x.max() <= 1):  # also false for NaN
        raise ValueError(f"x must lie in [0, 1], got from {x.min():.3g} to {x.max():.3g}")
    if len(steps) != len(model.parts) or min(steps) < 1:
        raise ValueError(
            f"steps must hold a number of at least 1 for each of the {len(model.parts)} parts, "
            f"got {list(steps)}"
        )
