"""Algorithm 1: one loop for every GAN of the book.

G takes (z, y), D takes (x, y), and y is optional: an unconditional GAN is a conditional one with
nothing to condition on. `Game` holds the players and all that changes while they play, and its
`play_step` is the algorithm; `train` plays a game to its end, or on from where it stopped.
"""

import copy
import math
import os
import re
import warnings
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from inspect import signature
from numbers import Integral
from pathlib import Path
from types import SimpleNamespace

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.optim import LBFGS, Adam, Optimizer
from torch.optim.lr_scheduler import ReduceLROnPlateau
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
from ganlib.data import ImageFiles, as_condition, derive_seed, minibatches
from ganlib.networks import check_classes, mode, own_random_state, save_network
from ganlib.objectives import GENERATOR_LOSSES, discriminator_loss, l1_loss

__all__ = ["Game", "Schedule", "train"]

LATER = {"same_samples": False, "jitter": False}  # settings that older checkpoints go without
TINY = 1e-24  # far below all that moves a weight, far above where float32 ends
MEASURED = ("D(x)", "D(G(z))", "loss_D", "loss_G", "L1", "grad_D", "grad_G")


class Game:
    """The players, their optimisers, and the course of the game so far.

    `train` makes one and returns it; the arguments are explained there.

    Attributes:
        G: The generator as it stands.
        D: The discriminator.
        averaged: G with averaged weights, or None.
        step: How often G has moved.
        history: Lists of one length. "step" holds the step of each entry, the others means over
            the steps since the entry before, for D over the last of its k moves: "D(x)" and
            "D(G(z))" in [0, 1], "loss_D" and "loss_G" in nats, "L1" in the unit of x, "grad_D" and
            "grad_G" the Euclidean norms of the gradients that the players descended.
    """

    def __init__(
        self,
        G: nn.Module,
        D: nn.Module,
        x: Tensor | ImageFiles,
        y: Tensor | ImageFiles | None,
        *,
        batch_size: int,
        k: int,
        loss: str,
        simultaneous: bool,
        same_samples: bool,
        lambda_l1: float,
        jitter: bool,
        optimizer_G: Optimizer,
        optimizer_D: Optimizer,
        schedulers: Sequence,
        ema: float | None,
        ema_power: float,
        seed: int,
        fabric: Fabric,
    ):
        self.G, self.D, self.fabric = G, D, fabric
        self.k, self.lambda_l1 = k, lambda_l1
        self.simultaneous, self.same_samples = simultaneous, same_samples
        self.ema, self.ema_power = ema, float(ema_power)
        self.generator_loss = GENERATOR_LOSSES[loss]
        self.optimizer_G, self.optimizer_D = optimizer_G, optimizer_D
        self.schedulers, self.seed = list(schedulers), seed
        self.parameters = {"G": _trainable(G), "D": _trainable(D)}
        self.like = self.parameters["G"][0].detach()  # z and x take its device and dtype
        self.minibatches = minibatches(
            fabric.to_device(x),
            None if y is None else fabric.to_device(y),
            batch_size,
            seed,
            self.like.dtype,
            fabric.global_rank,
            fabric.world_size,
            jitter,
        )
        self.averaged = None if ema is None else copy.deepcopy(G).requires_grad_(False)
        self.step = 0
        self.history: dict[str, list] = {name: [] for name in ("step", *MEASURED)}
        zero = torch.zeros((), device=fabric.device)
        self.measured = dict.fromkeys(MEASURED, zero)  # in the latest step
        self.sums = zero.repeat(len(MEASURED))  # over the steps since the latest entry
        self.summed = 0
        self.settings = {
            "G": describe(G),
            "D": describe(D),
            "noise": repr(G.noise),
            "x": fingerprint(x),
            "y": None if y is None else fingerprint(y),
            "batch_size": batch_size,
            "k": k,
            "loss": loss,
            "simultaneous": simultaneous,
            "same_samples": same_samples,
            "lambda_l1": float(lambda_l1),
            "jitter": jitter,
            "optimizer_G": describe_optimizer(optimizer_G),
            "optimizer_D": describe_optimizer(optimizer_D),
            "schedulers": "\n".join(map(_describe_scheduler, self.schedulers)),
            "ema": ema,
            "ema_power": self.ema_power,
            "seed": seed,
            "precision": fabric.strategy.precision.precision,
        }

    @property
    def generator(self) -> nn.Module:
        """The generator to sample from: the averaged one where there is one."""
        return self.G if self.averaged is None else self.averaged

    # Algorithm 1 ------------------------------------------------------------------------------

    def play_step(self) -> None:
        """One iteration of Algorithm 1: D moves k times, then G moves once."""
        if self.simultaneous:
            x, y = self.minibatches[self.step]
            self.move_both(x, y)
        elif self.same_samples:
            x, y = self.minibatches[self.step]
            self.move_in_turn(x, y)
        else:
            for move in range(self.k):
                x, y = self.minibatches[self.step * self.k + move]
                self.move_D(x, y)
            self.move_G(x, y)
        for scheduler in self.schedulers:
            scheduler.step()
        self.step += 1
        self.average()
        self.sums += torch.stack([self.measured[name] for name in MEASURED])
        self.summed += 1

    def move_D(self, x: Tensor, y: tuple) -> None:
        """D ascends V on m images and m samples; G stands still."""
        with torch.no_grad():
            fake = self.sample(len(x), y)
        loss = self.loss_D(self.judge(x, y), self.judge(fake, y))
        self.set_gradient("D", loss)
        self.optimizer_D.step()

    def move_G(self, x: Tensor, y: tuple) -> None:
        """G descends its loss on m fresh samples; D stands still. Only L1 looks at x."""
        fake = self.sample(len(x), y)
        loss = self.loss_G(self.judge(fake, y), fake, x)
        self.set_gradient("G", loss)
        self.optimizer_G.step()

    def move_in_turn(self, x: Tensor, y: tuple) -> None:
        """D moves, then G on the samples D has just seen, as in pix2pix: G is asked only once."""
        fake = self.sample(len(x), y)
        self.set_gradient("D", self.loss_D(self.judge(x, y), self.judge(fake.detach(), y)))
        self.optimizer_D.step()
        self.set_gradient("G", self.loss_G(self.judge(fake, y), fake, x))
        self.optimizer_G.step()

    def move_both(self, x: Tensor, y: tuple) -> None:
        """Both move from where they stand, on the same samples, as in the paper's released code.

        Data and samples pass D together, and one way back through D serves both players: their
        losses see a sample through the same logit, so G's gradient at a sample is D's times the
        ratio of the two losses' derivatives by that logit (Shen et al., 2021).
        """
        fake = self.sample(len(x), y)
        judged = fake.view_as(fake)  # D's way back ends here, that of L1 in fake itself
        logits = self.judge(torch.cat([x, judged]), tuple(torch.cat([part] * 2) for part in y))
        real_logits, fake_logits = logits.chunk(2)
        heard = fake_logits.detach().requires_grad_()
        loss_D, loss_G = self.loss_D(real_logits, fake_logits), self.loss_G(heard, fake, x)
        (by_D,) = torch.autograd.grad(loss_D, [fake_logits], retain_graph=True)
        (by_G,) = torch.autograd.grad(loss_G, [heard], retain_graph=True)
        by_D = by_D.clamp_min(TINY)  # where D is sure beyond all doubt, the ratio stays finite
        ratio = (by_G / by_D).view(-1, *[1] * (fake.ndim - 1))
        fake_logits.register_hook(lambda _: by_D)
        judged.register_hook(lambda gradient: gradient * ratio)
        self.set_gradient("DG", loss_D + loss_G)
        self.optimizer_D.step()
        self.optimizer_G.step()

    def sample(self, n: int, y: tuple) -> Tensor:
        """n samples G(z, y), each from fresh noise."""
        z = None if self.G.noise is None else self.G.noise(n, self.like)
        with self.fabric.autocast():
            return self.G(z, *y).to(self.like.dtype)

    def judge(self, x: Tensor, y: tuple) -> Tensor:
        """The logits D(x, y)."""
        with self.fabric.autocast():
            return self.D(x, *y).to(self.like.dtype)

    def loss_D(self, real_logits: Tensor, fake_logits: Tensor) -> Tensor:
        """−V(D, G)."""
        loss = discriminator_loss(real_logits, fake_logits)
        self.measure("D(x)", real_logits.sigmoid().mean())
        self.measure("D(G(z))", fake_logits.sigmoid().mean())
        self.measure("loss_D", loss)
        return loss

    def loss_G(self, fake_logits: Tensor, fake: Tensor, x: Tensor) -> Tensor:
        """G's loss in the form chosen, plus λ·L1 where λ is not 0."""
        loss = self.generator_loss(fake_logits)
        self.measure("loss_G", loss)
        if self.lambda_l1:
            l1 = l1_loss(fake, x)
            self.measure("L1", l1)
            loss = loss + self.lambda_l1 * l1
        return loss

    def set_gradient(self, players: str, loss: Tensor) -> None:
        """Give "D", "G" or both, "DG", the gradient of the loss; what it passes on its way none."""
        parameters = [p for player in players for p in self.parameters[player]]
        gradient = torch.autograd.grad(loss, parameters)
        if self.fabric.world_size > 1:  # the mean over all processes, in one message
            flat = self.fabric.all_reduce(torch.cat([g.flatten() for g in gradient]), None, "mean")
            pieces = flat.split([g.numel() for g in gradient])
            gradient = [piece.view_as(p) for piece, p in zip(pieces, parameters, strict=True)]
        for parameter, its_gradient in zip(parameters, gradient, strict=True):
            parameter.grad = its_gradient
        for player in players:
            norm = nn.utils.get_total_norm([p.grad for p in self.parameters[player]])
            self.measure(f"grad_{player}", norm)

    @torch.no_grad()
    def average(self) -> None:
        """Move the averaged weights towards G's by 1 − β, β = min(ema, step / (step + power + 1)).

        Until β reaches ema, the average weighs G after step s by about ``s**power`` (Karras et al.,
        2024, section 3.1): it forgets the start and spans the same share of a game of any length.
        """
        if self.averaged is None:
            return
        share = 1 - min(self.ema, self.step / (self.step + self.ema_power + 1))
        for mean, now in zip(self.averaged.parameters(), self.G.parameters(), strict=True):
            mean.lerp_(now, share)
        for kept, now in zip(self.averaged.buffers(), self.G.buffers(), strict=True):
            kept.copy_(now)

    def measure(self, name: str, number: Tensor) -> None:
        """Note a number on its device; nothing waits for it."""
        self.measured[name] = number.detach().float()

    # The course of the game -------------------------------------------------------------------

    def log(self) -> None:
        """Add the means since the latest entry to the history.

        Raises:
            FloatingPointError: One of them is not a finite number.
        """
        means = (self.fabric.all_reduce(self.sums, reduce_op="mean") / self.summed).tolist()
        for name, mean in zip(MEASURED, means, strict=True):
            if not math.isfinite(mean):
                raise FloatingPointError(
                    f"{name} became {mean} in steps {self.step - self.summed + 1} to {self.step}: "
                    "the game has diverged. A lower learning rate is the first thing to try."
                )
        self.history["step"].append(self.step)
        for name, mean in zip(MEASURED, means, strict=True):
            self.history[name].append(mean)
        self.sums.zero_()
        self.summed = 0

    def save(self, folder: str | os.PathLike) -> None:
        """Write `checkpoint.pt` and `generator.safetensors`, each whole or not at all.

        Raises:
            FloatingPointError: A weight, or what a norm keeps of the minibatches, is not a finite
                number; the files stay as they are.
        """
        weights = [*self.G.state_dict().values(), *self.D.state_dict().values()]
        if not torch.stack([weight.isfinite().all() for weight in weights]).all():
            raise FloatingPointError(
                f"a weight became infinite or NaN by step {self.step}: the game has diverged, and "
                f"{folder} was left as it is. A lower learning rate is the first thing to try."
            )
        rng = {name: self.fabric.all_gather(state) for name, state in get_rng(self.like).items()}
        if self.fabric.is_global_zero:
            folder = Path(folder)
            folder.mkdir(parents=True, exist_ok=True)
            state = self.state_dict() | {
                "rng": {name: states.reshape(-1, states.shape[-1]) for name, states in rng.items()}
            }
            # The checkpoint last: where it is, the generator beside it is at least as new.
            write_whole(folder / GENERATOR, lambda path: save_network(self.generator, path))
            write_whole(folder / CHECKPOINT, lambda path: torch.save(state, path))
        self.fabric.barrier()

    def state_dict(self) -> dict:
        """All that changes as the game goes on, as tensors and plain values."""
        return {
            "format": FORMAT,
            "settings": self.settings,
            "step": self.step,
            "G": self.G.state_dict(),
            "D": self.D.state_dict(),
            "averaged": None if self.averaged is None else self.averaged.state_dict(),
            "optimizer_G": self.optimizer_G.state_dict(),
            "optimizer_D": self.optimizer_D.state_dict(),
            "schedulers": [scheduler.state_dict() for scheduler in self.schedulers],
            "history": {
                name: torch.tensor(values, dtype=torch.float64)
                for name, values in self.history.items()
            },
            "sums": self.sums,
            "summed": self.summed,
        }

    def load(self, folder: str | os.PathLike) -> None:
        """Take up the game that `save` wrote.

        Raises:
            ValueError: The checkpoint is damaged, comes from a newer ganlib, or belongs to a run
                with other settings.
        """
        state = read_checkpoint(Path(folder) / CHECKPOINT, self.settings, LATER)
        self.G.load_state_dict(state["G"])
        self.D.load_state_dict(state["D"])
        if self.averaged is not None:
            self.averaged.load_state_dict(state["averaged"])
        self.optimizer_G.load_state_dict(state["optimizer_G"])
        self.optimizer_D.load_state_dict(state["optimizer_D"])
        for scheduler, its_state in zip(self.schedulers, state["schedulers"], strict=True):
            scheduler.load_state_dict(its_state)
        self.step = state["step"]
        self.history = {name: values.tolist() for name, values in state["history"].items()}
        self.history["step"] = [int(step) for step in self.history["step"]]
        self.sums.copy_(state["sums"])
        self.summed = state["summed"]
        rank, saved = self.fabric.global_rank, state["rng"]
        if rank < len(saved["cpu"]) and saved.keys() == get_rng(self.like).keys():
            set_rng(self.like, {name: states[rank].clone() for name, states in saved.items()})
        else:  # more processes, or another kind of device, than when it was saved
            seed_all(self.like, derive_seed(self.seed, "resumed", self.step, rank))


class _Graphs:
    """A move of the game, launched as a whole: CUDA graphs, and the optimisers' steps after them.

    A small network's kernels are done before Python has launched the next one; a graph is launched
    at once. What Python decides anew in each step stays outside: the minibatch, which is copied to
    where the graphs read it, and the optimisers, whose rates may change. So a graph ends where an
    optimiser moves. The first calls play as ever, on another stream, as PyTorch asks of whatever
    will be recorded; the next one is recorded.
    """

    WARM_UP = 3

    def __init__(self, game: Game, move: Callable[[Tensor, tuple], None]):
        self.game, self.move, self.calls = game, move, 0
        self.stream = torch.cuda.Stream(game.fabric.device)

    def __call__(self, x: Tensor, y: tuple) -> None:
        self.calls += 1
        if self.calls <= self.WARM_UP:
            here = torch.cuda.current_stream(self.stream.device)
            self.stream.wait_stream(here)
            with torch.cuda.stream(self.stream):
                self.move(x, y)
            here.wait_stream(self.stream)
            return
        if self.calls == self.WARM_UP + 1:
            self.inputs = [part.clone() for part in (x, *y)]
            self.parts = self.record(*self.inputs)
        for kept, new in zip(self.inputs, (x, *y), strict=True):
            kept.copy_(new)
        for part in self.parts:
            part()

    def record(self, x: Tensor, *y: Tensor) -> list[Callable[[], object]]:
        """Go through the move without effect; its graphs and optimisers' steps, in their order."""
        parts: list[Callable[[], object]] = []
        recording = ExitStack()

        def begin() -> None:
            graph = torch.cuda.CUDAGraph()
            # Other threads may go on to copy data: only what this one launches is recorded.
            options = {"stream": self.stream, "capture_error_mode": "thread_local"}
            recording.enter_context(torch.cuda.graph(graph, **options))
            parts.append(graph.replay)

        def noted(optimizer: Optimizer) -> SimpleNamespace:
            def step() -> None:
                recording.close()
                parts.append(optimizer.step)
                begin()

            return SimpleNamespace(step=step)

        game, optimizers = self.game, (self.game.optimizer_G, self.game.optimizer_D)
        game.optimizer_G, game.optimizer_D = map(noted, optimizers)
        try:
            with warnings.catch_warnings(), recording:
                # Between two optimisers' steps, and after the last one, there may be nothing.
                warnings.filterwarnings("ignore", "The CUDA Graph is empty")
                begin()
                self.move(x, y)
        except RuntimeError as error:
            if "captur" in str(error).lower():  # not out of memory, nor shapes that do not fit
                error.add_note(
                    "cuda_graph=True needs players that never wait for a number from the device, "
                    "such as .item() or an `if` on a tensor, and that use the same shapes in every "
                    "step."
                )
            raise
        finally:
            game.optimizer_G, game.optimizer_D = optimizers
        return parts


def _use_graphs(game: Game) -> None:
    """From now on every move of this game is launched as a whole."""
    for name in ("move_D", "move_G", "move_in_turn", "move_both"):
        setattr(game, name, _Graphs(game, getattr(game, name)))


def train(
    G: nn.Module,
    D: nn.Module,
    x: Tensor | ImageFiles,
    y: Tensor | ImageFiles | None = None,
    *,
    steps: int,
    batch_size: int = 64,
    k: int = 1,
    loss: str = "non_saturating",
    simultaneous: bool = False,
    same_samples: bool = False,
    lambda_l1: float = 0.0,
    jitter: bool = False,
    optimizer_G: Optimizer | None = None,
    optimizer_D: Optimizer | None = None,
    schedulers: Sequence = (),
    ema: float | None = None,
    ema_power: float = 8.0,
    seed: int = 0,
    fabric: Fabric | None = None,
    cuda_graph: bool = False,
    log_every: int = 50,
    on_log: Callable[[Game], None] | None = None,
    out: str | os.PathLike | None = None,
    save_every: int = 1000,
) -> Game:
    """Play the game of Goodfellow et al. (2014), Algorithm 1, in any of the book's versions.

    G and D are trained in place. If `out` holds a checkpoint of the same run, the game goes on
    from there and ends, on a CPU, in the same bits as if it had never stopped. Only the history of
    a run made longer keeps the entry at its earlier end, also where `log_every` does not divide it.
    Ctrl-C (or SIGTERM) finishes the step, saves to `out` and raises KeyboardInterrupt. The caller's
    random state is left as it was; two games in two threads at once would disturb each other's.

    pix2pix (Isola et al., 2017) plays with `same_samples`, `jitter`, batch size 1 and λ = 100 on
    images in [−1, 1]. Between images in [0, 1], L1 is half of that: `lambda_l1=200` is the same
    game.

    A CUDA graph saves the time in which Python launches one kernel after the other, most of a step
    of small networks on a large GPU. The game is the same; the players' code must not wait for the
    device in a step.

    With several processes batch norm takes each one's own share of the minibatch, and the running
    statistics that are saved are the first one's.

    Args:
        G: Generator. `G(z)` or `G(z, y)` must have the shape of x; its attribute `noise` draws z.
        D: Discriminator. `D(x)` or `D(x, y)` are logits of any shape that starts with N.
        x: The data: (N, ...) uint8, used as float in [0, 1], or float, used as it is; or image
            files, as `ganlib.stream` finds them.
        y: Their conditions: (N, ...) whole numbers, such as classes, used as they are; or images,
            used as x is. Image files go with image files. Without y, G takes z alone and D x alone.
        steps: Moves of G, counted from the very start when a run is resumed.
        batch_size: m of Algorithm 1, over all processes.
        k: Moves of D for one of G.
        loss: What G descends, "non_saturating" or "minimax".
        simultaneous: Both players move from one point, in one pass; else D moves first.
        same_samples: G moves on the samples D has just seen, as in pix2pix.
        lambda_l1: Weight of the mean of |x − G(z, y)| in G's loss.
        jitter: Images are enlarged by 286/256, cropped to their size at a random place, and
            mirrored with probability one half, as in pix2pix (section 6.2). The images of a pair
            get the same; conditions that are no images stay.
        optimizer_G: Holds G's trainable parameters; Adam(lr=2e-4, betas=(0.5, 0.999)) without one.
        optimizer_D: Likewise, of D.
        schedulers: PyTorch's schedulers or `Schedule`; each steps once a step.
        ema: Largest decay of an average over G's weights, such as 0.999; None for no average.
        ema_power: Until then the average weighs step s by ``s**ema_power``; 0 weighs all alike.
        seed: Of the shuffles, the noise and the dropout.
        fabric: Devices, precision and processes; without one, where G is.
        cuda_graph: On one GPU: launch the kernels of a move at once.
        log_every: Steps between two entries of the history.
        on_log: Called with the game after each entry.
        out: Folder to save to, and to resume from.
        save_every: Steps between two checkpoints.

    Returns:
        The game after `steps` steps; sample from its `generator`, plot its `history`.

    Raises:
        ValueError: An argument that cannot be; a checkpoint that is damaged, newer than this
            ganlib, or of a run with other settings.
        FloatingPointError: A loss, a gradient or a weight is no longer finite. Files saved before
            stay as they are.
        KeyboardInterrupt: After Ctrl-C, once the game is saved.
    """
    for name, network in (("G", G), ("D", D)):
        if not _trainable(network):
            raise ValueError(f"{name} must have parameters that can be trained, got none")
    fabric = fabric_for(G, fabric)
    numbers = {"steps": steps, "batch_size": batch_size, "k": k}
    numbers |= {"log_every": log_every, "save_every": save_every}
    for name, number in numbers.items():
        if not isinstance(number, Integral) or isinstance(number, bool) or number < 1:
            raise ValueError(f"{name} must be a whole number of at least 1, got {number!r}")
    fabric.to_device(G)
    fabric.to_device(D)
    _check_moves(k, loss, simultaneous, same_samples, lambda_l1, ema, ema_power)
    _check(G, D, x, y, simultaneous, jitter)
    _check_schedulers(schedulers)
    if cuda_graph:
        _check_cuda_graph(fabric)
    if out is not None:
        check_out(out, G)
    optimizer_G = optimizer_G or Adam(_trainable(G), lr=2e-4, betas=(0.5, 0.999))
    optimizer_D = optimizer_D or Adam(_trainable(D), lr=2e-4, betas=(0.5, 0.999))
    _check_optimizer("optimizer_G", optimizer_G, "G", G)
    _check_optimizer("optimizer_D", optimizer_D, "D", D)
    if fabric.world_size > 1:  # every process starts from the first one's weights
        G.load_state_dict(fabric.broadcast(G.state_dict()))
        D.load_state_dict(fabric.broadcast(D.state_dict()))
    game = Game(
        G,
        D,
        x,
        y,
        batch_size=batch_size,
        k=k,
        loss=loss,
        simultaneous=simultaneous,
        same_samples=same_samples,
        lambda_l1=lambda_l1,
        jitter=jitter,
        optimizer_G=optimizer_G,
        optimizer_D=optimizer_D,
        schedulers=schedulers,
        ema=ema,
        ema_power=ema_power,
        seed=seed,
        fabric=fabric,
    )
    if cuda_graph:
        _use_graphs(game)
    with (
        closing(game.minibatches),
        own_random_state(game.like),
        mode(G, D, training=True),
        LateInterrupts() as interrupts,
    ):
        seed_all(game.like, derive_seed(seed, "noise", fabric.global_rank))
        if out is not None and (Path(out) / CHECKPOINT).exists():
            game.load(out)
            if game.step > steps:
                raise ValueError(
                    f"steps must be at least {game.step}, where the run in {out} is, got {steps}"
                )
        quiet = None if fabric.is_global_zero else True  # None: a bar only where a terminal is
        with tqdm(total=steps, initial=game.step, unit="step", disable=quiet) as bar:
            while game.step < steps:
                game.play_step()
                bar.update()
                ends, logs = game.step == steps, game.step % log_every == 0
                if ends or logs:
                    game.log()
                    latest = {name: game.history[name][-1] for name in ("D(x)", "D(G(z))")}
                    bar.set_postfix({name: f"{mean:.2f}" for name, mean in latest.items()})
                    if on_log is not None:
                        with own_random_state(game.like):
                            on_log(game)
                stops = interrupts.agreed(fabric, logs)
                if out is not None and (ends or stops or game.step % save_every == 0):
                    game.save(out)
                if stops:
                    raise KeyboardInterrupt(f"stopped after step {game.step}")
    return game


class Schedule:
    """Sets hyper-parameters of an optimiser as a function of the step.

    For what PyTorch's schedulers do not set, such as momentum; it is used like one of them.

    Args:
        optimizer: Whose hyper-parameters to set.
        rule: step → ``{"lr": ..., "momentum": ...}``; step 0 is set at once. It is asked for steps
            after the last one, too: those tell the schedule from another when a run goes on.

    Raises:
        ValueError: The rule sets what the optimiser does not have.
    """

    def __init__(self, optimizer: Optimizer, rule: Callable[[int], dict[str, float]]):
        self.optimizer, self.rule, self.last_step = optimizer, rule, -1
        unknown = rule(0).keys() - optimizer.param_groups[0].keys()
        if unknown:
            raise ValueError(
                f"rule must set what {type(optimizer).__name__} has, got {', '.join(unknown)}"
            )
        self.step()

    def step(self) -> None:
        """Go to the next step and set its values."""
        self.last_step += 1
        for group in self.optimizer.param_groups:
            group.update(self.rule(self.last_step))

    def state_dict(self) -> dict:
        """The step reached; the values themselves are the optimiser's."""
        return {"last_step": self.last_step}

    def load_state_dict(self, state: dict) -> None:
        """Go on from a step reached before."""
        self.last_step = state["last_step"]


# Checks before any work ---------------------------------------------------------------------------


def _check_moves(k, loss, simultaneous, same_samples, lambda_l1, ema, ema_power) -> None:
    if loss not in GENERATOR_LOSSES:
        raise ValueError(f"loss must be one of {', '.join(GENERATOR_LOSSES)}, got {loss!r}")
    if simultaneous and k != 1:
        raise ValueError(f"k must be 1 when the players move simultaneously, got {k}")
    if same_samples and simultaneous:
        raise ValueError("same_samples must be False when the players move simultaneously")
    if same_samples and k != 1:
        raise ValueError(f"k must be 1 when the players move on the same samples, got {k}")
    if not 0 <= lambda_l1 < math.inf:
        raise ValueError(f"lambda_l1 must be at least 0 and finite, got {lambda_l1}")
    if ema is not None and not 0 <= ema < 1:
        raise ValueError(f"ema must be None or in [0, 1), got {ema}")
    if not 0 <= ema_power < math.inf:
        raise ValueError(f"ema_power must be at least 0 and finite, got {ema_power}")


def _check(G, D, x, y, simultaneous, jitter) -> None:
    if not hasattr(G, "noise"):
        raise ValueError("G must have an attribute noise: a ganlib.Noise, or None if it takes no z")
    known = isinstance(x, Tensor | ImageFiles)
    if not known or not (x.dtype == torch.uint8 or x.dtype.is_floating_point):
        got = x.dtype if known else type(x).__name__
        raise ValueError(f"x must be a tensor of uint8 or floats, or image files, got {got}")
    if not len(x):
        raise ValueError(f"x must hold data, got {tuple(x.shape)}")
    if not isinstance(y, Tensor | ImageFiles | None):
        raise ValueError(f"y must be a tensor, image files or None, got {type(y).__name__}")
    for name, values in (("x", x), ("y", y)):
        if values is not None and values.dtype.is_floating_point and not values.isfinite().all():
            raise ValueError(f"{name} must be finite, got infinite or NaN values")
    if isinstance(y, ImageFiles) and not isinstance(x, ImageFiles):
        raise ValueError("x must be image files where y is, got a tensor")
    if y is not None and len(y) != len(x):
        raise ValueError(f"y must have one condition for each of the {len(x)} x, got {len(y)}")
    if hasattr(G, "classes") and y is not None:
        check_classes(y, G.classes)  # all at once: one in the middle would come up late
    if jitter and len(x.shape) != 4:
        raise ValueError(f"jitter needs images x (N, C, H, W), got {tuple(x.shape)}")
    if jitter and y is not None and len(y.shape) == 4:
        if y.shape[2:] != x.shape[2:]:
            raise ValueError(
                f"jitter needs images y of the height and width of x, {tuple(x.shape[2:])}, "
                f"got {tuple(y.shape[2:])}"
            )
        if not (y.dtype == torch.uint8 or y.dtype.is_floating_point):  # no mean of two classes
            raise ValueError(f"jitter needs images y of uint8 or floats, got {y.dtype}")
    with torch.no_grad(), own_random_state(next(G.parameters())), mode(G, D, training=False):
        like = next(G.parameters())
        n = 2
        ends = None if y is None else torch.stack([y[0], y[-1]]).to(like.device)
        first = () if y is None else (as_condition(ends, like.dtype),)
        z = None if G.noise is None else G.noise(n, like)
        _check_takes(G, z, *first)
        fake = G(z, *first)
        if fake.shape[1:] != x.shape[1:]:
            raise ValueError(
                f"G's samples must have the shape of x, {tuple(x.shape[1:])}, "
                f"got {tuple(fake.shape[1:])}"
            )
        _check_takes(D, fake, *first)
        logits = D(fake, *first)
        if logits.shape[:1] != (n,):
            raise ValueError(
                f"D's logits must have a shape that starts with N = {n}, got {tuple(logits.shape)}"
            )
        if simultaneous and not _judges_each_alone(D, torch.rand_like(fake), first):
            raise ValueError(
                "D must give each sample one logit, of that sample alone, when the players move "
                f"simultaneously; got logits of shape {tuple(logits.shape)}"
                f"{' that depend on other samples' if logits.numel() == n else ''}"
            )


def _check_takes(player: nn.Module, first: Tensor | None, *y: Tensor) -> None:
    """Refuse a condition for a player without one, and the lack of it for one with it."""
    try:
        signature(player.forward).bind(first, *y)
    except TypeError as error:
        raise ValueError(
            f"y must be {'left out' if y else 'given'} for a {type(player).__name__}: {error}"
        ) from error


@torch.enable_grad()
def _judges_each_alone(D: nn.Module, x: Tensor, y: tuple) -> bool:
    """Whether D in training mode makes one logit of each sample, without looking at others."""
    x = x.detach().clone().requires_grad_()
    logits = copy.deepcopy(D).train()(x, *y)  # a copy: batch norm keeps count of what it saw
    if logits.numel() != len(x):
        return False
    (by_x,) = torch.autograd.grad(logits.flatten()[0], [x], materialize_grads=True)
    return not by_x[1:].any()


def _check_optimizer(name: str, optimizer: Optimizer, player: str, network: nn.Module) -> None:
    if isinstance(optimizer, LBFGS):
        raise ValueError(f"{name} must have a step() without a closure, got LBFGS")
    held = {id(p) for group in optimizer.param_groups for p in group["params"]}
    if held != {id(p) for p in _trainable(network)}:
        raise ValueError(f"{name} must hold the trainable parameters of {player} and no others")


def _check_schedulers(schedulers) -> None:
    if not isinstance(schedulers, Sequence):
        raise ValueError(f"schedulers must be a sequence, got {type(schedulers).__name__}")
    for scheduler in schedulers:
        if isinstance(scheduler, ReduceLROnPlateau) or not hasattr(scheduler, "step"):
            raise ValueError(
                f"schedulers must have a step() without arguments, got {type(scheduler).__name__}"
            )


def _check_cuda_graph(fabric) -> None:
    if fabric.device.type != "cuda" or fabric.world_size > 1:
        raise ValueError(
            "cuda_graph must be False but for one process on an NVIDIA GPU, got "
            f"{fabric.world_size} on {fabric.device.type}"
        )


def _trainable(network: nn.Module) -> list[nn.Parameter]:
    return [parameter for parameter in network.parameters() if parameter.requires_grad]


def _describe_scheduler(scheduler) -> str:
    """Its state before the first step, and the values of its functions at some steps."""
    rules = [getattr(scheduler, "rule", None), *getattr(scheduler, "lr_lambdas", [])]
    values = [value for rule in rules if rule is not None for value in probe("schedulers", rule)]
    state = re.sub(r" at 0x[0-9a-f]+", "", repr(scheduler.state_dict()))
    return f"{type(scheduler).__name__} {state} {values}"
