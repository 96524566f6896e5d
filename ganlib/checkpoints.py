"""What games and rivals both train with: devices, files, settings, random states, a late Ctrl-C."""

import hashlib
import io
import json
import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.optim import Optimizer

from ganlib.data import ImageFiles
from ganlib.networks import random_generators

__all__ = [
    "CHECKPOINT",
    "FORMAT",
    "GENERATOR",
    "LateInterrupts",
    "check_out",
    "describe",
    "describe_optimizer",
    "fabric_for",
    "fingerprint",
    "get_rng",
    "probe",
    "read_checkpoint",
    "seed_all",
    "set_rng",
    "write_whole",
]

CHECKPOINT = "checkpoint.pt"  #: The file in a run's folder that it goes on from.
GENERATOR = "generator.safetensors"  #: The file beside it that is all sampling needs.
FORMAT = 1  #: Of a checkpoint; raised whenever an older ganlib could not read the new one.


# Devices ------------------------------------------------------------------------------------------


def fabric_for(network: nn.Module, fabric: Fabric | None) -> Fabric:
    """The fabric that was given, or one of float32 where the network is.

    Raises:
        ValueError: Its precision is one that the training does not take.
    """
    if fabric is None:
        device = next(network.parameters()).device
        devices = 1 if device.index is None else [device.index]
        return Fabric(accelerator=device.type, devices=devices)
    precision = fabric.strategy.precision.precision
    if precision not in ("32-true", "bf16-mixed"):
        raise ValueError(
            f"fabric must have precision '32-true' or 'bf16-mixed', got {precision!r} (for "
            "float64, make the weights double)"
        )
    return fabric


# Files --------------------------------------------------------------------------------------------


def check_out(out: str | os.PathLike, network: nn.Module) -> None:
    """Make the folder now, and find out now what could not be written later.

    Raises:
        ValueError: The folder cannot be made or written to; the network's config is not of plain
            values.
    """
    try:
        Path(out).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(f"out must be a folder that can be made, got {out}: {error}") from error
    if not os.access(out, os.W_OK):
        raise ValueError(f"out must be a folder that can be written to, got {out}")
    try:
        json.dumps(getattr(network, "config", None))
    except TypeError as error:
        name = type(network).__name__
        raise ValueError(f"the config of {name} must hold plain values only: {error}") from error


def write_whole(path: Path, write: Callable[[Path], None]) -> None:
    """Write a file so that a reader finds the old one or the new one, whole, whatever happens."""
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        write(part)
        with open(part, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def read_checkpoint(path: Path, settings: dict, later: dict | None = None) -> dict:
    """A checkpoint of a run with these settings; reading it runs no code.

    Args:
        path: The file.
        settings: Of the run that is to go on.
        later: Settings that older checkpoints go without, and what they were then.

    Returns:
        What was saved, on the CPU.

    Raises:
        ValueError: The checkpoint is damaged, comes from a newer ganlib, or belongs to a run with
            other settings.
        OSError, MemoryError: The file cannot be read here and now, which says nothing against it.
    """
    raw = io.BytesIO(path.read_bytes())
    try:
        state = torch.load(raw, map_location="cpu", weights_only=True)
        form = state["format"]
        before = (later or {}) | (state["settings"] if form <= FORMAT else {})
    except MemoryError:
        raise
    except Exception as error:
        if "can't allocate memory" in str(error):  # what PyTorch says on a CPU
            raise MemoryError(str(error)) from error
        raise ValueError(
            f"{path} is not a readable checkpoint ({type(error).__name__}). "
            "Delete it to start afresh."
        ) from error
    if form > FORMAT:
        raise ValueError(
            f"{path} has format {form}, and this ganlib reads formats up to {FORMAT}: "
            "it was written by a newer ganlib."
        )
    differences = _differences(before, settings)
    if differences:
        raise ValueError(
            f"{path} belongs to a run with other settings; resume with the same ones or train "
            "into another folder.\n" + "\n".join(differences)
        )
    return state


# Settings, as texts to compare --------------------------------------------------------------------


def describe(network: nn.Module) -> str:
    """Its layers, and the shapes of its weights."""
    shapes = [f"{name}: {tuple(t.shape)} {t.dtype}" for name, t in network.state_dict().items()]
    return "\n".join([repr(network), *shapes])


def describe_optimizer(optimizer: Optimizer) -> str:
    """Its class and its hyper-parameters."""
    groups = [
        {name: value for name, value in group.items() if name != "params"}
        for group in optimizer.param_groups
    ]
    return f"{type(optimizer).__name__} {groups}"


def fingerprint(data: Tensor | ImageFiles) -> str:
    """Shape, type and a checksum of the contents; of files, of names, sizes and last bytes."""
    if isinstance(data, ImageFiles):
        return f"{tuple(data.shape)} {data.dtype} files {data.fingerprint}"
    array = data.detach().cpu().contiguous()
    digest = hashlib.sha256(array.view(torch.uint8).numpy()).hexdigest()
    return f"{tuple(data.shape)} {data.dtype} {digest[:16]}"


def probe(name: str, rule: Callable[[int], object]) -> list:
    """What a schedule gives at steps 1, 10, ..., 10⁶, which tells it from another.

    They are the same for a run of any length, so that a longer one can go on.

    Args:
        name: Of the argument, for the error.
        rule: step → hyper-parameters.

    Raises:
        ValueError: It gives nothing at one of these steps.
    """
    values = []
    for step in (10**n for n in range(7)):
        try:
            values.append(rule(step))
        except Exception as error:
            raise ValueError(
                f"{name} must give values for every step, also after the last, got "
                f"{type(error).__name__} at step {step}: {error}"
            ) from error
    return values


def _differences(saved: dict, asked: dict) -> list[str]:
    lines = []
    for name in sorted(saved.keys() | asked.keys()):
        before, now = str(saved.get(name)), str(asked.get(name))
        if before != now:
            old, new = before.splitlines(), now.splitlines()
            pairs = [(a, b) for a, b in zip(old, new, strict=False) if a != b]
            a, b = pairs[0] if pairs else (before, now)
            lines.append(f"  {name}: the checkpoint has {a.strip()}, this run has {b.strip()}")
    return lines


# Random states ------------------------------------------------------------------------------------


def seed_all(like: Tensor, seed: int) -> None:
    """Seed PyTorch's generators that work on this tensor's device draws from."""
    for generator in random_generators(like).values():
        generator.manual_seed(seed)


def get_rng(like: Tensor) -> dict[str, Tensor]:
    """The states of these generators, by device."""
    return {name: generator.get_state() for name, generator in random_generators(like).items()}


def set_rng(like: Tensor, states: dict[str, Tensor]) -> None:
    """Go on from states that `get_rng` gave."""
    for name, generator in random_generators(like).items():
        generator.set_state(states[name])


# Signals ------------------------------------------------------------------------------------------


class LateInterrupts:
    """Lets a step finish: notes SIGINT and SIGTERM; the old handlers get the second one."""

    def __enter__(self):
        self.received, self.before = False, {}
        if threading.current_thread() is threading.main_thread():  # elsewhere Python forbids it
            for number in (signal.SIGINT, signal.SIGTERM):
                self.before[number] = signal.signal(number, self._note)
        return self

    def _note(self, number, frame):
        self.received = True
        self._restore()

    def _restore(self):
        for number, handler in self.before.items():
            signal.signal(number, handler or signal.SIG_DFL)

    def __exit__(self, *_):
        self._restore()

    def agreed(self, fabric: Fabric, may_ask: bool) -> bool:
        """Whether to stop now: at once alone, at the next entry of the history among several."""
        if fabric.world_size == 1:
            return self.received
        if not may_ask:
            return False
        votes = torch.tensor(float(self.received), device=fabric.device)
        return bool(fabric.all_reduce(votes, reduce_op="sum") > 0)
