"""What the instrument *Draw* loads: the shipped conditional generator as a script, and a sheet.

No built file is committed. The book's build calls `export`, so that the page always runs the
generator that the package ships.
"""

import base64
import json
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import linear, relu

import ganlib

DIRECTIONS = 4  # of z, each with a slider
PER_CLASS = 20  # samples that the directions are averaged over


def folded(G: nn.Module) -> list[tuple[Tensor, Tensor]]:
    """The generator's affine maps in float64, from z to the logits of the pixels.

    Between two of them is a ReLU. A class always gives the same units, which the first layer that
    z and y share maps to the same vector. So that vector takes the place of y's own layer.

    Args:
        G: A ConditionalMLPGenerator.

    Returns:
        Weights (outputs, inputs) and biases (outputs,) of each map; the second one's biases are
        (classes, outputs), a row for each class.
    """
    of_z, of_y = G.of_z[0], G.of_y[0]
    first, *rest = [layer for layer in G.hidden if isinstance(layer, nn.Linear)] + [G.last]
    with torch.no_grad():
        units = relu(of_y.weight.double().T + of_y.bias.double())
        by_z, by_y = first.weight.double().split([of_z.out_features, of_y.out_features], 1)
        return [
            (of_z.weight.double(), of_z.bias.double()),
            (by_z, linear(units, by_y, first.bias.double())),
            *((layer.weight.double(), layer.bias.double()) for layer in rest),
        ]


def directions(G: nn.Module, n: int = DIRECTIONS) -> tuple[Tensor, Tensor]:
    """The directions of z along which the picture changes most, averaged over z and classes.

    With J the Jacobian of the pixels by z, a small step δ changes the picture by |Jδ|². The
    average of that is δᵀ E[JᵀJ] δ, so these are the leading eigenvectors of E[JᵀJ].

    Args:
        G: A ConditionalMLPGenerator.
        n: How many.

    Returns:
        (n, dim) unit vectors at right angles to each other, the largest coordinate of each
        positive, and (n,) their shares of the change along all directions.
    """
    z = G.noise(PER_CLASS * G.classes, seed=0)
    y = torch.arange(G.classes).repeat_interleave(PER_CLASS)
    with torch.no_grad():
        columns = [
            torch.func.jvp(lambda z: G(z, y), (z,), (step.expand_as(z).contiguous(),))[1].flatten()
            for step in torch.eye(G.noise.dim)
        ]
    J = torch.stack(columns, 1).double()
    values, vectors = torch.linalg.eigh(J.T @ J)
    leading = vectors.T.flip(0)[:n]
    largest = leading.gather(1, leading.abs().argmax(1, keepdim=True))
    return leading * largest.sign(), values.flip(0)[:n] / values.sum()


def described(G: nn.Module) -> dict:
    """The generator as plain values: weights in float16, all else in float32, both as base64.

    Raises:
        ValueError: G does not draw grey pictures, or a weight does not fit into float16.
    """
    if len(G.shape) != 3 or G.shape[0] != 1:
        raise ValueError(f"G must draw pictures of shape (1, height, width), got {G.shape}")
    leading, shares = directions(G)
    return {
        "noise": G.config["noise"],
        "height": G.shape[1],
        "width": G.shape[2],
        "classes": G.classes,
        "layers": [
            {
                "outputs": len(weight),
                "weight": _text(weight.T, "<f2"),  # a row for each input
                "bias": _text(bias, "<f4"),
            }
            for weight, bias in folded(G)
        ],
        "directions": [_text(direction, "<f4") for direction in leading],
        "shares": [round(share, 4) for share in shares.tolist()],
    }


def _text(values: Tensor, dtype: str) -> str:
    with np.errstate(over="ignore"):
        array = values.numpy().astype(dtype)
    if not np.isfinite(array).all():
        raise ValueError(f"a weight does not fit into {dtype}: up to {values.abs().max():.3g}")
    return base64.b64encode(array.tobytes()).decode("ascii")


def export(folder: Path) -> None:
    """Write draw-network.js, which draw.js loads, and draw.png, shown without JavaScript."""
    G = ganlib.pretrained("cgan-mnist")
    script = f"document.currentScript.network = {json.dumps(described(G))};\n"
    (folder / "draw-network.js").write_text(script, "ascii")
    y = torch.arange(G.classes).repeat_interleave(10)
    sheet = ganlib.plot.grid(ganlib.sample(G, len(y), y), 10, [str(k) for k in range(G.classes)])
    ganlib.plot.save(sheet, folder / "draw.png")
