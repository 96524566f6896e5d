"""The full run of a recipe: train with several seeds, sample, score, draw, and write down how.

What a run needs to go on lies in `runs/<recipe>/seed-<n>/`; what it measured goes to
`results/<recipe>/`: metrics.json with the provenance of each number, and pictures. Other data than
the recipe's have folders of their own.
"""

import hashlib
import json
import math
import os
import platform
import shlex
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import torch
from lightning_fabric import Fabric
from torch import Tensor

from ganlib import plotting
from ganlib.checkpoints import CHECKPOINT, GENERATOR, fingerprint, write_whole
from ganlib.data import SPLITS, Data
from ganlib.protocols import Chains, Likelihood, Pairs, models
from ganlib.recipes import RECIPES, Recipe
from ganlib.rivals import Course
from ganlib.rivals.recipes import RIVALS, RivalRecipe
from ganlib.training import Game

__all__ = ["command", "kept", "provenance", "reproduce", "write_json"]

CURVE = 20  # scores while training
QUICK = {"data": "digits", "steps": 300}  # the same way from end to end, in seconds
QUICK_PAIRS = {"data": "colour", "steps": 20}
Protocol = Likelihood | Pairs  # and Chains, which is a Likelihood


def provenance(device: str | torch.device = "cpu") -> dict:
    """Versions and hardware, for whoever wants to compare a number."""
    packages = ("ganlib", "torch", "numpy", "lightning-fabric")
    return {
        "versions": {"python": platform.python_version()} | {p: version(p) for p in packages},
        "hardware": _processor(torch.device(device)),
        "threads": torch.get_num_threads(),
    }


def reproduce(
    name: str,
    *,
    data: str | os.PathLike | None = None,
    seeds: Sequence[int] = (0, 1, 2),
    runs: str | os.PathLike = "runs",
    results: str | os.PathLike = "results",
    fabric: Fabric | None = None,
    cuda_graph: bool = False,
    quick: bool = False,
) -> dict:
    """Run a recipe with several seeds and write `results/<name>/`.

    A seed's run that was stopped goes on from its last checkpoint; one that is done is not played
    again. So seeds may run side by side, one a process, and a last call with all of them collects.

    Image-to-image recipes are judged by `ganlib.protocols.Pairs`, the rivals by
    `ganlib.protocols.Chains`, all others by `ganlib.protocols.Likelihood`; the score is that of the
    averaged generator, if there is one.

    Args:
        name: A recipe whose data have a validation and a test split.
        data: Other data, by name or by path, for `Recipe.open`; they need the same splits. Their
            runs and results go to ``<name>-<data>-<checksum>``.
        seeds: One run each.
        runs: Folder of the runs, with their checkpoints.
        results: Folder of the results.
        fabric: Devices, precision and processes, launched; one CPU or GPU without it.
        cuda_graph: As for `ganlib.train`.
        quick: Play 300 steps of the same networks on the embedded digits instead, or 20 on the
            embedded photos, to see that all works; rivals get narrower layers. The results go to
            `<name>-quick`.

    Returns:
        What metrics.json holds.

    Raises:
        ValueError: There is no such recipe, or no seed; `data` are given and `quick` has its own; a
            rival has no CUDA graph; as `Recipe.open` and `ganlib.train`.
        FileNotFoundError: The data are not at hand.
        FloatingPointError, KeyboardInterrupt: As `ganlib.train`.
    """
    recipes = RECIPES | RIVALS
    if name not in recipes:
        raise ValueError(f"name must be one of {', '.join(recipes)}, got {name!r}")
    if not seeds:
        raise ValueError("seeds must hold at least one seed, got none")
    if quick and data is not None:
        raise ValueError(f"data must be left out when quick, got {str(data)!r}")
    recipe = recipes[name]
    if cuda_graph and isinstance(recipe, RivalRecipe):
        raise ValueError(f"cuda_graph must be False for {name}, which plays no game")
    if quick:
        recipe = _quick(recipe)
    fabric = fabric or Fabric(devices=1)
    splits = {split: _moved(recipe.open(data, split), fabric) for split in SPLITS}
    label = name + "-quick" * quick
    if data is not None and data != recipe.data:
        label += f"-{Path(data).resolve().stem}-{_checksum(splits)}"
    runs, results = Path(runs) / label, Path(results) / label
    protocol = _protocol(recipe, splits, runs)
    folders = {seed: runs / f"seed-{seed}" for seed in seeds}
    played = {
        seed: _play(recipe, seed, folders[seed], splits["train"], protocol, fabric, cuda_graph)
        for seed in seeds
    }
    if not fabric.is_global_zero:  # from here on nothing waits for another process
        return {}
    found = {}
    for seed, (game, progress) in played.items():
        found[str(seed)] = progress | _measured(game, folders[seed], protocol)
    game, progress = played[seeds[0]]
    results.mkdir(parents=True, exist_ok=True)
    protocol.draw(game, results)
    _draw_course(game, progress["curve"], protocol.unit, results)
    best, of = _scored(recipe, game)
    scores = [its[best]["score"]["mean"] for its in found.values()]
    reference = kept(runs / "reference.json", protocol, {}, protocol.reference)
    report = {
        "recipe": name,
        "summary": recipe.summary,
        "command": command(name, data, seeds, cuda_graph, quick, fabric),
        "score": {
            "of": of,
            "unit": protocol.unit,
            "mean": _digits(statistics.mean(scores)),
            "standard deviation over seeds": _digits(statistics.stdev(scores))
            if len(scores) > 1
            else None,
        },
        "seeds": found,
        "reference": reference,
        "data": recipe.data if data is None else str(data),
        "steps": recipe.steps,
    }
    write_json(results / "metrics.json", report)
    return report


def _quick(recipe: Recipe | RivalRecipe) -> Recipe | RivalRecipe:
    if isinstance(recipe, RivalRecipe):
        return recipe.quick()
    changes = QUICK_PAIRS if recipe.condition == "inputs" else QUICK
    first = recipe.first and replace(recipe.first, **changes)
    return replace(recipe, first=first, **changes)


def _protocol(recipe: Recipe | RivalRecipe, splits: dict[str, Data], folder: Path) -> Protocol:
    if isinstance(recipe, RivalRecipe):
        return Chains(splits, folder, recipe.choices, recipe.sigma)
    return (Pairs if recipe.condition == "inputs" else Likelihood)(splits, folder)


def _scored(recipe: Recipe | RivalRecipe, game: Game | Course) -> tuple[str, str]:
    """Which of the things measured gives the score, by its name in the report and in words."""
    if isinstance(recipe, RivalRecipe) and recipe.all_images:
        return "one chain", "one chain, by the model's own protocol"
    best = next(iter(models(game)))
    return best, "the means of 100 chains" if best == "chains" else f"the {best} generator"


def _tensors(data: Data) -> dict[str, Tensor]:
    tensors = {"images": data.images, "labels": data.labels, "inputs": data.inputs}
    return {name: tensor for name, tensor in tensors.items() if tensor is not None}


def _moved(data: Data, fabric: Fabric) -> Data:
    """The same data on the device."""
    return replace(data, **{n: fabric.to_device(its) for n, its in _tensors(data).items()})


def _checksum(splits: dict[str, Data]) -> str:
    """Eight digits that tell these data from others."""
    prints = [fingerprint(its) for data in splits.values() for its in _tensors(data).values()]
    return hashlib.sha256("".join(prints).encode()).hexdigest()[:8]


def _play(
    recipe: Recipe | RivalRecipe,
    seed: int,
    folder: Path,
    data: Data,
    protocol: Protocol,
    fabric: Fabric,
    cuda_graph: bool,
) -> tuple[Game | Course, dict]:
    """The game at its end, and what was noted on the way: where, how long, and the scores."""
    path = folder / "progress.json"
    here = {
        "processes": fabric.world_size,
        "precision": fabric.strategy.precision.precision,
        **provenance(fabric.device),
    }
    progress = {"seconds": 0.0, **here, "curve": {}}  # seconds without the scoring
    if (folder / CHECKPOINT).exists() and path.exists():
        progress = json.loads(path.read_text("utf-8"))
    finished = path.exists() and str(recipe.steps) in progress["curve"]
    latest = (progress.get("continued on") or [progress])[-1]
    if not finished and any(latest.get(name) != here[name] for name in here):
        progress.setdefault("continued on", []).append(here)
    started = time.perf_counter()

    def note_time() -> None:
        nonlocal started
        progress["seconds"] += time.perf_counter() - started
        if fabric.is_global_zero:
            write_json(path, progress)
        started = time.perf_counter()

    def watch(game: Game | Course) -> None:
        nonlocal started
        due = game.step % every == 0 or game.step == recipe.steps
        if due and fabric.is_global_zero:
            note_time()
            progress["curve"][str(game.step)] = {
                which: _digits(protocol.watch(G)) for which, G in models(game).items()
            }
            started = time.perf_counter()

    log_every = recipe.training.get("log_every", 50)
    every = max(1, recipe.steps // CURVE // log_every) * log_every
    options = {"seed": seed, "fabric": fabric, "on_log": watch, "save_every": every}
    options |= {"cuda_graph": True} if cuda_graph else {}
    try:
        game = recipe.run(data=data, out=folder, **options)
    finally:
        if not finished:
            note_time()
    return game, progress


def _measured(game: Game | Course, folder: Path, protocol: Protocol) -> dict:
    """The final numbers of one run, measured unless these weights were measured before."""
    sha256 = hashlib.sha256((folder / GENERATOR).read_bytes()).hexdigest()
    path = folder / "measured.json"
    return kept(path, protocol, {"sha256": sha256}, lambda: protocol.measure(game))


def kept(path: Path, protocol: Protocol, key: dict, measure: Callable[[], dict]) -> dict:
    """What was measured before by this version of the protocol and for this key, or is now.

    The first versions did not write down which they were.
    """
    if path.exists():
        before = json.loads(path.read_text("utf-8"))
        version = before.pop("protocol", 1)
        if version == protocol.version and before.items() >= key.items():
            return before
    measured = measure() | key
    write_json(path, measured | {"protocol": protocol.version})
    return measured


def _draw_course(game: Game | Course, curve: dict, unit: str, folder: Path) -> None:
    """The scores and the losses over the steps."""
    if curve:  # none where the run was trained by another command
        steps = [int(step) for step in curve]
        lines = {name: [entry[name] for entry in curve.values()] for name in curve[str(steps[0])]}
        plotting.save(plotting.lines(steps, lines, "step", unit), folder / "scores.png")
    if isinstance(game, Course):
        losses = plotting.history(game.history, ("loss",), "nats")
    else:
        losses = plotting.history(game.history, reference=0.5)
    plotting.save(losses, folder / "curves.png")


def _digits(number: float) -> float:
    """Four significant digits, and never fewer than two after the point."""
    return round(number, max(2, 3 - math.floor(math.log10(abs(number) or 1))))


def command(
    name: str,
    data: str | os.PathLike | None,
    seeds: Sequence[int],
    cuda_graph: bool,
    quick: bool,
    fabric: Fabric,
) -> str:
    """The command line that does the same again."""
    precision = fabric.strategy.precision.precision
    source = [] if data is None else ["--data", str(data)]
    chosen = ["--seeds", ",".join(map(str, seeds))]
    if fabric.world_size > 1:
        nodes = fabric.strategy.num_nodes
        chosen += ["--devices", str(fabric.world_size // nodes)]
        chosen += ["--nodes", str(nodes)] if nodes > 1 else []
    chosen += ["--precision", precision] if precision != "32-true" else []
    flags = ["--cuda-graph"] * cuda_graph + ["--quick"] * quick
    return shlex.join(["ganlib", "reproduce", name, *source, *chosen, *flags])


def _processor(device: torch.device) -> str:
    """The chip's name, where the system tells."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        name = next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        name = platform.processor() or platform.machine()
    return f"{name}, {os.cpu_count()} cores"


def write_json(path: Path, content: dict) -> None:
    """Write a report, whole or not at all.

    Raises:
        ValueError: A number in it is not finite: JSON has no word for that.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    write_whole(path, lambda part: part.write_text(text, "utf-8"))
