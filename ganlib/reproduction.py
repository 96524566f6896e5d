"""The full run of a recipe: train with several seeds, sample, score, draw, and write down how.

What a run needs to go on lies in `runs/<recipe>/seed-<n>/`; what it measured goes to
`results/<recipe>/`: metrics.json with the provenance of each number, and pictures.
"""

import hashlib
import json
import os
import platform
import statistics
import time
from collections.abc import Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from ganlib import metrics, parzen, plotting
from ganlib.data import Data, load, to_float
from ganlib.networks import Classifier, load_network, save_network
from ganlib.recipes import RECIPES, Recipe
from ganlib.sampling import generate, in_turn, interpolate, nearest, sample
from ganlib.training import CHECKPOINT, GENERATOR, Game, write_whole

__all__ = ["judge_of", "measure", "provenance", "reproduce", "write_json"]

SAMPLES = 10_000  # of the paper's protocol
DRAWS = 3  # sets of samples: what another draw changes is part of a score's uncertainty
CURVE = 20  # scores while training
QUICK = {"data": "digits", "steps": 300}  # the same way from end to end, in seconds


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
    seeds: Sequence[int] = (0, 1, 2),
    runs: str | os.PathLike = "runs",
    results: str | os.PathLike = "results",
    fabric: Fabric | None = None,
    quick: bool = False,
) -> dict:
    """Run a recipe with several seeds and write `results/<name>/`.

    A seed's run that was stopped goes on from its last checkpoint; one that is done is not played
    again. So seeds may run side by side, one a process, and a last call with all of them collects.

    The score is the Parzen log-likelihood under the paper's protocol (see `ganlib.parzen`), with
    10,000 samples of the averaged generator where there is one, and of the raw one too. Precision
    and recall compare 10,000 samples with the test images, in pixels and in the features of a
    classifier of real images.

    A generator of classes draws each in its turn, equally many. The classifier then also tells the
    share of each class in which it sees the class that was asked for.

    Args:
        name: A recipe whose data have a validation and a test split.
        seeds: One run each.
        runs: Folder of the runs, with their checkpoints.
        results: Folder of the results.
        fabric: Devices, precision and processes, launched; one CPU or GPU without it.
        quick: Play 300 steps of the same networks on the embedded digits instead, to see that all
            works; the results go to `<name>-quick`.

    Returns:
        What metrics.json holds.

    Raises:
        ValueError: There is no such recipe, or no seed; as `ganlib.train`.
        FileNotFoundError: The data are not at hand.
        FloatingPointError, KeyboardInterrupt: As `ganlib.train`.
    """
    if name not in RECIPES:
        raise ValueError(f"name must be one of {', '.join(RECIPES)}, got {name!r}")
    if not seeds:
        raise ValueError("seeds must hold at least one seed, got none")
    recipe, label = RECIPES[name], name
    if quick:
        recipe, label = replace(recipe, **QUICK), f"{name}-quick"
    fabric = fabric or Fabric(devices=1)
    splits = {}
    for split in ("train", "validation", "test"):
        data = load(recipe.data, split)
        labels = None if data.labels is None else fabric.to_device(data.labels)
        splits[split] = replace(data, images=fabric.to_device(data.images), labels=labels)
    runs, results = Path(runs) / label, Path(results) / label
    folders = {seed: runs / f"seed-{seed}" for seed in seeds}
    played = {seed: _play(recipe, seed, folders[seed], splits, fabric) for seed in seeds}
    if not fabric.is_global_zero:  # from here on nothing waits for another process
        return {}
    judge = judge_of(splits, runs / "classifier.safetensors")
    found = {}
    for seed, (game, progress) in played.items():
        found[str(seed)] = progress | _measured(game, folders[seed], splits, judge)
    game, progress = played[seeds[0]]
    _draw(game, progress["curve"], splits["train"], judge, results)
    best = "raw" if game.averaged is None else "averaged"
    scores = [its[best]["score"]["mean"] for its in found.values()]
    report = {
        "recipe": name,
        "summary": recipe.summary,
        "command": _command(name, seeds, quick, fabric),
        "score": {
            "of": f"the {best} generator",
            "mean": round(statistics.mean(scores), 2),
            "standard deviation over seeds": round(statistics.stdev(scores), 2)
            if len(scores) > 1
            else None,
        },
        "seeds": found,
        "reference": _reference(splits, judge, runs / "reference.json"),
        "data": recipe.data,
        "steps": recipe.steps,
    }
    write_json(results / "metrics.json", report)
    return report


def _play(
    recipe: Recipe, seed: int, folder: Path, splits: dict[str, Data], fabric: Fabric
) -> tuple[Game, dict]:
    """The game at its end, and what was noted on the way: where, how long, and the scores."""
    path = folder / "progress.json"
    progress = {
        "seconds": 0.0,  # without the scoring
        "processes": fabric.world_size,
        "precision": fabric.strategy.precision.precision,
        **provenance(fabric.device),
        "curve": {},
    }
    if (folder / CHECKPOINT).exists() and path.exists():
        progress = json.loads(path.read_text("utf-8"))
    validation = splits["validation"].images
    started = time.perf_counter()

    def note_time() -> None:
        nonlocal started
        progress["seconds"] += time.perf_counter() - started
        if fabric.is_global_zero:
            write_json(path, progress)
        started = time.perf_counter()

    def watch(game: Game) -> None:
        nonlocal started
        due = game.step % every == 0 or game.step == recipe.steps
        if due and fabric.is_global_zero:
            note_time()
            scores = {which: _quick_score(G, validation) for which, G in _players(game).items()}
            progress["curve"][str(game.step)] = {which: round(s, 2) for which, s in scores.items()}
            started = time.perf_counter()

    log_every = recipe.training.get("log_every", 50)
    every = max(1, recipe.steps // CURVE // log_every) * log_every
    options = {"seed": seed, "fabric": fabric, "on_log": watch, "save_every": every}
    finished = path.exists() and str(recipe.steps) in progress["curve"]
    try:
        game = recipe.run(data=splits["train"], out=folder, **options)
    finally:
        if not finished:
            note_time()
    return game, progress


def _players(game: Game) -> dict[str, nn.Module]:
    """The generators to look at: the averaged one, if there is one, and the raw one."""
    averaged = {} if game.averaged is None else {"averaged": game.averaged}
    return averaged | {"raw": game.G}


def _quick_score(G: nn.Module, validation: Tensor) -> float:
    """Log-likelihood of validation images that did not choose σ, at most 1,000 of them."""
    half = min(1000, len(validation) // 2)
    chosen, scored = validation[:half], validation[half : 2 * half]
    return parzen.score(_samples(G, 0, SAMPLES), chosen, scored).mean


def _samples(G: nn.Module, seed: int, n: int) -> Tensor:
    return sample(G, n, seed=seed).clamp(0, 1)


def _measured(game: Game, folder: Path, splits: dict[str, Data], judge: Classifier | None) -> dict:
    """The final numbers of one run, measured unless these weights were measured before."""
    path = folder / "measured.json"
    sha256 = hashlib.sha256((folder / GENERATOR).read_bytes()).hexdigest()
    if path.exists():
        before = json.loads(path.read_text("utf-8"))
        if before["sha256"] == sha256:
            return before
    measured = _measure(game, splits, judge) | {"sha256": sha256}
    write_json(path, measured)
    return measured


def _measure(game: Game, splits: dict[str, Data], judge: Classifier | None) -> dict:
    """The final numbers of one run."""
    sets = {
        which: [_samples(G, seed, SAMPLES) for seed in range(DRAWS)]
        for which, G in _players(game).items()
    }
    # Averaged weights draw smoother images. Is that all? The raw ones, smoothed, tell.
    sets["raw, blurred"] = [_softened(images) for images in sets["raw"]]
    measured = {}
    for which, draws in sets.items():
        others = [_score(images, splits, parzen.PAPER_SIGMAS)["mean"] for images in draws[1:]]
        measured[which] = measure(draws[0], splits, judge) | {"other draws": others}
        if judge is not None and hasattr(game.G, "classes"):
            measured[which]["agreement"] = _agreement(draws[0], splits["test"].classes, judge)
    return measured


def measure(images: Tensor, splits: dict[str, Data], judge: Classifier | None) -> dict:
    """What there is to say of a set of images, beside held-out ones.

    Args:
        images: (N, C, H, W) in [0, 1].
        splits: The data, with their "validation" and "test".
        judge: A classifier of real images, as `judge_of` trains it; None for no features.

    Returns:
        Plain values for a report: "centres", N; "score" and "fine", with the paper's widths and
        with a finer grid of them, in nats; precision and recall in "pixels" and in "features",
        against as many test images; "sharpness", as a ratio to theirs.
    """
    found = {
        "centres": len(images),
        "score": _score(images, splits, parzen.PAPER_SIGMAS),
        "fine": _score(images, splits, parzen.FINE_SIGMAS),
    }
    test = splits["test"].images
    n = min(len(images), len(test))
    images, test = images[:n], to_float(test[:n])
    shares = {"pixels": metrics.precision_recall(test, images)}
    if judge is not None:
        seen = [metrics.features(judge, some) for some in (test, images)]
        shares["features"] = metrics.precision_recall(*seen)
    for space, (precision, recall) in shares.items():
        found[space] = {"precision": round(precision, 4), "recall": round(recall, 4)}
    ratio = metrics.sharpness(images).mean() / metrics.sharpness(test).mean()
    return found | {"sharpness": round(ratio.item(), 3)}


def _score(images: Tensor, splits: dict[str, Data], sigmas: Sequence[float]) -> dict:
    score = parzen.score(images, splits["validation"].images, splits["test"].images, sigmas)
    return {
        "mean": round(score.mean, 2),
        "standard error": round(score.error, 2),
        "sigma": round(score.sigma, 4),
    }


def _agreement(images: Tensor, names: Sequence[str], judge: Classifier) -> dict:
    """How often the classifier sees the class that was asked for, of classes drawn in turn."""
    asked = in_turn(len(images), len(names))
    obeyed = (metrics.classes(judge, images) == asked).double()
    shares = [obeyed[asked == number].mean().item() for number in range(len(names))]
    return {
        "mean": round(statistics.mean(shares), 4),
        "least": round(min(shares), 4),
        "of each class": {name: round(share, 4) for name, share in zip(names, shares, strict=True)},
    }


def judge_of(splits: dict[str, Data], path: Path) -> Classifier | None:
    """A classifier of the real images, or None where they have no classes that one can tell.

    Args:
        splits: The data, with their "train" and "validation".
        path: Where it is, or will be once it is trained.
    """
    train, validation = splits["train"], splits["validation"]
    if train.labels is None:
        return None
    if not path.exists():
        epochs = max(2, 40_000 // len(train))
        classifier = metrics.train_classifier(train.images, train.labels, epochs=epochs)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, lambda part: save_network(classifier, part))
    classifier = load_network(path)
    sees = metrics.accuracy(classifier, validation.images, validation.labels)
    return classifier if sees >= 0.9 else None


def _reference(splits: dict[str, Data], judge: Classifier | None, path: Path) -> dict:
    """The same numbers for real training images, and for the same ones blurred."""
    if not path.exists():
        rng = torch.Generator().manual_seed(0)
        images = to_float(splits["train"].images)
        images = images[torch.randperm(len(images), generator=rng)[:SAMPLES]]
        rows = {"training images": images, "the same, blurred by a 3×3 box": _blurred(images)}
        found = {row: measure(shown, splits, judge) for row, shown in rows.items()}
        if judge is not None:
            test = splits["test"]
            found["classifier's accuracy on test images"] = round(
                metrics.accuracy(judge, test.images, test.labels), 4
            )
        write_json(path, found)
    return json.loads(path.read_text("utf-8"))


def _softened(images: Tensor) -> Tensor:
    """Blurred a little: each pixel keeps 0.7² of itself, and its neighbours get the rest."""
    row = torch.tensor([0.15, 0.7, 0.15])
    kernel = torch.outer(row, row).expand(images.shape[1], 1, 3, 3)
    return nn.functional.conv2d(images, kernel, padding=1, groups=images.shape[1]).clamp(0, 1)


def _blurred(images: Tensor) -> Tensor:
    return nn.functional.avg_pool2d(images, 3, stride=1, padding=1).clamp(0, 1)


def _draw(game: Game, curve: dict, train: Data, judge: Classifier | None, folder: Path) -> None:
    """Samples as they come, their nearest training images, walks through z, and the curves."""
    G = game.generator
    folder.mkdir(parents=True, exist_ok=True)
    if hasattr(G, "classes"):
        shown = _draw_classes(G, train.classes, folder)
    else:
        shown = _samples(G, 0, 100)
        plotting.save(plotting.grid(shown, 10), folder / "samples.png")
        walk = _walk(G, judge)
        plotting.save(plotting.strip(walk), folder / "interpolation.png")
    _, places = nearest(shown[:10], train.images)
    pairs = torch.cat([shown[:10], to_float(train.images[places[:, 0]]).cpu()])
    rows = ["sample", "nearest"]
    plotting.save(plotting.grid(pairs, 10, rows), folder / "neighbours.png")
    if curve:  # none where the run was trained by another command
        steps = [int(step) for step in curve]
        lines = {name: [entry[name] for entry in curve.values()] for name in curve[str(steps[0])]}
        plotting.save(plotting.lines(steps, lines, "step", "nats"), folder / "scores.png")
    plotting.save(plotting.history(game.history, reference=0.5), folder / "curves.png")


def _draw_classes(G: nn.Module, names: Sequence[str], folder: Path) -> Tensor:
    """A row of each class, one z through all classes, and a walk within each; some samples."""
    n = len(names)
    shown = _samples(G, 0, 10 * n)
    rows = shown.unflatten(0, (10, n)).transpose(0, 1).flatten(0, 1)
    plotting.save(plotting.grid(rows, 10, names), folder / "samples.png")
    z = G.noise(6, seed=0)
    of_each = generate(G, z.repeat_interleave(n, 0), in_turn(6 * n, n))
    plotting.save(plotting.grid(of_each, n), folder / "classes.png")
    walks = interpolate(G, z[:1].expand(n, -1), z[1:2].expand(n, -1), 10)
    plotting.save(plotting.strip(walks, names), folder / "interpolation.png")
    return shown


def _walk(G: nn.Module, judge: Classifier | None) -> Tensor:
    """From a 1 to a 5, as in the paper, where a classifier can tell them."""
    z = G.noise(2000, seed=0)
    ends = [0, 1]
    if judge is not None:
        seen = metrics.classes(judge, sample(G, len(z), seed=0))
        drawn = [(seen == digit).nonzero().flatten() for digit in (1, 5)]
        ends = [int(places[0]) if len(places) else end for places, end in zip(drawn, ends)]
    return interpolate(G, z[ends[0]], z[ends[1]], 10)


def _command(name: str, seeds: Sequence[int], quick: bool, fabric: Fabric) -> str:
    precision = fabric.strategy.precision.precision
    options = f"--seeds {','.join(map(str, seeds))}"
    options += f" --precision {precision}" * (precision != "32-true") + " --quick" * quick
    return f"ganlib reproduce {name} {options}"


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
    """Write a report, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(content, indent=1, ensure_ascii=False) + "\n"
    write_whole(path, lambda part: part.write_text(text, "utf-8"))
