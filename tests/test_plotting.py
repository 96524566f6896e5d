"""Figures: what a mosaic preserves, what every figure shows, and that no global style changes."""

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from ganlib.plotting import (
    CELL,
    GUTTER,
    bars,
    densities,
    frames,
    grid,
    histogram,
    history,
    lines,
    moments,
    mosaic,
    plane,
    strip,
)

LARGE = CELL + 3  # not enlarged


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def images(n, channels=1, height=LARGE, width=LARGE + 5, seed=0):
    rng = torch.Generator().manual_seed(seed)
    return torch.rand(n, channels, height, width, generator=rng)


# Mosaics -----------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=25)
@given(st.integers(1, 7), st.integers(1, 8), st.sampled_from([1, 3]))
def test_large_images_stand_unchanged_between_white_gutters(n, columns, channels):
    shown = images(n, channels)
    picture = mosaic(shown, columns)
    rows, (height, width) = -(-n // columns), shown.shape[2:]
    high, wide = height + GUTTER, width + GUTTER
    size = (GUTTER + rows * high, GUTTER + columns * wide)
    assert picture.shape == (size if channels == 1 else (*size, 3))
    expected = np.ones((*size, channels), np.float32)
    for place, image in enumerate(shown):
        top, left = GUTTER + place // columns * high, GUTTER + place % columns * wide
        expected[top : top + height, left : left + width] = image.permute(1, 2, 0)
    assert np.array_equal(picture.reshape(expected.shape), expected)


def test_bytes_and_floats_give_one_picture():
    levels = torch.randint(0, 256, (4, 3, LARGE, LARGE), dtype=torch.uint8)
    picture = mosaic(levels, 2)
    assert np.array_equal(picture, mosaic(levels.float() / 255, 2))
    assert (picture.min(), picture.max()) == (0, 1)


@pytest.mark.parametrize(("n", "side"), [(1, 1), (2, 2), (4, 2), (5, 3), (9, 3), (10, 4)])
def test_without_columns_a_mosaic_is_about_square(n, side):
    assert mosaic(images(n)).shape[1] == GUTTER + side * (LARGE + 5 + GUTTER)


@pytest.mark.parametrize("size", [(1, 1), (8, 8), (28, 28), (8, 12), (CELL - 1, 99), (CELL, CELL)])
def test_small_images_are_enlarged_a_whole_number_of_times(size):
    scale = -(-CELL // min(size))
    picture = mosaic(images(1, 1, *size))
    assert picture.shape == (size[0] * scale + 2 * GUTTER, size[1] * scale + 2 * GUTTER)


def test_enlargement_is_smooth_true_to_the_image_and_within_0_and_1():
    sharp = torch.zeros(1, 1, 8, 8)
    sharp[..., 4:] = 1
    picture = mosaic(sharp)
    inside = picture[GUTTER:-GUTTER, GUTTER:-GUTTER]
    assert (picture.min(), picture.max()) == (0, 1)
    assert ((inside > 0.1) & (inside < 0.9)).any()  # a ramp instead of a step
    assert (inside[:, :14] < 0.05).all()
    assert (inside[:, -14:] > 0.95).all()


def test_an_even_image_stays_even_when_enlarged():
    inside = mosaic(torch.full((1, 3, 8, 8), 0.25))[GUTTER:-GUTTER, GUTTER:-GUTTER]
    np.testing.assert_allclose(inside, 0.25, rtol=1e-6)


def test_mosaic_changes_none_of_its_images():
    shown = images(2, 1, 8, 8).requires_grad_()
    before = shown.detach().clone()
    mosaic(shown)
    assert torch.equal(shown, before)


BAD_IMAGES = {
    "one image": (torch.zeros(1, 8, 8), r"must have shape .* got \(1, 8, 8\)"),
    "two channels": (torch.zeros(4, 2, 8, 8), "must have shape"),
    "none": (torch.zeros(0, 1, 8, 8), "must have shape"),
    "above 1": (torch.full((1, 1, 8, 8), 1.5), r"must lie in \[0, 1\], got .* 1.5 to 1.5"),
    "below 0": (torch.full((1, 1, 8, 8), -1.0), r"must lie in \[0, 1\], got .* -1 to -1"),
    "NaN": (torch.full((1, 1, 8, 8), torch.nan), r"must lie in \[0, 1\]"),
}


@pytest.mark.parametrize(("shown", "message"), BAD_IMAGES.values(), ids=BAD_IMAGES)
@pytest.mark.parametrize("draw", [mosaic, grid])
def test_what_is_no_sheet_of_images_is_refused(draw, shown, message):
    with pytest.raises(ValueError, match="images " + message):
        draw(shown)


@pytest.mark.parametrize("columns", [0, -1])
def test_columns_below_1_are_refused(columns):
    with pytest.raises(ValueError, match=f"columns must be at least 1, got {columns}"):
        mosaic(images(2), columns)


# Figures -----------------------------------------------------------------------------------------

X = np.linspace(-1, 1, 5)
RUN = {"step": [10, 20, 30], "D(x)": [0.9, 0.7, 0.6], "D(G(z))": [0.1, 0.2, 0.4], "V": [0, -1, -1]}
CLOUD = np.array([[0.0, 1.0], [2.0, 3.0], [5.0, 8.0]])
MOMENTS = {
    "x": X,
    "p_data": X**2,
    "p_g": np.stack([1 - X**2, X**4, X**2]),
    "D": np.stack([np.full(5, 0.5), X**4, X**2]),
    "D_star": np.stack([X**2, X**4, np.full(5, 0.5)]),
    "z": np.array([-1.0, 0.0, 1.0]),
    "G_z": np.array([[-0.5, 0.0, 0.5], [-1, 0, 1], [0, 0.1, 0.2]]),
    "titles": ("a", "b", "c"),
}
FIGURES = {
    "grid": lambda: grid(images(6, 3, 8, 8), 3, ("upper", "lower"), "Samples"),
    "strip": lambda: strip(images(6, 1, 8, 8).unflatten(0, (2, 3)), ("a", "b"), "Walks"),
    "history": lambda: history(RUN, reference=0.5),
    "lines": lambda: lines(X, {"square": X**2}, points={"least": (0, 0)}),
    "moments": lambda: moments(**MOMENTS),
    "plane": lambda: plane({"cloud": CLOUD}, {"path": CLOUD}, {"a": (0, 0), "b": (1, 2)}),
    "histogram": lambda: histogram({"samples": X}, X, {"density": X**2}, bins=3),
    "bars": lambda: bars(("a", "b"), (1, 2), reference=1.5),
    "densities": lambda: densities(X, X**2, 1 - X**2, np.full(5, 0.5), X**2),
}
each_figure = pytest.mark.parametrize("draw", FIGURES.values(), ids=FIGURES)


@each_figure
def test_every_function_returns_a_new_figure_that_can_be_drawn(draw):
    figure = draw()
    assert isinstance(figure, Figure)
    assert draw() is not figure
    figure.canvas.draw()
    assert np.ptp(np.asarray(figure.canvas.buffer_rgba())[..., :3]) > 100


@each_figure
@pytest.mark.parametrize("style", ["default", "dark_background"])
def test_global_style_is_left_alone(draw, style):
    with plt.style.context(style):
        before = dict(matplotlib.rcParams)
        draw()
        assert dict(matplotlib.rcParams) == before


def test_global_style_is_left_alone_after_an_error():
    before = dict(matplotlib.rcParams)
    with pytest.raises(ValueError, match="shape"):
        lines([1, 2], {"curve": [1, 2, 3]})
    assert dict(matplotlib.rcParams) == before


def test_grid_shows_the_mosaic():
    shown = images(4)
    (axes,) = grid(shown, 2, title="Samples").axes
    assert np.array_equal(axes.images[0].get_array(), mosaic(shown, 2))
    assert axes.images[0].get_clim() == (0, 1)
    assert axes.images[0].get_cmap().name == "gray"
    assert axes.get_title() == "Samples"
    assert list(axes.get_xticks()) == list(axes.get_yticks()) == []


def ticks(axis):
    return dict(zip([label.get_text() for label in axis.get_ticklabels()], axis.get_ticklocs()))


@pytest.mark.parametrize("size", [(8, 8), (8, 20), (20, 8), (LARGE, LARGE)])
def test_row_labels_stand_beside_their_rows(size):
    shown = images(6, 1, *size)
    (axes,) = grid(shown, 2, ("a", "b", "c")).axes
    row = axes.images[0].get_array().shape[0] / 3
    found = ticks(axes.yaxis)
    assert list(found) == ["a", "b", "c"]
    for n, place in enumerate(found.values()):
        assert abs(place - (n + 0.5) * row) < GUTTER


def test_strip_is_a_row_for_each_walk_with_the_share_of_the_way_below():
    walks = images(10).unflatten(0, (2, 5))
    (axes,) = strip(walks, ("a", "b")).axes
    picture = axes.images[0].get_array()
    assert np.array_equal(picture, mosaic(walks.flatten(0, 1), 5))
    assert list(ticks(axes.yaxis)) == ["a", "b"]
    found, column = ticks(axes.xaxis), picture.shape[1] / 5
    assert list(found) == ["t = 0", "t = 1/2", "t = 1"]
    for n, place in zip((0, 2, 4), found.values()):
        assert abs(place - (n + 0.5) * column) < GUTTER


def test_strip_of_one_walk_needs_no_batch():
    walk = images(4, 3)
    (axes,) = strip(walk).axes
    assert np.array_equal(axes.images[0].get_array(), mosaic(walk, 4))


@pytest.mark.parametrize("labels", [("a",), ("a", "b", "c")])
def test_labels_must_name_every_row(labels):
    message = f"row_labels must name each of the 2 rows, got {len(labels)}"
    with pytest.raises(ValueError, match=message):
        grid(images(4), 2, labels)
    with pytest.raises(ValueError, match=message):
        strip(images(6).unflatten(0, (2, 3)), labels)


@pytest.mark.parametrize("shape", [(1, 8, 8), (1, 2, 3, 1, 8, 8)])
def test_what_is_no_walk_is_refused(shape):
    with pytest.raises(ValueError, match=r"images must have shape \(steps, C, H, W\) or"):
        strip(torch.zeros(shape))


def curves(axes):
    return {line.get_label(): line.get_xydata().T.tolist() for line in axes.lines}


def test_history_draws_the_named_curves_over_the_steps():
    (axes,) = history(RUN, ("V", "D(x)"), "nats").axes
    assert curves(axes) == {"V": [RUN["step"], RUN["V"]], "D(x)": [RUN["step"], RUN["D(x)"]]}
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("step", "nats")
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["V", "D(x)"]


def test_history_compares_with_a_reference():
    *_, reference = history(RUN, reference=0.5).axes[0].lines
    assert list(reference.get_ydata()) == [0.5, 0.5]
    assert reference.get_linestyle() == "--"
    assert len(history(RUN).axes[0].lines) == 2


def test_history_refuses_names_that_were_not_measured():
    with pytest.raises(ValueError, match=r"names must be among step, .*V, got loss, W$"):
        history(RUN, ("D(x)", "loss", "W"))


def test_lines_draws_every_curve_and_point_by_name():
    figure = lines(X, {"square": X**2, "cube": X**3}, "x", "y", {"least": (0.0, 1.0)})
    (axes,) = figure.axes
    assert curves(axes) == {
        "square": [X.tolist(), (X**2).tolist()],
        "cube": [X.tolist(), (X**3).tolist()],
        "least": [[0.0], [1.0]],
    }
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("x", "y")
    legend = [text.get_text() for text in axes.get_legend().get_texts()]
    assert legend == ["square", "cube", "least"]


@pytest.mark.parametrize(("waves", "grows"), [(0, False), (30, True)])
def test_the_legend_of_lines_stands_on_no_curve(waves, grows):
    x = np.linspace(0, 1, 400)
    figure = lines(x, {"level": 0 * x - 1, "wave": np.cos(2 * np.pi * waves * x)})
    figure.draw_without_rendering()
    (axes,) = figure.axes
    box = axes.get_legend().get_window_extent()
    for line in axes.lines:
        assert not line.get_transform().transform_path(line.get_path()).intersects_bbox(box, False)
    assert (np.ptp(axes.get_ylim()) > 2.3) == grows  # from 2 and the usual margins


def test_moments_are_panels_of_densities_over_arrows_from_z_to_x():
    panels = moments(**MOMENTS).axes
    assert len(panels) == 6  # the fourth place stays empty
    uppers = [axes for axes in panels if axes.get_title()]
    assert [axes.get_title() for axes in uppers] == ["a", "b", "c"]
    for n, axes in enumerate(uppers):
        drawn = curves(axes)
        assert drawn[r"$p_\mathrm{data}$"] == [X.tolist(), (X**2).tolist()]
        for name, key in [("$p_g$", "p_g"), ("$D$", "D"), ("$D^*$", "D_star")]:
            assert drawn[name] == [X.tolist(), MOMENTS[key][n].tolist()]
    arrows = [[(a.xyann, a.xy) for a in axes.texts] for axes in panels if axes not in uppers]
    starts, ends = MOMENTS["z"], MOMENTS["G_z"]
    assert arrows == [[((z, 0), (x, 1)) for z, x in zip(starts, row)] for row in ends]


@pytest.mark.parametrize("name", ["p_g", "D", "D_star", "G_z"])
def test_moments_need_a_row_for_each_title(name):
    with pytest.raises(ValueError, match=f"{name} must have 3 rows, one a title, got 2"):
        moments(**MOMENTS | {name: MOMENTS[name][:2]})


def test_moments_need_a_title_and_an_end_for_each_arrow():
    with pytest.raises(ValueError, match="titles must name at least one panel"):
        moments(**MOMENTS | {"titles": ()})
    with pytest.raises(ValueError, match="zip"):
        moments(**MOMENTS | {"z": X})


def test_frames_are_drawn_one_by_one_and_closed():
    def draw():
        for n in range(3):
            assert len(plt.get_fignums()) == 0
            yield lines(X, {"curve": n * X})

    shown = frames(draw(), ["first", 'a < b & "c"', "last"])
    assert [picture[:4] for picture in shown.pictures] == [b"\x89PNG"] * 3
    assert len(set(shown.pictures)) == 3
    assert repr(shown) == '3 frames:\nfirst\na < b & "c"\nlast'
    page = shown._repr_html_()
    assert page.count("<img ") == 3
    assert page.count('alt="a &lt; b &amp; &quot;c&quot;"') == 1
    assert "http" not in page


@pytest.mark.parametrize("captions", [[], ["one"], ["one", "two", "three"]])
def test_frames_need_a_caption_each(captions):
    with pytest.raises(ValueError, match=f"one for each of 2 frames, got {len(captions)}"):
        frames([lines(X, {"curve": X}) for _ in range(2)], captions)


def test_a_planes_height_follows_its_points():
    flat = plane({"flat": CLOUD * (1, 0.1)}).get_figheight()
    high = plane({"high": CLOUD * (0.1, 1)}).get_figheight()
    assert 2 < flat < high < 8


def test_plane_draws_clouds_paths_with_their_ends_and_marks_at_one_scale():
    figure = plane({"cloud": CLOUD}, {"path": CLOUD}, {"start": (0, 1), "goal": (9, 9)}, "a", "b")
    (axes,) = figure.axes
    cloud, path, end, *marks = axes.lines
    assert cloud.get_xydata().tolist() == path.get_xydata().tolist() == CLOUD.tolist()
    assert cloud.get_linestyle() == "None"
    assert path.get_linestyle() == "-"
    assert end.get_xydata().tolist() == [CLOUD[-1].tolist()]
    assert end.get_color() == path.get_color()
    assert [mark.get_xydata().tolist() for mark in marks] == [[[0, 1]], [[9, 9]]]
    assert len({mark.get_marker() for mark in marks}) == 2
    assert axes.get_aspect() == 1
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("a", "b")
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert legend == ["cloud", "path", "start", "goal"]


def test_plane_draws_no_ends_where_none_are_meant():
    (axes,) = plane({}, {"path": CLOUD}, ends=False).axes
    assert len(axes.lines) == 1


@pytest.mark.parametrize("shape", [(3,), (3, 3), (2, 3, 2), (0, 2)])
@pytest.mark.parametrize("what", ["points", "paths"])
def test_plane_refuses_what_are_no_points_of_the_plane(what, shape):
    with pytest.raises(ValueError, match=r"'cloud' must have shape \(n, 2\), n ≥ 1, got \("):
        plane(**{what: {"cloud": np.zeros(shape)}})


def test_the_bars_of_a_histogram_have_the_samples_shares_as_areas():
    samples = np.array([0.1, 0.2, 0.6, 7.0])  # the last lies outside
    x = np.array([0.0, 0.3, 1.0])
    (axes,) = histogram({"samples": samples}, x, {"density": x**2}, bins=2).axes
    heights, edges, _ = axes.patches[0].get_data()
    assert edges.tolist() == [0, 0.5, 1]
    assert (heights * 0.5).tolist() == [0.5, 0.25]
    assert curves(axes) == {"density": [x.tolist(), (x**2).tolist()]}
    assert axes.get_ylim()[0] == 0
    legend = [text.get_text() for text in axes.get_legend().get_texts()]
    assert legend == ["samples", "density"]


def test_histogram_refuses_no_bins_and_no_samples():
    with pytest.raises(ValueError, match="bins must be at least 1, got 0"):
        histogram({"samples": X}, X, bins=0)
    with pytest.raises(ValueError, match="x must hold at least two increasing places"):
        histogram({"samples": X}, X[::-1])
    with pytest.raises(ValueError, match="at least one number each, got none of 'none'"):
        histogram({"samples": X, "none": X[:0]}, X)


def test_bars_stand_over_their_names():
    (axes,) = bars(("a", "b", "c"), (3, 1, 2), "model", "nats", reference=1.5).axes
    places = ticks(axes.xaxis)
    assert list(places) == ["a", "b", "c"]
    drawn = [(bar.get_x() + bar.get_width() / 2, bar.get_height()) for bar in axes.patches]
    assert drawn == list(zip(places.values(), (3, 1, 2)))
    assert {bar.get_y() for bar in axes.patches} == {0}
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("model", "nats")
    assert list(axes.lines[0].get_ydata()) == [1.5, 1.5]
    assert not bars(("a",), (1,)).axes[0].lines


def test_bars_without_a_height_each_are_refused():
    with pytest.raises(ValueError, match="heights must hold one for each of 2 names, got 3"):
        bars(("a", "b"), (1, 2, 3))


def test_densities_are_drawn_as_in_figure_1_of_the_paper():
    p_data, p_g, D, D_star = X**2, 1 - X**2, np.full(5, 0.5), X**4
    left, right = densities(X, p_data, p_g, D, D_star).axes
    assert curves(left) == {
        n: [X.tolist(), p.tolist()] for n, p in [(r"$p_\mathrm{data}$", p_data), ("$p_g$", p_g)]
    }
    assert curves(right) == {
        n: [X.tolist(), d.tolist()] for n, d in [("$D^*$", D_star), ("$D$", D)]
    }
    drawn = {line.get_label(): line for line in (*left.lines, *right.lines)}
    look = {name: (to_hex(line.get_color()), line.get_linestyle()) for name, line in drawn.items()}
    assert look == {
        r"$p_\mathrm{data}$": ("#000000", ":"),
        "$p_g$": ("#009e73", "-"),
        "$D$": ("#0072b2", "--"),
        "$D^*$": ("#d55e00", "-"),
    }
    assert left.get_ylim()[0] == 0
    assert right.get_ylim()[0] <= 0 < 1 <= right.get_ylim()[1]


def test_densities_without_discriminators():
    figure = densities(X, X**2, 1 - X**2)
    assert [len(axes.lines) for axes in figure.axes] == [2, 0]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == [
        r"$p_\mathrm{data}$",
        "$p_g$",
    ]
