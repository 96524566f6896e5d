"""Table 1 of Goodfellow et al. (2014) under one protocol, with rows that show what it measures.

The published rows differ in their training images, their Parzen windows and their estimators'
noise. Here all models see the same images, and validation images choose whatever is to be chosen.
Real images, blurred ones, their mean and their k-means centroids, which nobody would call models,
say what a score is worth.
"""

import os
from collections.abc import Sequence
from pathlib import Path

import torch
from lightning_fabric import Fabric
from torch import Tensor

from ganlib import plotting, protocols, rivals
from ganlib.checkpoints import GENERATOR
from ganlib.data import SPLITS, load, to_float
from ganlib.networks import load_network
from ganlib.protocols import Likelihood
from ganlib.reproduction import command, kept, reproduce, write_json
from ganlib.rivals.recipes import RIVALS
from ganlib.sampling import sample

__all__ = ["LONG", "ROWS", "TABLE", "centroids", "lines", "reproduce_table"]

#: The name by which `ganlib reproduce` knows the table.
TABLE = "table1"
#: By recipe: the paper's name of the row, and the published mean and standard error in nats.
ROWS = {
    "dbn": ("DBN", (138, 2)),
    "cae": ("Stacked CAE", (121, 1.6)),
    "gsn": ("Deep GSN", (214, 1.1)),
    "mnist": ("Adversarial nets", (225, 2)),
    "mnist-225": ("Adversarial nets, averaged", None),
    "cgan-mnist": ("Conditional adversarial nets", (132, 1.8)),  # Mirza & Osindero (2014)
}
#: The recipes whose chains take an hour a seed: only the first one is run.
LONG = ("gsn",)
SHOWN = 10  # samples of each row in the picture


def reproduce_table(
    *,
    seeds: Sequence[int] = (0, 1, 2),
    runs: str | os.PathLike = "runs",
    results: str | os.PathLike = "results",
    fabric: Fabric | None = None,
    cuda_graph: bool = False,
    quick: bool = False,
) -> dict:
    """Run every row's recipe as `ganlib.reproduction.reproduce` does, and write `results/table1/`.

    What has been run before is only collected.

    Args:
        seeds: One run each of every row; of the rows in `LONG` the first one alone.
        runs: Folder of the runs.
        results: Folder of the results.
        fabric: As for `reproduce`; the rivals take one process.
        cuda_graph: As for `ganlib.train`, of the games.
        quick: As for `reproduce`.

    Returns:
        What metrics.json holds. "rows" by their recipes, each with the "score" over the "seeds" it
        was run with, what was "published", all that was "measured" of the first seed's images, and,
        where it is known, what the model's "own protocol" finds; "reference", the same of images
        that no model has made. With each, the share of every class.

    Raises:
        ValueError, FileNotFoundError, FloatingPointError, KeyboardInterrupt: As `reproduce`.
    """
    fabric = fabric or Fabric(devices=1)
    options = {"runs": runs, "results": results, "fabric": fabric, "quick": quick}
    reports = {
        name: reproduce(
            name,
            seeds=seeds[:1] if name in LONG else seeds,
            cuda_graph=cuda_graph and name not in RIVALS,
            **options,
        )
        for name in ROWS
    }
    end = "-quick" * quick
    runs, results = Path(runs), Path(results) / f"{TABLE}{end}"
    source = "digits" if quick else RIVALS["dbn"].data
    protocol = Likelihood({split: load(source, split) for split in SPLITS}, runs / f"{TABLE}{end}")
    rows, shown = {}, {}
    for name, report in reports.items():
        title, published = ROWS[name]
        first = report["seeds"][str(seeds[0])]
        its = next(first[which] for which in ("chains", "averaged", "raw") if which in first)
        path = runs / f"{name}{end}" / f"seed-{seeds[0]}" / GENERATOR
        if name in RIVALS:
            start = protocol.train.images[:SHOWN]
            options = {"burn_in": protocols.BURN_IN, **its["choice"]}
            shown[title] = rivals.load(path).sample(start, **options)[0]
        else:
            images = sample(load_network(path), protocols.SAMPLES).clamp(0, 1)
            its = its | {"classes": protocol.shares(images)}
            shown[title] = images[:SHOWN]
        known = None if quick or not published else published
        rows[name] = {
            "row": title,
            "published": known and {"mean": known[0], "standard error": known[1]},
            "score": report["score"],
            "seeds": list(report["seeds"]),
            "own protocol": first.get("one chain"),
            "measured": its,
        }
    images = _references(protocol)
    shown |= {row: some[:SHOWN] for row, some in images.items()}
    report = {
        "recipe": TABLE,
        "summary": "the rows of Table 1 of Goodfellow et al. (2014), by one protocol",
        "command": command(TABLE, None, seeds, cuda_graph, quick, fabric),
        "data": source,
        "rows": rows,
        "reference": kept(
            protocol.path.with_name("reference.json"),
            protocol,
            {},
            lambda: {row: _measured(some, protocol) for row, some in images.items()},
        ),
    }
    write_json(results / "metrics.json", report)
    sheet = plotting.grid(torch.cat(list(shown.values())), SHOWN, list(shown))
    plotting.save(sheet, results / "samples.png")
    return report


def lines(report: dict) -> list[str]:
    """The table that `reproduce_table` reports, in plain text."""
    found = [f"{'mean log-likelihood in nats':<40}{'here':>9}{'published':>14}"]
    for its in report["rows"].values():
        known = its["published"]
        known = f"{known['mean']} ± {known['standard error']}" if known else "–"
        found.append(f"{its['row']:<40}{its['score']['mean']:>9.4g}{known:>14}")
    for row, its in report["reference"].items():
        found.append(f"{row:<40}{its['score']['mean']:>9.4g}{'–':>14}")
    return found


def _references(protocol: Likelihood) -> dict[str, Tensor]:
    """Sets of images that no model has made: (n, C, H, W) in [0, 1] each."""
    train = to_float(protocol.train.images)
    n = min(protocols.SAMPLES, len(train) // 5)
    return protocol.real_images() | {
        "the mean training image": train.mean(0).expand(protocols.SAMPLES, -1, -1, -1),
        f"{n:,} k-means centroids": centroids(train, n),
    }


def _measured(images: Tensor, protocol: Likelihood) -> dict:
    return protocol.measure_images(images) | {"classes": protocol.shares(images)}


def centroids(images: Tensor, n: int, *, seed: int = 0) -> Tensor:
    """The n centres of k-means on images, by minibatches (Sculley, 2010).

    Theis et al. (2016) found that such centroids score more under a Parzen window than any model.

    Args:
        images: (N, ...) uint8, or float in [0, 1].
        n: How many, from 1 to N.
        seed: Of the first centres and of the minibatches.

    Returns:
        (n, ...) float32 in [0, 1], on the CPU.

    Raises:
        ValueError: n is out of range.
    """
    from sklearn.cluster import MiniBatchKMeans  # half a second that other commands need not pay

    if not 1 <= n <= len(images):
        raise ValueError(f"n must be from 1 to {len(images)} (the images), got {n}")
    points = to_float(images.cpu()).flatten(1).numpy()
    k_means = MiniBatchKMeans(
        n, init="random", n_init=1, max_iter=5, batch_size=4096, random_state=seed
    )
    centres = torch.from_numpy(k_means.fit(points).cluster_centers_).float()
    return centres.clamp(0, 1).view(n, *images.shape[1:])
