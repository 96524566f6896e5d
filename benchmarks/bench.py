"""Speed, side by side: ganlib, the loop that tutorials teach, and the floor under ganlib.

    python benchmarks/bench.py [--quick] [--accelerator cuda] [CASE ...]

What is compared takes turns in one process, a block of steps each, so that whatever else the
machine does falls on all alike. A ratio is taken in each round of blocks; reported are the median
over the rounds and the quartiles. Goals are reported as met or not, never asserted.
"""

import json
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from statistics import median, quantiles

import click
import torch
from floor import floor
from images import random_images, random_pairs
from lightning_fabric import Fabric
from textbook import JacobianCAE, TextbookCAE, TextbookGSN, TextbookRBM
from torch import Tensor
from tutorial import Tutorial

from ganlib import parzen
from ganlib.data import Data
from ganlib.recipes import RECIPES, Recipe
from ganlib.reproduction import provenance, write_json
from ganlib.rivals import Course, build
from ganlib.rivals.recipes import RIVALS, RivalRecipe
from ganlib.training import Game

ROOT = Path(__file__).resolve().parent.parent
WARM_UP = 3  # steps before the first block
LEAST_BY_GRAPHS = 10  # times the tutorial's speed, on a GPU
BOTH = ("32-true", "bf16-mixed")


@dataclass(frozen=True)
class Effort:
    """How much to measure.

    Attributes:
        accelerator: As Lightning Fabric names it: "cpu", "cuda".
        rounds: Blocks of each side.
        steps: Training steps in a block.
        images: Random images to train on.
        pairs: Random pairs of images to train on.
        width: Channels of the first layer of pix2pix's players.
        points: Images and samples of a Parzen score.
        memory_steps: Steps of the training whose memory is measured.
    """

    accelerator: str
    rounds: int = 7
    steps: int = 20
    images: int = 50_000
    pairs: int = 64
    width: int = 64
    points: int = 10_000
    memory_steps: int = 300


QUICK = {"rounds": 2, "steps": 1, "images": 500, "pairs": 4, "width": 4}
QUICK |= {"points": 200, "memory_steps": 1}


# Taking turns -------------------------------------------------------------------------------------


def take_turns(
    sides: dict[str, Callable[[], None]], rounds: int, device: torch.device
) -> dict[str, list[float]]:
    """Seconds that a call of each side took, in each round; a first call of each is not timed."""
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for turn in range(rounds + 1):
        for name, side in sides.items():
            _wait(device)
            started = time.perf_counter()
            side()
            _wait(device)
            if turn:
                seconds[name].append(time.perf_counter() - started)
    return seconds


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def row(what: str, values: list[float], unit: str, least=None, most=None) -> dict:
    """The median and the quartiles of some values, beside a goal: at least, or at most, so much."""
    middle = median(values)
    low, _, high = quantiles(values, n=4, method="inclusive") if len(values) > 1 else values * 3
    found = {"what": what, "median": middle, "quartiles": [low, high], "unit": unit}
    found["values"] = values
    if least is not None:
        found |= {"goal": f"≥ {least:g}", "met": middle >= least}
    if most is not None:
        found |= {"goal": f"≤ {most:g}", "met": middle <= most}
    return found


def ratios(slow: list[float], fast: list[float]) -> list[float]:
    """How many times longer the slow one took, round by round."""
    return [a / b for a, b in zip(slow, fast, strict=True)]


def milliseconds(seconds: list[float], steps: int) -> list[float]:
    """Of each step in blocks of so many."""
    return [1000 * s / steps for s in seconds]


# The sides ----------------------------------------------------------------------------------------


def ready(
    recipe: Recipe,
    data: Data,
    accelerator: str,
    precision: str = "32-true",
    cuda_graph: bool = False,
) -> Game:
    """The recipe's game, as `train` makes and plays it, after a few steps."""
    fabric = Fabric(accelerator=accelerator, devices=1, precision=precision)
    game = recipe.run(data=data, steps=WARM_UP, fabric=fabric, cuda_graph=cuda_graph)
    game.G.train()
    game.D.train()
    return game


def play(game: Game, steps: int) -> None:
    """A block of ganlib's steps, and the entry into the history that ends it."""
    for _ in range(steps):
        game.play_step()
    game.log()


def follow_tutorial(recipe: Recipe, data: Data, device: torch.device) -> Tutorial:
    """The tutorial's loop on the recipe's networks, batch and optimisers."""
    G, D = (player.to(device) for player in recipe.players(data))
    rate = recipe.options["lr"]
    return Tutorial(
        G,
        D,
        data.images,
        getattr(data, recipe.condition) if recipe.condition else None,
        recipe.training["batch_size"],
        recipe.optimizer(G.parameters(), **recipe.options),
        recipe.optimizer(D.parameters(), **recipe.options | {"lr": recipe.rate_D * rate}),
        recipe.training.get("lambda_l1", 0.0),
    )


def repeat(step: Callable[[], object], steps: int) -> None:
    """A block of steps."""
    for _ in range(steps):
        step()


# The cases ----------------------------------------------------------------------------------------


def mnist(effort: Effort) -> list[dict]:
    """The 2014 paper's pair, in both precisions, against the tutorial and against its floors."""
    return _pair("mnist", effort, BOTH, least_of_floor=0.5)


def digits(effort: Effort) -> list[dict]:
    """The small pair of most lessons, against the tutorial and against its floor."""
    return _pair("digits", effort, ("32-true",))


def cgan(effort: Effort) -> list[dict]:
    """The conditional pair for MNIST, in both precisions, against the tutorial and its floors."""
    return _pair("cgan-mnist", effort, BOTH)


def pix2pix(effort: Effort) -> list[dict]:
    """pix2pix by two sizes and two batches, both precisions, against the tutorial and its floors.

    A step alone is timed: neither side jitters. Each size and batch has its own rounds, in blocks
    of a twentieth of the others' steps; how a step grows with them is measured in rounds of ganlib
    alone.
    """
    rows, versions = [], {}
    for name, m in (("facades", 1), ("facades-128", 1), ("facades-128", 4)):
        size = 256 if name == "facades" else 128
        recipe, data = _still(RECIPES[name], m, effort.width), random_pairs(effort.pairs, size)
        label = f"{size}², batch {m}"
        for its in _against_tutorial(recipe, data, effort, BOTH, least=2):
            rows.append(its | {"what": f"{label}: {its['what']}"})
        versions[label] = recipe, data
    games = {label: ready(*its, effort.accelerator) for label, its in versions.items()}
    return rows + _growth(games, "128², batch 1", effort)


def _still(recipe: Recipe, m: int, width: int) -> Recipe:
    """The recipe without jitter, in minibatches of m, its players so wide."""
    return replace(
        recipe,
        generator=recipe.generator | {"width": width},
        discriminator=recipe.discriminator | {"width": width},
        training=recipe.training | {"jitter": False, "batch_size": m},
    )


def _pair(
    name: str, effort: Effort, precisions: tuple[str, ...], least_of_floor: float | None = None
) -> list[dict]:
    recipe = RECIPES[name]
    data = random_images(recipe, effort.images)
    return _against_tutorial(recipe, data, effort, precisions, 4, least_of_floor)


def _against_tutorial(
    recipe: Recipe,
    data: Data,
    effort: Effort,
    precisions: tuple[str, ...],
    least: float,
    least_of_floor: float | None = None,
) -> list[dict]:
    """Times of a step and of its products alone, the floor, and their ratios.

    The tutorial's time by the floor's is what no loop with these products can exceed. On a GPU each
    precision is played as it is and by CUDA graphs, and the goals of a CPU are none.
    """
    steps = effort.steps
    ways = {precision: (precision, False) for precision in precisions}
    if effort.accelerator == "cuda":
        ways |= {f"{precision}, CUDA graphs": (precision, True) for precision in precisions}
    games = {way: ready(recipe, data, effort.accelerator, *how) for way, how in ways.items()}
    device = games["32-true"].like.device
    tutorial = follow_tutorial(recipe, data, device)
    sides = {"tutorial": partial(repeat, tutorial.play_step, steps)}
    sides |= {f"ganlib {way}": partial(play, game, steps) for way, game in games.items()}
    for precision in precisions:
        products = floor(games[precision])
        sides[f"floor {precision}"] = partial(repeat, products, steps)
    seconds = take_turns(sides, effort.rounds, device)
    rows = [row(side, milliseconds(s, steps), "ms/step") for side, s in seconds.items()]
    for way, (precision, cuda_graph) in ways.items():
        own, goals = seconds[f"ganlib {way}"], (least, least_of_floor)
        if effort.accelerator == "cuda":
            goals = (LEAST_BY_GRAPHS if cuda_graph else None), None
        compared = [
            (f"tutorial / ganlib {way}", seconds["tutorial"], goals[0]),
            (f"floor / ganlib {way}", seconds[f"floor {precision}"], goals[1]),
        ]
        for what, others, goal in compared:
            rows.append(row(what, ratios(others, own), "×", least=goal))
            if precision == "bf16-mixed":
                rows[-1]["note"] = f"bf16 products in hardware: {bf16_in_hardware(device)}"
    for precision in precisions:
        most = ratios(seconds["tutorial"], seconds[f"floor {precision}"])
        rows.append(row(f"tutorial / floor {precision}", most, "×"))
    return rows


def bf16_in_hardware(device: torch.device) -> str:
    """What multiplies bf16 numbers, as far as the system tells."""
    if device.type == "cuda":
        return "yes" if torch.cuda.is_bf16_supported(including_emulation=False) else "no"
    try:
        flags = Path("/proc/cpuinfo").read_text().split()
    except OSError:
        return "unknown"
    return next((flag for flag in ("amx_bf16", "avx512_bf16") if flag in flags), "no")


def parzen_score(effort: Effort) -> list[dict]:
    """The paper's score with its ten widths, against one product and a port that broadcasts.

    The port computes every width anew, as the released `parzen_ll.py` does: ten on the validation
    images, one on the test images. One of its batches is timed, 10 images against all samples, and
    the time multiplied by the number of batches.
    """
    n = effort.points
    rng = torch.Generator().manual_seed(0)
    samples, test = torch.rand(2, n, 784, generator=rng)
    device = Fabric(accelerator=effort.accelerator, devices=1).device
    samples, test = samples.to(device), test.to(device)
    validation = test[: parzen.VALIDATION]
    product = torch.empty(n, n, device=device)
    few = min(10, n)
    sides = {
        "one product": lambda: torch.mm(test, samples.T, out=product),
        "score": lambda: parzen.score(samples, validation, test),
        "all widths for all images": lambda: parzen.log_density(test, samples, parzen.PAPER_SIGMAS),
        "a batch of the port": lambda: broadcast(test[:few], samples, 0.2),
    }
    seconds = take_turns(sides, effort.rounds, device)
    batches = (len(parzen.PAPER_SIGMAS) * len(validation) + n) / few
    port = [batches * s for s in seconds.pop("a batch of the port")]
    rows = [row(side, s, "s") for side, s in seconds.items()]
    scaled = row("broadcasting port", port, "s")
    scaled["note"] = f"one batch of {few} × {n:,} pairs timed, times {batches:,.0f} batches"
    one, score, every = seconds.values()
    return [
        *rows,
        scaled,
        row("score / one product", ratios(score, one), "×", most=1.3),
        row("all widths, all images / one product", ratios(every, one), "×"),
        row("broadcasting port / score", ratios(port, score), "×", least=50),
    ]


def broadcast(images: Tensor, samples: Tensor, sigma: float) -> Tensor:
    """The log-densities, less their constant, through all differences of all pairs."""
    differences = (images[:, None] - samples[None]) / sigma
    return (-0.5 * differences.square().sum(2)).logsumexp(1)


def rivals(effort: Effort) -> list[dict]:
    """A step of each rival's lowest part, in both precisions, against the textbook's version.

    The auto-encoder has a second one, which builds its Jacobian as its authors' code does.
    """
    rows = []
    books = {"dbn": [TextbookRBM], "cae": [TextbookCAE, JacobianCAE], "gsn": [TextbookGSN]}
    for name, versions in books.items():
        recipe = RIVALS[name]
        data = random_images(recipe, effort.images)
        sides, m = {}, recipe.training["batch_size"]
        for version in versions:
            part = begin(recipe, data, effort.accelerator, "32-true").model.parts[0]
            optimizer = recipe.optimizer(part.parameters(), **recipe.options)
            book = version(part, data.images, m, optimizer)
            sides[version.__name__] = partial(repeat, book.play_step, effort.steps)
        for precision in BOTH:
            course = begin(recipe, data, effort.accelerator, precision)
            sides[f"ganlib {precision}"] = partial(repeat, course.take_step, effort.steps)
        seconds = take_turns(sides, effort.rounds, course.like.device)
        its = [row(side, milliseconds(s, effort.steps), "ms/step") for side, s in seconds.items()]
        for precision in BOTH:
            for version in versions:
                slow, fast = seconds[version.__name__], seconds[f"ganlib {precision}"]
                what = f"{version.__name__} / ganlib {precision}"
                its.append(row(what, ratios(slow, fast), "×", least=2))
        rows += [one | {"what": f"{name}: {one['what']}"} for one in its]
    return rows


def begin(recipe: RivalRecipe, data: Data, accelerator: str, precision: str) -> Course:
    """The course of a rival's training, as `Rival.fit` makes it, at its first step."""
    fabric = Fabric(accelerator=accelerator, devices=1, precision=precision)
    model = build(recipe.model | {"shape": list(data.shape)})
    return Course(
        fabric.to_device(model),
        data.images,
        recipe.lengths,
        partial(recipe.optimizer, **recipe.options),
        recipe.schedule,
        recipe.training["batch_size"],
        0,
        fabric,
    )


def memory(effort: Effort) -> list[dict]:
    """Peak resident memory of a process that trains: the MNIST pair, and pix2pix at 256×256."""
    runs = {"mnist": (effort.memory_steps, 1), "facades": (min(effort.memory_steps, 3), None)}
    rows = []
    for name, (steps, most) in runs.items():
        command = [sys.executable, str(ROOT / "benchmarks" / "memory.py"), name, str(steps)]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        rows.append(
            row(f"{name}: peak of {steps} steps", [int(done.stdout) / 1e9], "GB", most=most)
        )
    return rows


def growth(effort: Effort) -> list[dict]:
    """A step of the MNIST pair at other batch sizes and widths."""
    recipe = RECIPES["mnist"]
    data = random_images(recipe, effort.images)
    versions = {f"batch {m}": _with_batch(recipe, m) for m in (25, 100, 400)}
    versions |= {f"width × {factor:g}": _widened(recipe, factor) for factor in (0.5, 2)}
    games = {name: ready(its, data, effort.accelerator) for name, its in versions.items()}
    return _growth(games, "batch 100", effort)


def _growth(games: dict[str, Game], usual: str, effort: Effort) -> list[dict]:
    """Times of a step of several games, and their ratios to the usual one's."""
    sides = {name: partial(play, game, effort.steps) for name, game in games.items()}
    seconds = take_turns(sides, effort.rounds, games[usual].like.device)
    rows = [row(side, milliseconds(s, effort.steps), "ms/step") for side, s in seconds.items()]
    others = {side: s for side, s in seconds.items() if side != usual}
    return rows + [row(f"{o} / {usual}", ratios(s, seconds[usual]), "×") for o, s in others.items()]


def _with_batch(recipe: Recipe, m: int) -> Recipe:
    return replace(recipe, training=recipe.training | {"batch_size": m})


def _widened(recipe: Recipe, factor: float) -> Recipe:
    hidden = [int(factor * width) for width in recipe.generator["hidden"]]
    return replace(
        recipe,
        generator=recipe.generator | {"hidden": hidden},
        discriminator=recipe.discriminator | {"units": [int(factor * 240)] * 2},
    )


# Memory first: Linux counts into a process's peak what its parent held when it began.
CASES = {
    "memory": memory,
    "digits": digits,
    "mnist": mnist,
    "cgan": cgan,
    "pix2pix": pix2pix,
    "parzen": parzen_score,
    "growth": growth,
    "rivals": rivals,
}
SLOW = {"pix2pix": 20, "rivals": 4}  # a block has so many times fewer steps


@click.command()
@click.argument("cases", nargs=-1, type=click.Choice(list(CASES)))
@click.option("--quick", is_flag=True, help="A few steps of everything, to see that all works.")
@click.option("--accelerator", default="cpu", show_default=True, help="Or cuda.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder of metrics.json.")
def main(cases: tuple[str, ...], quick: bool, accelerator: str, out: Path | None) -> None:
    """Measure the CASES, all without one, and write results/bench/metrics.json.

    The file keeps what it holds of other cases. OMP_NUM_THREADS sets the threads; one without it.
    """
    path = (out or ROOT / "results" / ("bench-quick" if quick else "bench")) / "metrics.json"
    report = json.loads(path.read_text("utf-8")) if path.exists() else {}
    effort = Effort(accelerator, **(QUICK if quick else {}))
    for name in CASES:
        if cases and name not in cases:
            continue
        started = time.perf_counter()
        its = replace(effort, steps=max(1, effort.steps // SLOW.get(name, 1)))
        rows = CASES[name](its)
        report[name] = {
            "rows": rows,
            "accelerator": accelerator,
            "rounds": effort.rounds,
            "steps a block": its.steps,
            "command": shlex.join(["python", "benchmarks/bench.py", *sys.argv[1:]]),
            "seconds": round(time.perf_counter() - started, 1),
            **provenance(),
        }
        show(name, rows)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, report)
    click.echo(f"All values of all rounds are in {path}")


def show(name: str, rows: list[dict]) -> None:
    """Print a case's rows."""
    click.echo(f"\n{name:<46}{'median':>10}{'quartiles':>22}  goal")
    for its in rows:
        low, high = its["quartiles"]
        goal = f"{its['goal']} {'met' if its['met'] else 'not met'}" if "goal" in its else ""
        middle = f"{its['median']:.3g} {its['unit']}"
        click.echo(f"  {its['what']:<42}{middle:>14}{f'{low:.3g} … {high:.3g}':>20}  {goal}")
        if "note" in its:
            click.echo(f"    {its['note']}")


if __name__ == "__main__":
    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(1)
    main()
