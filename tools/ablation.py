"""What each choice in the recipe mnist-225 is worth, at the same number of steps.

    python tools/ablation.py [VARIANT ...]

Plays each variant with seed 0 for 20 epochs of MNIST in runs/ablation/ and writes what
`ganlib.protocols.Likelihood` finds in samples of the raw and of the averaged generator to
results/mnist-225/ablation.json. Variants that stand there already are kept, so they may be run one
by one, or side by side.
"""

import json
import os
import re
import sys
from dataclasses import replace
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

from lightning_fabric import Fabric

import ganlib
from ganlib.data import SPLITS
from ganlib.protocols import Likelihood
from ganlib.recipes import RECIPES, Recipe, fast_schedule, paper_schedule
from ganlib.reproduction import provenance, write_json

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "results" / "mnist-225" / "ablation.json"
STEPS = 10_000


def without_decay(step: int) -> dict[str, float]:
    return {"lr": 0.2}


def to_zero(step: int) -> dict[str, float]:
    return {"lr": 0.2 * (1 - step / STEPS)}


def half_rate(step: int) -> dict[str, float]:
    return {"lr": fast_schedule(step)["lr"] / 2}


def high_momentum(step: int) -> dict[str, float]:
    return fast_schedule(step) | {"momentum": 0.5 if step < 500 else 0.7}


def variants() -> dict[str, Recipe]:
    base = replace(RECIPES["mnist-225"], steps=STEPS)
    training, G, D = base.training, base.generator, base.discriminator
    return {
        "mnist-225": base,
        "the paper's schedule": replace(base, schedule=paper_schedule),
        "average of power 8": replace(base, training=training | {"ema_power": 8.0}),
        "D without dropout": replace(
            base, discriminator=D | {"keep_input": 1.0, "keep_hidden": 1.0}
        ),
        "momentum 0.7": replace(base, schedule=high_momentum),
        "rate falls to 0": replace(base, schedule=to_zero),
        "normal noise": replace(
            base, generator=G | {"noise": {"dim": 100, "distribution": "normal"}}
        ),
        "rate 0.1": replace(base, schedule=half_rate),
        "D's rate as G's": replace(base, rate_D=1.0),
        "moves in turn": replace(base, training=training | {"simultaneous": False}),
        "average of power 1": replace(base, training=training | {"ema_power": 1.0}),
        "no decay of the rate": replace(base, schedule=without_decay),
    }


def scored(recipe: Recipe, folder: Path, protocol: Likelihood) -> dict:
    """What is found in samples of a variant's generators, or when it diverged."""
    fabric = Fabric(accelerator="cpu", devices=1, precision="bf16-mixed")
    try:
        game = recipe.run(data=protocol.train, fabric=fabric, out=folder, seed=0, save_every=STEPS)
    except FloatingPointError as error:
        return {"diverged": str(error).split(":")[0]}
    players = {"averaged": game.averaged, "raw": game.G}
    return {
        which: protocol.measure_images(ganlib.sample(G, 10_000, seed=0).clamp(0, 1))
        for which, G in players.items()
    }


def main(*names: str) -> None:
    every = variants()
    unknown = set(names) - every.keys()
    if unknown:
        raise SystemExit(f"variants are {', '.join(every)}; got {', '.join(unknown)}")
    runs = ROOT / "runs" / "ablation"
    protocol = Likelihood({split: ganlib.load("mnist", split) for split in SPLITS}, runs)
    for name in names or every:
        report = json.loads(RESULTS.read_text("utf-8")) if RESULTS.exists() else {"variants": {}}
        if name in report["variants"]:
            continue
        its = scored(every[name], runs / re.sub(r"\W+", "-", name), protocol)
        if RESULTS.exists():  # another process may have added its own in the meantime
            report = json.loads(RESULTS.read_text("utf-8"))
        report |= {"command": "python tools/ablation.py", "steps": STEPS, **provenance()}
        report["variants"][name] = its
        write_json(RESULTS, report)
        print(name, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
