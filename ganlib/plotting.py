"""Figures of images, of training and of densities. Nothing else draws.

Every function returns a new Matplotlib figure and leaves Matplotlib's global style alone.
"""

import base64
import html
import io
import itertools
import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.resources import files

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor
from torch.nn.functional import interpolate as resize
from torch.nn.functional import pad

from ganlib.data import to_float

__all__ = [
    "Frames",
    "bars",
    "densities",
    "frames",
    "grid",
    "histogram",
    "history",
    "lines",
    "moments",
    "mosaic",
    "plane",
    "save",
    "strip",
]

CELL = 56  # pixels to which the shorter side of a small image is enlarged
GUTTER = 6  # white pixels between two images
WIDTH = 5.6  # inches; narrow, so that the texts stay readable on a phone
STYLE = {
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.3,
    "font.size": 10,
    "legend.frameon": False,
    # Okabe and Ito's colours, which colour-blind readers can tell apart
    "axes.prop_cycle": plt.cycler(
        color=["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000"]
    ),
}
DATA, GENERATED = "#000000", "#009e73"
JUDGED, OPTIMAL = "#0072b2", "#d55e00"


@contextmanager
def _styled(width: float = WIDTH, height: float = 3.3) -> Iterator[tuple[Figure, Axes]]:
    """A new figure, and our style while it is drawn.

    The figure is made outside of the style's context: making the first one may load the backend,
    and leaving the context would undo what that sets.
    """
    figure = plt.figure(figsize=(width, height), dpi=140, layout="constrained")
    with plt.rc_context(STYLE):
        yield figure, figure.add_subplot()


def _layout(n: int, columns: int | None) -> tuple[int, int]:
    """Rows and columns of n images; about square where no number of columns is asked for."""
    columns = math.ceil(math.sqrt(n)) if columns is None else columns
    return math.ceil(n / columns), columns


def _centres(pixels: int, cells: int) -> list[float]:
    """Where the middles of the images lie along one side of a mosaic."""
    return [GUTTER / 2 + (i + 0.5) * (pixels - GUTTER) / cells for i in range(cells)]


def mosaic(images: Tensor, columns: int | None = None) -> np.ndarray:
    """Lay images out row by row with white gutters; small ones are enlarged smoothly.

    An 8×8 digit shown pixel by pixel is hard to read: bicubic enlargement shows what the eye would
    make of it from further away. The numbers themselves are not changed by it.

    Args:
        images: (N, 1, H, W) or (N, 3, H, W), uint8, or float in [0, 1].
        columns: Images in a row; without it the mosaic is about square.

    Returns:
        (height, width) or (height, width, 3) float array in [0, 1].

    Raises:
        ValueError: The shape is another one, there is no image, columns is below 1, or a value
            lies outside [0, 1].
    """
    if images.ndim != 4 or images.shape[1] not in (1, 3) or not len(images):
        raise ValueError(
            f"images must have shape (N, 1, H, W) or (N, 3, H, W), got {tuple(images.shape)}"
        )
    if columns is not None and columns < 1:
        raise ValueError(f"columns must be at least 1, got {columns}")
    rows, columns = _layout(len(images), columns)
    shown = to_float(images.detach().cpu())
    low, high = shown.min().item(), shown.max().item()
    if not (low >= 0 and high <= 1):
        raise ValueError(f"images must lie in [0, 1], got values from {low:.3g} to {high:.3g}")
    scale = math.ceil(CELL / min(shown.shape[2:]))
    if scale > 1:
        shown = resize(shown, scale_factor=scale, mode="bicubic").clamp(0, 1)
    shown = pad(shown, (0, GUTTER, 0, GUTTER), value=1.0)
    blank = torch.ones(rows * columns - len(shown), *shown.shape[1:])
    cells = torch.cat([shown, blank]).unflatten(0, (rows, columns))
    picture = cells.permute(2, 0, 3, 1, 4).flatten(3, 4).flatten(1, 2)
    picture = pad(picture, (GUTTER, 0, GUTTER, 0), value=1.0)
    return (picture[0] if len(picture) == 1 else picture.permute(1, 2, 0)).numpy()


def grid(
    images: Tensor, columns: int | None = None, row_labels: Sequence[str] = (), title: str = ""
) -> Figure:
    """A sheet of images.

    Args:
        images: (N, 1, H, W) or (N, 3, H, W), uint8, or float in [0, 1].
        columns: Images in a row; about square without it.
        row_labels: What stands left of each row.
        title: What stands above.

    Returns:
        The figure.

    Raises:
        ValueError: As `mosaic`, or there is not one label for each row.
    """
    picture = mosaic(images, columns)
    rows, _ = _layout(len(images), columns)
    if row_labels and len(row_labels) != rows:
        raise ValueError(f"row_labels must name each of the {rows} rows, got {len(row_labels)}")
    height, width = picture.shape[:2]
    inches = min(WIDTH, width / 90)
    with _styled(inches, inches * height / width + 0.3 * bool(title)) as (figure, axes):
        axes.imshow(picture, cmap="gray", vmin=0, vmax=1, interpolation="antialiased")
        axes.set(title=title, xticks=[], yticks=[])
        axes.spines[:].set_visible(False)
        if row_labels:
            axes.set_yticks(_centres(height, rows), row_labels)
            axes.tick_params(length=0)
        axes.grid(False)
    return figure


def strip(images: Tensor, row_labels: Sequence[str] = (), title: str = "") -> Figure:
    """Walks through z, one a row, with the share t of the way below.

    Args:
        images: (steps, C, H, W) or (N, steps, C, H, W), as `interpolate` returns them.
        row_labels: What stands left of each row.
        title: What stands above.

    Returns:
        The figure.

    Raises:
        ValueError: As `grid`.
    """
    if images.ndim not in (4, 5):
        raise ValueError(
            "images must have shape (steps, C, H, W) or (N, steps, C, H, W), "
            f"got {tuple(images.shape)}"
        )
    steps = images.shape[-4]
    figure = grid(images.reshape(-1, *images.shape[-3:]), steps, row_labels, title)
    (axes,) = figure.axes
    centres = _centres(axes.images[0].get_size()[1], steps)
    places = [centres[0], (centres[0] + centres[-1]) / 2, centres[-1]]
    with plt.rc_context(STYLE):
        axes.set_xticks(places, ["t = 0", "t = 1/2", "t = 1"])
        axes.tick_params(length=0)
    return figure


def history(
    history: Mapping[str, Sequence[float]],
    names: Sequence[str] = ("D(x)", "D(G(z))"),
    ylabel: str = "",
    reference: float | None = None,
) -> Figure:
    """Curves of a training run over its steps.

    Args:
        history: What `train` measured: "step" and lists of the same length.
        names: Which of them to draw.
        ylabel: What stands beside the vertical axis.
        reference: Height of a dashed line to compare with, such as 1/2 for D(x) and D(G(z)).

    Returns:
        The figure.

    Raises:
        ValueError: A name is not in the history.
    """
    missing = [name for name in names if name not in history]
    if missing:
        raise ValueError(f"names must be among {', '.join(history)}, got {', '.join(missing)}")
    curves = {name: history[name] for name in names}
    figure = lines(history["step"], curves, "step", ylabel)
    if reference is not None:
        figure.axes[0].axhline(reference, color="black", linewidth=1, linestyle="--")
    return figure


def lines(
    x: Sequence[float] | np.ndarray,
    curves: Mapping[str, Sequence[float] | np.ndarray],
    xlabel: str = "",
    ylabel: str = "",
    points: Mapping[str, tuple] | None = None,
) -> Figure:
    """Curves over one axis, each with its name in the legend.

    Args:
        x: (n,) places.
        curves: Name → (n,) heights.
        xlabel: What stands below the axis.
        ylabel: What stands beside the axis.
        points: Name → (x, y) of points to mark, two numbers or two sequences.

    Returns:
        The figure.
    """
    with _styled() as (figure, axes):
        for name, heights in curves.items():
            axes.plot(x, heights, label=name)
        for name, (place, height) in (points or {}).items():
            axes.plot(place, height, "o", color="black", label=name)
        axes.set(xlabel=xlabel, ylabel=ylabel)
        _place_legend(axes)
    return figure


def _place_legend(axes: Axes) -> None:
    """The legend where no curve runs: the axis grows up and down until there is such a place."""
    legend = axes.legend()
    for margin in (0.05, 0.2, 0.35, 0.5):
        axes.margins(y=margin)
        axes.figure.draw_without_rendering()
        box = legend.get_window_extent()
        paths = (line.get_transform().transform_path(line.get_path()) for line in axes.lines)
        if not any(path.intersects_bbox(box, filled=False) for path in paths):
            return


def plane(
    points: Mapping[str, np.ndarray] | None = None,
    paths: Mapping[str, np.ndarray] | None = None,
    marks: Mapping[str, tuple[float, float]] | None = None,
    xlabel: str = "",
    ylabel: str = "",
    ends: bool = True,
) -> Figure:
    """Clouds of points and paths in the plane, both axes at the same scale.

    Args:
        points: Name → (n, 2) points, drawn as small dots.
        paths: Name → (n, 2) places that a line runs through.
        marks: Name → one point, marked with a symbol of its own.
        xlabel: What stands below the axis.
        ylabel: What stands beside the axis.
        ends: Whether a dot shows where each path ends.

    Returns:
        The figure.

    Raises:
        ValueError: Something in `points` or `paths` has another shape.
    """
    points, paths, marks = points or {}, paths or {}, marks or {}
    for name, places in [*points.items(), *paths.items()]:
        if np.ndim(places) != 2 or np.shape(places)[1] != 2 or not len(places):
            raise ValueError(f"{name!r} must have shape (n, 2), n ≥ 1, got {np.shape(places)}")
    with _styled() as (figure, axes):
        for name, cloud in points.items():
            axes.plot(*np.transpose(cloud), ".", markersize=4, alpha=0.6, label=name)
        for name, path in paths.items():
            (line,) = axes.plot(*np.transpose(path), linewidth=1, label=name)
            if ends:
                axes.plot(*path[-1], "o", markersize=5, color=line.get_color())
        for shape, (name, place) in zip(itertools.cycle("X^sDv"), marks.items()):
            axes.plot(*place, shape, color="black", markersize=8, label=name)
        axes.set(xlabel=xlabel, ylabel=ylabel, aspect="equal", anchor="N")
        legend = figure.legend(loc="outside upper center", ncols=2)
        for handle in legend.legend_handles[: len(points)]:  # a dot alone is hard to see
            handle.set(markersize=10, alpha=1)
        wide, high = axes.dataLim.size
        height = min(max(0.85 * WIDTH * high / max(wide, 1e-9), 1.5), WIDTH)
        rows = math.ceil(len(legend.get_texts()) / 2)
        figure.set_figheight(round(height + 0.24 * rows + 0.7, 1))
    return figure


def histogram(
    samples: Mapping[str, np.ndarray],
    x: np.ndarray,
    curves: Mapping[str, np.ndarray] | None = None,
    bins: int = 60,
    xlabel: str = "x",
) -> Figure:
    """Histograms of samples as densities, with curves to compare them with.

    Samples outside x count in the normalisation: a bar's area is the share of all samples in it.

    Args:
        samples: Name → (n,) numbers.
        x: (m,) increasing places; the bins cut the way from the first to the last into equal parts.
        curves: Name → (m,) heights of a density over x.
        bins: How many bins.
        xlabel: What stands below the axis.

    Returns:
        The figure.

    Raises:
        ValueError: `bins` is below 1, x does not increase, or a set of samples is empty.
    """
    if bins < 1:
        raise ValueError(f"bins must be at least 1, got {bins}")
    if len(x) < 2 or not (np.diff(x) > 0).all():
        raise ValueError("x must hold at least two increasing places")
    empty = [name for name, values in samples.items() if not len(values)]
    if empty:
        raise ValueError(f"samples must hold at least one number each, got none of {empty[0]!r}")
    edges = np.linspace(x[0], x[-1], bins + 1)
    with _styled() as (figure, axes):
        colors = itertools.cycle(plt.rcParams["axes.prop_cycle"].by_key()["color"])
        for (name, values), color in zip(samples.items(), colors):
            counts, _ = np.histogram(values, edges)
            shares = counts / len(values) / np.diff(edges)
            axes.stairs(shares, edges, fill=True, alpha=0.2, color=color)
            axes.stairs(shares, edges, linewidth=1.5, color=color, label=name)
        axes.set_prop_cycle(color=[next(colors) for _ in range(7)])
        for name, heights in (curves or {}).items():
            axes.plot(x, heights, linewidth=2, label=name)
        axes.set(xlabel=xlabel, ylabel="density", ylim=(0, None))
        axes.legend()
    return figure


def bars(
    names: Sequence[str],
    heights: Sequence[float],
    xlabel: str = "",
    ylabel: str = "",
    reference: float | None = None,
) -> Figure:
    """One bar for each name.

    Args:
        names: What stands below each bar.
        heights: As many heights.
        xlabel: What stands below the axis.
        ylabel: What stands beside the axis.
        reference: Height of a dashed line to compare with.

    Returns:
        The figure.

    Raises:
        ValueError: There is not one height for each name.
    """
    if len(names) != len(heights):
        raise ValueError(
            f"heights must hold one for each of {len(names)} names, got {len(heights)}"
        )
    with _styled() as (figure, axes):
        axes.bar(names, heights)
        axes.set(xlabel=xlabel, ylabel=ylabel)
        axes.grid(False, axis="x")
        if reference is not None:
            axes.axhline(reference, color="black", linewidth=1, linestyle="--")
    return figure


def densities(
    x: np.ndarray,
    p_data: np.ndarray,
    p_g: np.ndarray,
    D: np.ndarray | None = None,
    D_star: np.ndarray | None = None,
) -> Figure:
    """Two densities and the discriminators between them, drawn as in the 2014 paper's figure 1.

    p_data is black and dotted, p_g green and solid, D blue and dashed; D* is a thin orange line.
    D and D* have an axis of their own, from 0 to 1, on the right.

    Args:
        x: (n,) places.
        p_data: (n,) density of the data.
        p_g: (n,) density of the generator.
        D: (n,) a discriminator's answers in [0, 1].
        D_star: (n,) the optimal discriminator's.

    Returns:
        The figure.
    """
    with _styled() as (figure, left):
        left.plot(x, p_data, color=DATA, linestyle=":", linewidth=2, label=r"$p_\mathrm{data}$")
        left.plot(x, p_g, color=GENERATED, linewidth=2, label="$p_g$")
        left.set(xlabel="x", ylabel="density", ylim=(0, None))
        right = left.twinx()
        right.spines.right.set_visible(True)
        right.grid(False)
        right.set(ylabel="D(x)", ylim=(-0.02, 1.02))
        if D_star is not None:
            right.plot(x, D_star, color=OPTIMAL, linewidth=1.5, label="$D^*$")
        if D is not None:
            right.plot(x, D, color=JUDGED, linestyle="--", linewidth=2, label="$D$")
        figure.legend(loc="outside upper center", ncols=4)
    return figure


def moments(
    x: np.ndarray,
    p_data: np.ndarray,
    p_g: np.ndarray,
    D: np.ndarray,
    D_star: np.ndarray,
    z: np.ndarray,
    G_z: np.ndarray,
    titles: Sequence[str],
) -> Figure:
    """Moments of a game on the line, one a panel, drawn as in the 2014 paper's figure 1.

    p_data is black and dotted, p_g green and solid, D blue and dashed; D* is a thin orange line.
    All share one axis. Below each panel arrows run from places z to the places G(z).

    Args:
        x: (n,) places.
        p_data: (n,) density of the data.
        p_g: (panels, n) densities of the generator.
        D: (panels, n) the discriminator's answers in [0, 1].
        D_star: (panels, n) the optimal discriminator's.
        z: (m,) where the arrows start.
        G_z: (panels, m) where they end.
        titles: What stands above each panel.

    Returns:
        The figure, with two panels in a row.

    Raises:
        ValueError: There is no title; p_g, D, D_star and G_z do not have a row for each; a row of
            G_z is not as long as z.
    """
    if not len(titles):
        raise ValueError("titles must name at least one panel, got none")
    for name, rows in {"p_g": p_g, "D": D, "D_star": D_star, "G_z": G_z}.items():
        if len(rows) != len(titles):
            raise ValueError(f"{name} must have {len(titles)} rows, one a title, got {len(rows)}")
    columns = min(len(titles), 2)
    rows = math.ceil(len(titles) / columns)
    top = 1.08 * max(1, np.max(p_data), np.max(p_g))
    figure = plt.figure(figsize=(WIDTH, 2.7 * rows + 0.4), dpi=140, layout="constrained")
    with plt.rc_context(STYLE):
        panels = figure.subplots(2 * rows, columns, height_ratios=(4, 1) * rows, squeeze=False)
        for panel in range(rows * columns):
            upper, lower = panels[2 * (panel // columns) :, panel % columns][:2]
            if panel >= len(titles):
                upper.remove()
                lower.remove()
                continue
            upper.plot(x, p_data, ":", color=DATA, linewidth=2, label=r"$p_\mathrm{data}$")
            upper.plot(x, p_g[panel], color=GENERATED, linewidth=2, label="$p_g$")
            upper.plot(x, D_star[panel], color=OPTIMAL, linewidth=1.5, label="$D^*$")
            upper.plot(x, D[panel], "--", color=JUDGED, linewidth=2, label="$D$")
            upper.set(title=titles[panel], xlim=(x[0], x[-1]), ylim=(0, top), xticklabels=[])
            for start, end in zip(z, G_z[panel], strict=True):
                arrow = {"arrowstyle": "->", "linewidth": 0.6, "shrinkA": 0, "shrinkB": 0}
                lower.annotate("", (end, 1), (start, 0), arrowprops=arrow, annotation_clip=False)
            lower.set(xlim=(x[0], x[-1]), ylim=(0, 1), yticks=(0, 1), yticklabels=("z", "x"))
            lower.grid(False)
            lower.spines.top.set_visible(True)
        figure.legend(
            *panels[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=4
        )
    return figure


def save(figure: Figure, path: str | os.PathLike) -> None:
    """Write a figure to a file, of the kind that the name's ending tells, and close it.

    Empty margins, which long labels of rows leave above and below, are cut off.
    """
    figure.savefig(path, bbox_inches="tight")
    plt.close(figure)


@dataclass(frozen=True)
class Frames:
    """Pictures in a row, which a notebook or a page shows as an animation to step through.

    Attributes:
        pictures: PNG files.
        captions: What each of them shows; it stands below the picture and is its alternative text.
    """

    pictures: Sequence[bytes]
    captions: Sequence[str]

    def __repr__(self) -> str:
        return "\n".join([f"{len(self.captions)} frames:", *self.captions])

    def _repr_html_(self) -> str:
        """Without JavaScript a strip to scroll; with it buttons, a slider and the arrow keys."""
        shown = "\n".join(
            f'<figure><img alt="{html.escape(caption)}" src="data:image/png;base64,'
            f'{base64.b64encode(picture).decode()}"><figcaption>{html.escape(caption)}'
            "</figcaption></figure>"
            for picture, caption in zip(self.pictures, self.captions)
        )
        look = files("ganlib").joinpath("frames.html").read_text("utf-8")
        return look.replace("<!-- frames -->", shown)


def frames(figures: Iterable[Figure], captions: Sequence[str]) -> Frames:
    """An animation whose frames can be stepped through by mouse and keyboard, without a network.

    Args:
        figures: One figure a frame. Each is closed once it is drawn, so a generator that makes
            them one by one never holds many.
        captions: What each frame shows, in words that can stand for the picture.

    Returns:
        What a notebook shows when it is a cell's last value.

    Raises:
        ValueError: There is not one caption for each figure, or there is none.
    """
    pictures = []
    for figure in figures:
        picture = io.BytesIO()
        figure.savefig(picture, format="png", dpi=110)
        plt.close(figure)
        pictures.append(picture.getvalue())
    if not pictures or len(pictures) != len(captions):
        raise ValueError(
            f"captions must hold one for each of {len(pictures)} frames, got {len(captions)}"
        )
    return Frames(tuple(pictures), tuple(captions))
