"""The floor under a step: its matrix products and convolutions alone, in the same dtype."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from ganlib.training import Game

aten = torch.ops.aten
MATRICES = {aten.mm.default: 0, aten.addmm.default: 1}  # where the first factor stands


def floor(game: Game) -> Callable[[], None]:
    """A function that computes the products of the game's next step, and nothing else of it.

    The game plays that step. No bias, activation, dropout, loss, optimiser or data is in the
    function. A product of two matrices has its place beforehand; a convolution makes its own.
    """
    with _Recorder() as recorder:
        game.play_step()

    @torch.no_grad()
    def run() -> None:
        for product in recorder.products:
            product()

    return run


class _Recorder(TorchDispatchMode):
    """Keeps the products that pass, as functions that compute them again."""

    def __init__(self):
        super().__init__()
        self.products: list[Callable[[], object]] = []

    def __torch_dispatch__(self, operator, types, args=(), kwargs=None):
        if operator in MATRICES:
            first = MATRICES[operator]
            self.products.append(_matrices(*args[first : first + 2]))
        elif operator is aten.convolution.default:
            images, weight, _, *how = args
            self.products.append(lambda: aten.convolution(images, weight, None, *how))
        elif operator is aten.convolution_backward.default:
            *how, (images, weight, _) = args
            wanted = [images, weight, False]
            self.products.append(lambda: aten.convolution_backward(*how, wanted))
        return operator(*args, **(kwargs or {}))


def _matrices(a: Tensor, b: Tensor) -> Callable[[], Tensor]:
    result = a.new_empty(len(a), b.shape[1])
    return lambda: torch.mm(a, b, out=result)
