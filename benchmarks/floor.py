"""The floor under a step: its matrix products alone, at the same shapes and in the same dtype."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

Product = Callable[[], Tensor]


def floor(
    G: nn.Module,
    D: nn.Module,
    m: int,
    *,
    simultaneous: bool,
    dtype: torch.dtype = torch.float32,
) -> Callable[[], None]:
    """A function that computes the products that a step of two chains of layers cannot do without.

    Moving simultaneously: G forward and back on m samples, D forward and back on 2m images, and
    on to the samples' m. In turn: G forward on m samples, D forward and back on 2m images for its
    own weights; then G forward and back on m samples, D forward and back on them for their sake.
    No bias, activation, dropout, loss, optimiser or data; every result has its place beforehand.

    Args:
        G, D: Networks whose matrices, each (outputs, inputs), are applied one after the other.
        m: Images in a minibatch.
        simultaneous: Which of the two steps.
        dtype: Of the factors and the results.
    """
    g, d = ([tuple(p.shape) for p in net.parameters() if p.ndim == 2] for net in (G, D))
    device = next(G.parameters()).device
    learn_G = [*_forward(g, m), *_by_weights(g, m), *_by_inputs(g[1:], m)]
    if simultaneous:
        learn_D = [*_by_weights(d, 2 * m), *_by_inputs(d[1:], 2 * m), *_by_inputs(d[:1], m)]
        shapes = [*learn_G, *_forward(d, 2 * m), *learn_D]
    else:
        move_D = [*_forward(g, m), *_forward(d, 2 * m), *_by_weights(d, 2 * m)]
        move_D += _by_inputs(d[1:], 2 * m)
        shapes = [*move_D, *learn_G, *_forward(d, m), *_by_inputs(d, m)]
    products = [_product(*shape, dtype=dtype, device=device) for shape in shapes]

    def run() -> None:
        for product in products:
            product()

    return run


def _forward(layers: list[tuple[int, int]], m: int) -> list[tuple]:
    """x Wᵀ of each layer."""
    return [((m, inputs), (outputs, inputs), "second") for outputs, inputs in layers]


def _by_weights(layers: list[tuple[int, int]], m: int) -> list[tuple]:
    """gᵀ x of each layer, g the gradient by its outputs."""
    return [((m, outputs), (m, inputs), "first") for outputs, inputs in layers]


def _by_inputs(layers: list[tuple[int, int]], m: int) -> list[tuple]:
    """g W of each layer."""
    return [((m, outputs), (outputs, inputs), "neither") for outputs, inputs in layers]


def _product(a: tuple, b: tuple, transposed: str, *, dtype, device) -> Product:
    a, b = (torch.randn(shape, device=device).to(dtype) for shape in (a, b))
    a, b = {"first": (a.T, b), "second": (a, b.T), "neither": (a, b)}[transposed]
    result = torch.empty(len(a), b.shape[1], dtype=dtype, device=device)
    return lambda: torch.mm(a, b, out=result)
