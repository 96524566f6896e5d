"""The label part of the lesson `sharpness` on MNIST: 28x28 pixels, 50,000 images, more moves.

    python tools/sharpness_full.py STEPS SEED... > results/sharpness/mnist.json

It takes the lesson's own functions from its notebook and runs them on other data.
"""

import contextlib
import json
import os
import re
import sys
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import nbformat
import torch
from torch.nn.functional import one_hot

import ganlib
from ganlib.reproduction import provenance

NOTEBOOK = Path(__file__).resolve().parents[1] / "chapters" / "sharpness.ipynb"
WANTED = ("def train_l2", "def play", "def sharpness", "class Given", "def generator")


def lesson(seed: int) -> dict:
    """The lesson's imports and functions, with this seed."""
    names: dict = {}
    for cell in nbformat.read(NOTEBOOK, 4).cells:
        if cell.cell_type == "code" and cell.id != "colab":
            source = re.sub(r"\bseed=0\b", f"seed={seed}", cell.source)
            if source.startswith("import sympy") or any(w in source for w in WANTED):
                source = source.split("\ndigits, test =")[0]
                exec(source, names)
    return names


def run(steps: int, seed: int) -> dict:
    f = lesson(seed)
    data, test = ganlib.load("mnist"), ganlib.load("mnist", "test")
    x, x_test = data.images, test.images[:2000] / 255
    y, y_test = (one_hot(labels, 10).float() for labels in (data.labels, test.labels[:2000]))
    means = torch.stack([(x[data.labels == k] / 255).mean(0) for k in range(10)])
    torch.manual_seed(seed)
    G2 = f["generator"](y, x, 16)
    f["train_l2"](lambda y: G2(G2.noise(len(y)), y), G2.parameters(), x, y, steps)
    torch.manual_seed(seed)
    G, D = f["generator"](y, x, 16), f["discriminator"](y, x)
    G = f["play"](G, D, x, y, steps).generator
    found = {
        "class means": means[test.labels[:2000]],
        "L2": ganlib.sample(G2, 2000, y_test, seed=seed),
        "GAN": ganlib.sample(G, 2000, y_test, seed=seed),
    }
    many = torch.stack([ganlib.sample(G, 10, torch.eye(10), seed=k) for k in range(200)])
    found["GAN, mean of 200"] = many.mean(0)[test.labels[:2000]]
    S = f["sharpness"]
    far = ganlib.nearest(x_test[:300], x)[0].median()
    return {
        name: {
            "sharp": round((S(some).mean() / S(x_test).mean()).item(), 3),
            "far": round((ganlib.nearest(some[:300], x)[0].median() / far).item(), 3),
            "fine": round(((some - x_test) ** 2).flatten(1).sum(1).mean().item(), 2),
        }
        for name, some in found.items()
    }


if __name__ == "__main__":
    steps, *seeds = map(int, sys.argv[1:])
    start = time.perf_counter()
    with contextlib.redirect_stdout(sys.stderr):
        seen = {seed: run(steps, seed) for seed in seeds}
    print(
        json.dumps(
            {
                "command": f"python tools/sharpness_full.py {' '.join(sys.argv[1:])}",
                "seeds": seen,
                "seconds": round(time.perf_counter() - start),
                **provenance(),
            },
            indent=1,
        )
    )
