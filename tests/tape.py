"""A stand-in for CUDA graphs on the CPU: notes operators, and does them again on the same memory.

What it cannot tell: whether the driver takes the kernels; nor, as it holds every tensor alive,
whether a graph reads memory that was freed and given to another. What it can: whether a move does
all of its work by operators that a graph would hold, none of which waits for a number from the
device, and whether what Python does once more in every step is done outside.
"""

from contextlib import contextmanager, nullcontext

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

WAITS = {
    "aten::_local_scalar_dense",
    "aten::_unique2",
    "aten::bincount",
    "aten::equal",
    "aten::lift_fresh",
    "aten::masked_select",
    "aten::nonzero",
}


def waits(name: str, args: tuple) -> bool:
    """Whether an operator waits for a number from a device: a mask picks it does not know how many.

    Args:
        name: Of the operator.
        args: What it is called with.
    """
    masks = args[1] if name == "aten::index" else ()
    return name in WAITS or any(mask is not None and mask.dtype == torch.bool for mask in masks)


class Tape(TorchDispatchMode):
    """In place of `torch.cuda.CUDAGraph`."""

    replays = 0
    buffers = ()  # of the players: what an operator may change besides making its outcome

    def __init__(self):
        super().__init__()
        self.calls = []

    def __torch_dispatch__(self, operator, types, args=(), kwargs=None):
        name = operator._schema.name
        if waits(name, args):
            raise RuntimeError(f"{name} is not permitted when a stream is capturing")
        outcome = operator(*args, **(kwargs or {}))
        self.calls.append((operator, args, kwargs or {}, outcome))
        return outcome

    @torch.no_grad()
    def replay(self):
        type(self).replays += 1
        for operator, args, kwargs, outcome in self.calls:
            again = operator(*args, **kwargs)
            for old, new in zip(tree_leaves(outcome), tree_leaves(again), strict=True):
                if isinstance(old, Tensor) and old.data_ptr() != new.data_ptr():
                    old.detach().copy_(new)


@contextmanager
def taping(tape, **options):
    """In place of `torch.cuda.graph`: like a capture it leaves random states and buffers alone."""
    state, before = torch.get_rng_state(), [buffer.clone() for buffer in tape.buffers]
    with tape:
        yield
    torch.set_rng_state(state)
    for buffer, kept in zip(tape.buffers, before, strict=True):
        buffer.data.copy_(kept)


class Stream:
    """In place of `torch.cuda.Stream`."""

    device = None

    def __init__(self, device=None):
        pass

    def wait_stream(self, other):
        pass


def stand_in(monkeypatch):
    """From now on `torch.cuda` is played by the tape."""
    Tape.replays, Tape.buffers = 0, ()
    for name, value in {
        "CUDAGraph": Tape,
        "graph": taping,
        "Stream": Stream,
        "current_stream": Stream,
        "stream": lambda stream: nullcontext(),
    }.items():
        monkeypatch.setattr(torch.cuda, name, value)
