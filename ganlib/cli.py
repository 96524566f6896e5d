"""The command `ganlib`: recipes, train, reproduce, evaluate, sample, interpolate."""

import inspect
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

import click
import numpy as np
import torch
from lightning_fabric import Fabric

import ganlib
from ganlib import parzen, plotting
from ganlib.checkpoints import CHECKPOINT, GENERATOR
from ganlib.data import DATASETS, ImageFiles, MissingSplit, colour_pairs, load, to_grey
from ganlib.protocols import draw_pairs
from ganlib.recipes import RECIPES
from ganlib.reproduction import reproduce as reproduce_recipe
from ganlib.rivals.recipes import RIVALS
from ganlib.table import TABLE, lines, reproduce_table

INTERRUPTED = 130  # what shells expect of a command that Ctrl-C ended
SETTINGS = {  # of `ganlib.train`, with their defaults
    name: parameter.default
    for name, parameter in inspect.signature(ganlib.train).parameters.items()
    if isinstance(parameter.default, int | float | str) or name == "ema"
}


class _Commands(click.Group):
    """Turns the errors that ganlib raises on purpose into a message and exit code 1."""

    def invoke(self, context):
        try:
            return super().invoke(context)
        except (ValueError, OSError, FloatingPointError) as error:
            raise click.ClickException(str(error)) from error


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(ganlib.__version__)
def main():
    """Train generative adversarial networks and look at what they draw.

    `ganlib train digits --out runs/digits` needs no network and no GPU. Exit codes: 0 done,
    1 failed, 2 wrong usage, 130 interrupted (the run is saved).
    """


def _folder_option(name: str, help: str):
    kind = click.Path(file_okay=False, path_type=Path)
    return click.option(f"--{name}", type=kind, default=name, show_default=True, help=help)


def _check_devices(context, option, devices: str) -> str:
    if devices != "auto" and not devices.isdecimal():
        raise click.BadParameter(f"must be a number or auto, got {devices!r}")
    return devices


def _numbers(context, option, seeds: str) -> list[int]:
    numbers = seeds.split(",")
    if not all(number.strip().isdecimal() for number in numbers):
        raise click.BadParameter(f"must be numbers with commas between them, got {seeds!r}")
    return [int(number) for number in numbers]


def _device_options(command):
    """What decides where a command computes, and how."""
    for option in (
        click.option(
            "--cuda-graph", is_flag=True, help="On one GPU: launch the kernels of a move at once."
        ),
        click.option(
            "--precision",
            type=click.Choice(["32-true", "bf16-mixed"]),
            default="32-true",
            show_default=True,
            help="Of the arithmetic; the weights are float32 in both.",
        ),
        click.option(
            "--nodes", type=click.IntRange(1), default=1, show_default=True, help="Machines."
        ),
        click.option(
            "--devices",
            default="1",
            show_default=True,
            callback=_check_devices,
            help="How many a machine, or auto.",
        ),
        click.option(
            "--accelerator",
            default="auto",
            show_default=True,
            help="cpu, cuda, mps, or auto: the best there is.",
        ),
    ):
        command = option(command)
    return command


def _launch(accelerator: str, devices: str, nodes: int, precision: str) -> Fabric:
    """The processes that the options of `_device_options` ask for, started."""
    try:
        fabric = Fabric(
            accelerator=accelerator,
            devices=devices if devices == "auto" else int(devices),
            num_nodes=nodes,
            precision=precision,
        )
        fabric.launch()
    except RuntimeError as error:  # no such device here
        raise click.ClickException(str(error)) from error
    return fabric


@main.command("recipes")
def list_recipes():
    """List the recipes: what, on which data, how long."""
    for name, recipe in (RECIPES | RIVALS).items():
        click.echo(f"{name}\n  {recipe.summary}")
        click.echo(f"  data    {recipe.data}")
        click.echo(f"  length  {recipe.steps:,} steps ({recipe.length})")
        click.echo(f"  time    {recipe.time}")


@main.command()
@click.argument("recipe", type=click.Choice(list(RECIPES)))
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    required=True,
    help="Folder of the run. If it holds a checkpoint, the run goes on from there.",
)
@click.option(
    "--data",
    help="Another source: a name, a folder, a .npy file; for facades a folder of pairs, for colour "
    "one of photos.",
)
@click.option(
    "--direction",
    type=click.Choice(["AtoB", "BtoA"]),
    help="Which image of a folder's pairs becomes which; AtoB without it.",
)
@click.option(
    "--stream", is_flag=True, help="Decode a folder's images when they are needed, not at once."
)
@click.option("--steps", type=click.IntRange(1), help="Moves of G in all; the recipe's without.")
@click.option(
    "--batch-size", type=click.IntRange(1), help="Images of a minibatch; the recipe's without."
)
@click.option(
    "--seed",
    type=int,
    default=0,
    show_default=True,
    help="Of the first weights, the shuffles, the noise and the dropout.",
)
@click.option(
    "--log-every",
    type=click.IntRange(1),
    help="Steps between entries of the history; the recipe's without.",
)
@click.option(
    "--save-every",
    type=click.IntRange(1),
    default=1000,
    show_default=True,
    help="Steps between checkpoints.",
)
@_device_options
@click.option("--dry-run", is_flag=True, help="Print what would run, and stop.")
def train(
    recipe, out, data, direction, stream, steps, batch_size, seed, log_every, save_every,
    accelerator, devices, nodes, precision, cuda_graph, dry_run,
):  # fmt: skip
    """Train RECIPE into a folder; the same command resumes it.

    Writes checkpoint.pt (to go on from), generator.safetensors (to sample from), samples.png,
    curves.png and history.json. Ctrl-C saves the run first. Where images are turned into images,
    samples.png shows what becomes of some validation pairs, of training pairs if there are none.
    """
    chosen = RECIPES[recipe]
    if data is not None and data not in DATASETS and not Path(data).expanduser().exists():
        raise FileNotFoundError(f"data must be one of {', '.join(DATASETS)} or a path, got {data}")
    chosen.check_source(data, streamed=stream, direction=direction)
    options = chosen.training | {"save_every": save_every, "cuda_graph": cuda_graph}
    options |= {"batch_size": batch_size} if batch_size else {}
    options |= {"log_every": log_every} if log_every else {}
    if dry_run:
        plan = {
            "recipe": recipe,
            "data": data or chosen.data,
            "condition": chosen.condition,
            "direction": direction,
            "stream": stream,
            "generator": chosen.generator,
            "discriminator": chosen.discriminator,
            "optimizer": {"class": chosen.optimizer.__name__, **chosen.options},
            "schedule": chosen.schedule and chosen.schedule.__name__,
            "rate_D": chosen.rate_D,
            "max_norm": chosen.max_norm,
            "first": chosen.first and chosen.first.summary,
            "start_at_mean": chosen.start_at_mean,
            "steps": steps or chosen.steps,
            **{name: options.get(name, default) for name, default in SETTINGS.items()},
            "seed": seed,
            "accelerator": accelerator,
            "devices": devices,
            "nodes": nodes,
            "precision": precision,
            "cuda_graph": cuda_graph,
            "out": str(out),
            "goes_on_from_checkpoint": (out / CHECKPOINT).exists(),
        }
        click.echo(json.dumps(plan, indent=2))
        return
    fabric = _launch(accelerator, devices, nodes, precision)
    with _interruptible(out):
        source = chosen.open(data, streamed=stream, direction=direction)
        shown, title = source, "training pairs"
        if chosen.condition == "inputs":
            with suppress(MissingSplit):
                shown = chosen.open(data, "validation", streamed=stream, direction=direction)
                title = "validation pairs"
        game = chosen.run(data=source, steps=steps, seed=seed, out=out, fabric=fabric, **options)
    if fabric.is_global_zero:
        if chosen.condition == "inputs":
            sheet = draw_pairs(game.generator, shown, title)
        else:
            sheet = plotting.grid(ganlib.sample(game.generator, 64), _columns(game.generator))
        plotting.save(sheet, out / "samples.png")
        curves = plotting.history(game.history, reference=0.5)
        plotting.save(curves, out / "curves.png")
        (out / "history.json").write_text(json.dumps(game.history, indent=1) + "\n")
        click.echo(
            f"{out}: step {game.step:,}, D(x) {game.history['D(x)'][-1]:.2f}, "
            f"D(G(z)) {game.history['D(G(z))'][-1]:.2f}. "
            f"Look at {out / 'samples.png'} and {out / 'curves.png'}."
        )


@main.command()
@click.argument("recipe", type=click.Choice([*RECIPES, *RIVALS, TABLE]))
@click.option("--data", help="Other data with the same splits: a name or a path.")
@click.option(
    "--seeds", default="0,1,2", show_default=True, callback=_numbers, help="One run each."
)
@_folder_option("runs", "Folder of the runs; what is there goes on.")
@_folder_option("results", "Folder of what was measured.")
@_device_options
@click.option("--quick", is_flag=True, help="See that all works, on embedded data.")
def reproduce(
    recipe, data, seeds, runs, results, accelerator, devices, nodes, precision, cuda_graph, quick
):  # fmt: skip
    """Run RECIPE with several seeds, score it, and write down how.

    The score is the Parzen log-likelihood by the 2014 paper's protocol; where images are turned
    into images, L1 on the test pairs. "table1" runs all that the paper's Table 1 compares, and
    scores it by one protocol.

    Writes RESULTS/RECIPE/metrics.json and pictures; other --data have a folder of their own beside
    it. Ctrl-C saves the run; the same command goes on. Seeds may run side by side, one a process; a
    last call with all of them collects.
    """
    if recipe == TABLE and data is not None:
        raise ValueError(f"data must be left out for {TABLE}, got {data!r}")
    fabric = _launch(accelerator, devices, nodes, precision)
    run = reproduce_table if recipe == TABLE else partial(reproduce_recipe, recipe, data=data)
    with _interruptible(runs):
        report = run(
            seeds=seeds,
            runs=runs,
            results=results,
            fabric=fabric,
            cuda_graph=cuda_graph,
            quick=quick,
        )
    if fabric.is_global_zero and recipe == TABLE:
        click.echo("\n".join(lines(report)))
    elif fabric.is_global_zero:
        score = report["score"]
        of = ",".join(map(str, seeds))
        click.echo(f"{recipe}: {score['mean']:.4g} {score['unit']}, mean over seeds {of}")


@main.command()
@click.argument("run", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--data", required=True, help="What it was trained on, with all three splits.")
@click.option("-n", type=click.IntRange(1), default=10_000, show_default=True, help="Samples.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of the noise.")
def evaluate(run, data, n, seed):
    """Score the generator in the folder RUN: its Parzen log-likelihood by the paper's protocol."""
    G = _generator(run)
    _refuse_images(G)
    validation, test = (load(data, split).images for split in ("validation", "test"))
    images = ganlib.sample(G, n, seed=seed)
    for name, sigmas in {"paper": parzen.PAPER_SIGMAS, "fine": parzen.FINE_SIGMAS}.items():
        click.echo(f"{name:6}{parzen.score(images, validation, test, sigmas)}")


def _run_argument(command):
    folder = click.Path(exists=True, file_okay=False, path_type=Path)
    return click.argument("run", type=folder)(command)


def _class_option(command):
    return click.option(
        "--class",
        "number",
        type=click.IntRange(0),
        help="Draw this class only, by its number; without it each in its turn.",
    )(command)


def _out_option(default: str):
    return click.option(
        "--out",
        type=click.Path(dir_okay=False, path_type=Path),
        help=f".png for a picture, .npy for the numbers in [0, 1].  [default: RUN/{default}]",
    )


@main.command()
@_run_argument
@click.option(
    "-n", type=click.IntRange(1), default=64, show_default=True, help="How many, or of how many."
)
@click.option("--seed", type=int, default=0, show_default=True, help="Of the noise and dropout.")
@_class_option
@click.option(
    "--inputs",
    help="Images to turn into others: an image file, a folder of them, or the name of a set of "
    "pairs, whose test inputs are taken.",
)
@click.option("--no-dropout", is_flag=True, help="Turn an image into the same one each time.")
@click.option(
    "--running-statistics",
    is_flag=True,
    help="Normalise by what was seen in training, not by the image at hand.",
)
@_out_option("samples.png")
def sample(run, n, seed, number, inputs, no_dropout, running_statistics, out):
    """Draw samples from the generator in the folder RUN, or turn the --inputs into images."""
    G = _generator(run)
    y = _only(G, number, n)
    if _takes_images(G):
        if inputs is None:
            raise ValueError(f"inputs must be given: a {type(G).__name__} turns images into images")
        G.dropout_at_test &= not no_dropout  # where the recipe left them on
        G.batch_statistics_at_test &= not running_statistics
        y = _inputs(inputs, G, n)
        n = len(y)
    elif inputs is not None or no_dropout or running_statistics:
        raise ValueError(
            "inputs, no-dropout and running-statistics must be left out: a "
            f"{type(G).__name__} takes no images"
        )
    images = ganlib.sample(G, n, y, seed=seed)
    columns = _columns(G) if number is None else None
    _deliver(images, lambda: plotting.grid(images, columns), out or run / "samples.png")


@main.command()
@_run_argument
@click.option("--rows", type=click.IntRange(1), default=6, show_default=True, help="Walks.")
@click.option("--steps", type=click.IntRange(2), default=9, show_default=True, help="Images each.")
@click.option("--spherical", is_flag=True, help="Walk along arcs instead of straight lines.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of the noise.")
@_class_option
@_out_option("interpolation.png")
def interpolate(run, rows, steps, spherical, seed, number, out):
    """Walk through z between pairs of random points, with the generator in the folder RUN."""
    G = _generator(run)
    _refuse_images(G)
    z0, z1 = G.noise(2 * rows, seed=seed).chunk(2)
    y = _only(G, number, rows)
    images = ganlib.interpolate(G, z0, z1, steps, y, spherical=spherical)
    _deliver(images, lambda: plotting.strip(images), out or run / "interpolation.png")


@contextmanager
def _interruptible(folder: Path) -> Iterator[None]:
    """Ends the command after Ctrl-C, and says what to do next."""
    try:
        yield
    except KeyboardInterrupt as interrupt:
        click.echo(
            f"Interrupted ({interrupt or 'at once'}); the same command goes on from what is saved "
            f"in {folder}.",
            err=True,
        )
        sys.exit(INTERRUPTED)


def _generator(run: Path) -> torch.nn.Module:
    if not (run / GENERATOR).exists():
        raise click.ClickException(f"{run} holds no {GENERATOR}: train into it first")
    return ganlib.load_network(run / GENERATOR)


def _only(G: torch.nn.Module, number: int | None, n: int) -> torch.Tensor | None:
    """The same class n times, or None where none was asked for."""
    if number is None:
        return None
    if not hasattr(G, "classes"):
        raise ValueError(f"class must be left out: a {type(G).__name__} draws no classes")
    if number >= G.classes:
        raise ValueError(f"class must be from 0 to {G.classes - 1}, got {number}")
    return torch.full((n,), number)


def _takes_images(G: torch.nn.Module) -> bool:
    return "inputs" in G.config


def _refuse_images(G: torch.nn.Module) -> None:
    if _takes_images(G):
        raise ValueError(
            f"run must hold a generator of noise alone or of classes, got a {type(G).__name__}, "
            "which turns images into images: ganlib sample RUN --inputs ..."
        )


def _inputs(source: str, G: torch.nn.Module, n: int) -> torch.Tensor:
    """At most n images of the source, in grey where G takes grey ones."""
    if source == "colour":
        found = colour_pairs(split="test", size=G.config["shape"][-1]).inputs
    elif source in DATASETS:
        found = load(source, "test").inputs
        if found is None:
            raise ValueError(f"inputs must be images of pairs, got {source}, which has none")
    else:
        path = Path(source).expanduser()
        found = ganlib.stream(path).images if path.is_dir() else ImageFiles([path])
        if path.is_dir() and Path(found.files[0]).parent != path:  # as pairs and classes lie
            raise ValueError(f"inputs must be a folder of images, got {source}, of further folders")
    shape = (G.config["inputs"], *G.config["shape"][1:])
    images = found[:n]
    if shape[0] == 1 and images.shape[1] == 3:
        images = to_grey(images)
    if images.shape[1:] != shape:
        raise ValueError(
            f"inputs must have the shape of those in training, {shape}, got "
            f"{tuple(images.shape[1:])} from {source}"
        )
    return images


def _columns(G: torch.nn.Module) -> int | None:
    """One for each class where G draws them in turn; as many as make a square where it does not."""
    return getattr(G, "classes", None)


def _deliver(images: torch.Tensor, draw, out: Path) -> None:
    if out.suffix == ".npy":
        np.save(out, images.numpy())
    else:
        plotting.save(draw(), out)
    click.echo(out)
