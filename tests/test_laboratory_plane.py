"""The instrument "In the plane": ganlib's game, what is counted and what the page says of it."""

import math
import re

import numpy as np
import pytest
import torch
from offline import as_opened, open_laboratory, text
from played import REPLAY, Recorded, lists, play

import ganlib

SETTINGS = {"k": 1, "loss": "non_saturating", "rateG": 1e-3, "rateD": 3e-3}  # as the page starts
CONTROLS = {
    "data": "ring",
    "noise": "2",
    "moves": "both",
    "k": "1",
    "loss": "non_saturating",
    "rate_G": "0.001",
    "rate_D": "0.003",
}
STEPS, BATCH = 30, 128


@pytest.fixture(scope="module")
def page(book, browser):
    page = open_laboratory(book, browser)
    yield page
    assert page.wrong == []
    page.context.close()


@pytest.fixture
def instrument(page):
    """As it is when the page has just been opened, but for own data of an earlier test."""
    instrument = as_opened(page, "plane", **CONTROLS)
    instrument.scroll_into_view_if_needed()
    return instrument


def numbers(instrument):
    return [text(instrument, name) for name in ("step", "covered", "good", "V", "pull")]


def words(instrument):
    return instrument.locator("[role=status]").text_content()


def ring():
    angle = torch.arange(8, dtype=torch.float64) * torch.pi / 4
    return torch.stack([angle.cos(), angle.sin()], dim=1)


PLAY = f"""([weights, x, z, settings, noise, data, trial]) => {{
  const {{ Game, DATA, measure }} = instruments.plane;
  const game = new Game(0, {{ modes: DATA.ring, noise }});
  ({REPLAY})(game, weights, x, z, settings);
  const pull = game.pull;
  const [points, noises] = [data, trial].map((values) => Float64Array.from(values));
  const seen = measure(game, DATA.ring, points, noises);
  const by = game.push(game.G.forward(noises), settings.loss);
  return {{ ...seen, samples: [...seen.samples], by: [...by], pull,
           G: game.G.weights.map((w) => [...w]), D: game.D.weights.map((w) => [...w]) }};
}}"""


@pytest.mark.parametrize(("loss", "k", "noise"), [("non_saturating", 1, 2), ("minimax", 2, 1)])
def test_thirty_steps_end_in_the_weights_of_ganlib(page, loss, k, noise):
    """To 1e-9 in every weight of both players; and what is measured then is right."""
    torch.manual_seed(0)
    # The players, the ring and Adam's betas are those of the lesson on failures.
    G = ganlib.MLPGenerator(Recorded(noise), (2,), (64, 64), "identity").double()
    D = ganlib.MLPDiscriminator((2,), (64, 64)).double()
    data = ring()[torch.randint(8, (4000,))] + 0.05 * torch.randn(4000, 2, dtype=torch.float64)
    chances = {"k": k, "loss": loss, "rates": (1e-3, 3e-3), "betas": (0.0, 0.999)}
    game, before, x, z = play(G, D, data, steps=STEPS, batch_size=BATCH, **chances)

    trial = torch.randn(500, noise, dtype=torch.float64)
    settings = {**SETTINGS, "k": k, "loss": loss}
    seen = [data[:600].flatten().tolist(), trial.flatten().tolist()]
    got = page.evaluate(PLAY, [before, x, z, settings, noise, *seen])
    for player, start, end in (("G", before[0], lists(G)), ("D", before[1], lists(D))):
        there, here, then = (np.concatenate(w) for w in (end, got[player], start))
        assert np.abs(there - then).max() > 0.01  # it did move
        assert np.abs(there - here).max() < 1e-9

    assert got["pull"] == pytest.approx(game.history["grad_G"][-1], rel=1e-6)  # kept in float32
    samples = G(trial).detach().requires_grad_()
    on_data, on_samples = D(data[:600]), D(samples)
    assert np.allclose(got["samples"], samples.detach().flatten(), atol=1e-9, rtol=0)
    of_G = ganlib.objectives.GENERATOR_LOSSES[loss](on_samples)
    (by,) = torch.autograd.grad(of_G, [samples], retain_graph=True)
    assert np.allclose(got["by"], by.flatten(), atol=1e-12, rtol=1e-6)
    V = -ganlib.objectives.discriminator_loss(on_data, on_samples).item()
    assert got["V"] == pytest.approx(V, abs=1e-9)
    assert got["onData"] == pytest.approx(on_data.sigmoid().mean().item(), abs=1e-9)
    assert got["onSamples"] == pytest.approx(on_samples.sigmoid().mean().item(), abs=1e-9)


COUNT = """([samples, modes]) => instruments.plane.count(Float64Array.from(samples), modes)"""


@pytest.mark.parametrize("spread", [0.02, 0.05, 0.1, 0.5])
def test_what_is_counted_is_what_the_lesson_on_failures_counts(page, spread):
    torch.manual_seed(1)
    weights = torch.tensor([20.0, 10, 10, 5, 1, 0.3, 0.15, 0])
    samples = ring()[torch.multinomial(weights, 1000, replacement=True)]
    samples = samples + spread * torch.randn(1000, 2, dtype=torch.float64)
    near, which = torch.cdist(samples, ring()).min(1)
    good = near < 3 * 0.05
    covered = (torch.bincount(which[good], minlength=8) >= 1000 / 80).sum().item()
    got = page.evaluate(COUNT, [samples.flatten().tolist(), ring().tolist()])
    assert got == {
        "covered": covered,
        "good": pytest.approx(good.double().mean().item(), abs=1e-12),
    }
    assert 0 < covered < 8


DRAW = """(name) => {
  const { Game, DATA } = instruments.plane;
  const game = new Game(3, { modes: DATA[name], noise: 2 });
  return { modes: DATA[name], points: Array.from({ length: 40 }, () => [...game.data()]).flat() };
}"""


@pytest.mark.parametrize(("name", "n"), [("ring", 8), ("grid", 9), ("spiral", 40)])
def test_the_data_are_the_modes_with_their_spread(page, name, n):
    got = page.evaluate(DRAW, name)
    modes, points = (np.array(got[what]).reshape(-1, 2) for what in ("modes", "points"))
    assert len(modes) == n
    assert np.abs(modes).max() + 3 * 0.05 < 1.75  # all within the picture
    if name == "ring":
        assert np.abs(modes - ring().numpy()).max() < 1e-12
    if name != "spiral":  # whose modes overlap
        far = np.linalg.norm(points[:, None] - modes, axis=2)
        assert np.bincount(far.argmin(1), minlength=n).min() > 0.7 * len(points) / n
        assert far.min(1).max() < 5 * 0.05
        assert (far.min(1) ** 2).mean() == pytest.approx(2 * 0.05**2, rel=0.05)


RUN = """([noise, seed, acts]) => {
  const { Game, DATA, measure } = instruments.plane, modes = DATA.ring;
  const game = new Game(seed, { modes, noise }), chance = new Game(999, { modes, noise });
  const points = Array.from({ length: 1000 }, () => chance.dataPoint(chance));
  const data = Float64Array.from(points.flat());
  const trial = Float64Array.from({ length: 1000 * noise }, chance.normal);
  const off = (xy) => {
    const logits = [...game.D.forward(Float64Array.from(xy))];
    return logits.reduce((sum, l) => sum + Math.abs(Math.tanh(l / 2)), 0) / logits.length;
  };
  const far = Array.from({ length: 32 }, (_, i) => {
    const r = i % 2 ? 1.5 : 1.7, angle = (i * Math.PI) / 16;
    return [r * Math.cos(angle), r * Math.sin(angle)];
  }).flat(), looks = [];
  for (const [steps, every, settings] of acts) {
    for (let step = 1; step <= steps; step++) {
      game.playStep(settings);
      if (step % every) continue;
      const { samples, covered, good, V, onData, onSamples } = measure(game, modes, data, trial);
      const radii = Array.from({ length: 1000 }, (_, i) =>
        Math.hypot(samples[2 * i], samples[2 * i + 1]));
      looks.push({ step: game.step, covered, good, V, onData, onSamples,
                   beyond: radii.filter((r) => r > 1.15).length / 1000, here: off(data),
                   there: Math.max(...game.D.forward(Float64Array.from(far))) });
    }
  }
  return looks;
}"""


@pytest.mark.parametrize("seed", [0, 1])
def test_with_the_settings_of_the_page_all_modes_are_covered(page, seed):
    looks = page.evaluate(RUN, [2, seed, [[1600, 100, SETTINGS]]])
    at = {look["step"]: look for look in looks}
    assert at[300]["covered"] >= 7
    assert at[400]["covered"] == 8
    assert at[400]["good"] < 0.5
    assert 0.45 < at[800]["good"] < 0.7
    assert 0.75 < at[1600]["good"] < 0.9
    assert at[1600]["here"] < 0.2  # from 2D − 1 = 0, where data are
    assert at[1600]["there"] < 0  # all logits far from both


@pytest.mark.parametrize("seed", range(6))
def test_with_a_slow_D_the_samples_collapse_and_V_does_not_tell(page, seed):
    looks = page.evaluate(RUN, [2, seed, [[1000, 1, {**SETTINGS, "rateD": 1e-4}]]])
    if seed == 5:
        assert looks[-1]["covered"] == 8
    else:
        assert max(look["covered"] for look in looks) <= 4
    late = [abs(look["V"] + math.log(4)) for look in looks if look["step"] >= 100]
    assert max(late) < 0.1


def test_one_player_at_a_time_does_what_the_page_says(page):
    D_alone, G_alone = ({**SETTINGS, "moves": player} for player in "DG")
    judged, moved = page.evaluate(RUN, [2, 0, [[200, 200, D_alone], [200, 200, G_alone]]])
    assert -0.05 < judged["V"] < 0
    assert judged["onData"] > 0.95 > 0.05 > judged["onSamples"]
    assert judged["beyond"] == 0
    assert moved["V"] < -5
    assert moved["onSamples"] > 0.9
    assert moved["beyond"] > 0.3


def test_step_and_reset(instrument):
    start = numbers(instrument)
    assert start[0] == "0"
    assert start[1].endswith(" of 8")
    assert start[-1] == "–"
    paths = [instrument.locator(f"#plane-picture {path}") for path in (".points.samples", ".arrow")]
    ground = instrument.locator("#plane-picture image")
    drawn = [path.get_attribute("d") for path in paths]
    coloured = ground.get_attribute("href")
    assert coloured.startswith("data:image/png")
    for step in (1, 2, 3):
        instrument.locator("[name=step]").click()
        assert text(instrument, "step") == str(step)
        assert words(instrument).startswith(f"Step {step}. Samples cover")
    moved = numbers(instrument)
    assert moved[3:] != start[3:]
    assert all(path.get_attribute("d") != d for path, d in zip(paths, drawn, strict=True))
    assert ground.get_attribute("href") != coloured
    instrument.locator("[name=reset]").click()
    assert numbers(instrument) == start
    assert [path.get_attribute("d") for path in paths] == drawn
    assert ground.get_attribute("href") == coloured
    for _ in range(3):
        instrument.locator("[name=step]").press("Enter")
    assert numbers(instrument) == moved


def test_play_and_pause(page, instrument):
    said = words(instrument)
    button = instrument.locator("[name=play]")
    button.press("Space")
    assert button.text_content() == "Pause"
    page.wait_for_function(
        "document.querySelector('[data-instrument=plane] [data-number=step]').textContent > 5"
    )
    assert words(instrument) == said  # quiet while it plays
    button.press("Space")
    assert button.text_content() == "Play"
    paused = text(instrument, "step")
    assert f"Step {paused}." in words(instrument)
    page.wait_for_timeout(300)
    assert text(instrument, "step") == paused


def test_every_setting_changes_the_game(instrument):
    def after_two_steps(**settings):
        for name, value in (CONTROLS | settings).items():
            instrument.locator(f"[name={name}]").select_option(value)
        instrument.locator("[name=reset]").click()
        for _ in range(2):
            instrument.locator("[name=step]").click()
        return (*numbers(instrument)[3:], words(instrument))

    changes = [
        {"data": "grid"},
        {"data": "spiral"},
        {"noise": "1"},
        {"moves": "D"},
        {"moves": "G"},
        {"k": "5"},
        {"loss": "minimax"},
        {"rate_G": "0.003"},
        {"rate_D": "0.0001"},
    ]
    courses = [after_two_steps(), *(after_two_steps(**change) for change in changes)]
    assert after_two_steps() == courses[0]
    instrument.locator("[name=seed]").fill("7")
    instrument.locator("[name=seed]").press("Tab")
    assert text(instrument, "step") == "0"  # another start
    courses.append(after_two_steps())
    assert len(set(courses)) == len(courses)


def drawn(instrument, path):
    """The places in a path of the picture, in its pixels: one row a point."""
    d = instrument.locator(f"#plane-picture {path}").get_attribute("d")
    return np.array(re.findall(r"[ML]([\d.-]+) ([\d.-]+)", d), float).reshape(-1, 2)


def pixel(instrument, x, y):
    """Where (x, y) is in the picture, by the lines of its grid at −1, 0 and 1."""
    lines = instrument.locator("#plane-picture").evaluate(
        """(svg) => [...svg.querySelectorAll(".axes path")].map((line) => {
             const box = line.getBBox();
             return [box.x, box.y, box.width, box.height];
           })"""
    )
    columns = sorted(left for left, _, _, height in lines if height)
    rows = sorted((top for _, top, width, _ in lines if width), reverse=True)
    assert len(columns) == len(rows) == 3
    assert np.diff(columns) == pytest.approx(-np.diff(rows), abs=0.01)  # a square
    return np.array([columns[1] + x * (columns[2] - columns[1]), rows[1] + y * np.diff(rows)[0]])


def own_mode(instrument, x, y):
    """Data of one mode, there."""
    instrument.locator("[name=data]").select_option("own")
    instrument.locator("[name=clear]").click()
    instrument.locator("[name=x]").fill(str(x))
    instrument.locator("[name=y]").fill(str(y))
    instrument.locator("[name=add]").press("Enter")
    assert text(instrument, "covered").endswith(" of 1")


def test_own_data_by_number(instrument):
    own = instrument.locator(".own")
    assert not own.is_visible()
    instrument.locator("[name=data]").select_option("own")
    assert own.is_visible()
    samples = drawn(instrument, ".points.samples")
    instrument.locator("[name=clear]").click()
    assert text(instrument, "covered") == "0 of 0"
    assert len(drawn(instrument, ".points.data")) == 0
    assert np.array_equal(drawn(instrument, ".points.samples"), samples)  # G has not moved
    assert words(instrument).startswith("There are no data.")
    for name in ("play", "step"):
        assert instrument.locator(f"[name={name}]").is_disabled()

    own_mode(instrument, 1.2, -0.6)
    assert instrument.locator("[name=step]").is_enabled()
    points = drawn(instrument, ".points.data")
    assert len(points) == 250
    assert points.mean(0) == pytest.approx(pixel(instrument, 1.2, -0.6), abs=2)
    unit = pixel(instrument, 1, 0)[0] - pixel(instrument, 0, 0)[0]
    assert points.std(0) == pytest.approx(0.05 * unit, rel=0.15)

    instrument.locator("[name=add]").click()  # the same again
    assert text(instrument, "covered").endswith(" of 1")
    assert words(instrument).startswith("There is a mode already.")
    for beyond in ("9", ""):
        instrument.locator("[name=x]").fill(beyond)
        instrument.locator("[name=add]").click()
        assert text(instrument, "covered").endswith(" of 1")
    instrument.locator("[name=x]").fill("0")
    instrument.locator("[name=step]").click()
    instrument.locator("[name=add]").click()  # the game goes on
    assert text(instrument, "step") == "1"
    assert text(instrument, "covered").endswith(" of 2")
    instrument.locator("[name=data]").select_option("ring")  # which stays what it was
    assert text(instrument, "covered").endswith(" of 8")
    instrument.locator("[name=data]").select_option("own")  # and so do these
    assert text(instrument, "covered").endswith(" of 2")


def test_own_data_by_pointer_also_while_it_plays(page, instrument):
    own_mode(instrument, 1, 1)
    instrument.locator("[name=clear]").click()
    box = instrument.locator("#plane-picture").bounding_box()
    left, top = np.array([box["x"], box["y"]]) + pixel(instrument, -0.8, 0.9)
    page.mouse.move(left, top)
    page.mouse.down(button="right")
    page.mouse.up(button="right")
    assert text(instrument, "covered") == "0 of 0"
    page.mouse.down()
    assert text(instrument, "covered").endswith(" of 1")
    centre = drawn(instrument, ".points.data").mean(0)
    assert centre == pytest.approx(pixel(instrument, -0.8, 0.9), abs=2)
    page.mouse.move(left + 1, top)  # too near
    assert text(instrument, "covered").endswith(" of 1")
    page.mouse.move(left + 60, top, steps=30)
    page.mouse.up()
    modes = int(text(instrument, "covered").split()[-1])
    assert 4 <= modes <= 8
    assert f"of {modes} modes" in words(instrument)
    page.mouse.move(left + 60, top + 60, steps=5)  # not pressed
    page.mouse.move(left, top)
    page.mouse.down()  # where a mode is
    page.mouse.up()
    assert text(instrument, "covered").endswith(f" of {modes}")
    assert words(instrument).startswith("There is a mode already.")

    said = words(instrument)
    instrument.locator("[name=play]").click()
    page.mouse.move(left, top + 90)
    page.mouse.down()
    page.mouse.up()
    assert text(instrument, "covered").endswith(f" of {modes + 1}")
    step = int(text(instrument, "step"))
    page.wait_for_function(
        "step => document.querySelector('#plane-status').parentElement"
        ".querySelector('[data-number=step]').textContent > step",
        arg=step,
    )
    assert words(instrument) == said  # quiet while it plays
    instrument.locator("[name=play]").click()
    instrument.locator("[name=data]").select_option("ring")
    box = instrument.locator("#plane-picture").bounding_box()
    place = [box["x"] + box["width"] / 2, box["y"] + box["height"] / 2]
    assert page.evaluate(
        "([x, y]) => document.elementFromPoint(x, y).closest('#plane-picture') !== null", place
    )
    page.mouse.move(*place)
    page.mouse.down()
    page.mouse.up()
    assert text(instrument, "covered").endswith(" of 8")


def test_there_is_a_limit_to_own_modes_and_it_is_told(instrument):
    own_mode(instrument, -1.7, 1.7)
    for n in range(1, 101):
        instrument.locator("[name=x]").fill(f"{-1.7 + 0.1 * (n % 30):.1f}")
        instrument.locator("[name=y]").fill(f"{1.7 - 0.1 * (n // 30):.1f}")
        instrument.locator("[name=add]").press("Enter")
    assert text(instrument, "covered").endswith(" of 100")
    assert words(instrument).startswith("There are 100 modes")


COLOURS = """async (href) => {
  const image = new Image();
  image.src = href;
  await image.decode();
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [image.width, image.height];
  const pen = canvas.getContext("2d");
  pen.drawImage(image, 0, 0);
  return [...pen.getImageData(0, 0, image.width, image.height).data];
}"""


def test_the_ground_shows_what_D_answers_and_the_lines_the_way_to_the_data(page, instrument):
    own_mode(instrument, 1, 1)
    instrument.locator("[name=moves]").select_option("D")
    for _ in range(40):
        instrument.locator("[name=step]").press("Enter")
    href = instrument.locator("#plane-picture image").get_attribute("href")
    colours = np.array(page.evaluate(COLOURS, href)).reshape(48, 48, 4)
    at = {corner: colours[corner] for corner in ((10, 37), (24, 24), (37, 10))}
    for corner, blue in (((10, 37), True), ((24, 24), False), ((37, 10), False)):
        red, _, b, alpha = at[corner]  # row from the top, column from the left
        assert (b > red) == blue, at
        assert alpha > 60
    # The line D = 1/2 keeps the blue from the orange.
    half = drawn(instrument, ".half")
    assert len(half) > 10
    data, origin = pixel(instrument, 1, 1), pixel(instrument, 0, 0)
    between = (half - origin) @ (data - origin) / ((data - origin) @ (data - origin))
    x, y = (data - origin) / np.linalg.norm(data - origin)
    beside = np.abs((half - origin)[:, 0] * y - (half - origin)[:, 1] * x)
    assert ((between > 0) & (between < 1) & (beside < 5)).any()
    # Each line starts at a sample and goes up the answer, here towards the data.
    lines = drawn(instrument, ".arrow").reshape(50, 2, 2)
    assert np.array_equal(lines[:, 0], drawn(instrument, ".points.samples")[:50])
    ways = lines[:, 1] - lines[:, 0]
    cosines = (
        (ways @ (data - origin)) / np.linalg.norm(ways, axis=1) / np.linalg.norm(data - origin)
    )
    assert np.median(cosines) > 0.9
    unit = pixel(instrument, 1, 0)[0] - origin[0]
    assert np.linalg.norm(ways, axis=1).max() < 0.36 * unit
    # Minimax pulls less where D is sure, and the lines say so at once.
    instrument.locator("[name=loss]").select_option("minimax")
    weak = drawn(instrument, ".arrow").reshape(50, 2, 2)
    assert (
        np.linalg.norm(weak[:, 1] - weak[:, 0], axis=1).mean() < np.linalg.norm(ways, axis=1).mean()
    )


def test_pausing_and_playing_again_is_one_game_where_motion_is_not_wanted(book, browser):
    page = open_laboratory(book, browser, reduced_motion="reduce")
    instrument = page.locator("[data-instrument=plane]")
    for _ in range(5):
        instrument.locator("[name=play]").click()
    page.wait_for_function(
        "document.querySelector('[data-instrument=plane] [data-number=step]').textContent > 0"
    )
    page.wait_for_timeout(500)
    assert text(instrument, "step") == "50"
    instrument.locator("[name=play]").click()
    assert page.wrong == []
    page.context.close()


def test_own_data_start_as_a_copy_and_forms_are_not_restored(book, browser):
    page = open_laboratory(book, browser)
    instrument = page.locator("[data-instrument=plane]")
    instrument.locator("[name=data]").select_option("grid")
    instrument.locator("[name=data]").select_option("own")
    assert text(instrument, "covered").endswith(" of 9")
    page.goto((book / "intro.html").as_uri())
    page.go_back()
    instrument.locator("[data-number=covered]").wait_for()
    shown = instrument.locator("[name=data]").input_value()
    assert (shown, text(instrument, "covered").split()[-1]) in {("ring", "8"), ("own", "9")}
    assert page.wrong == []
    page.context.close()


def test_without_javascript_there_is_the_figure_of_the_lesson(book, browser):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto((book / "chapters" / "laboratory.html").as_uri())
    instrument = page.locator("[data-instrument=plane]")
    picture = instrument.locator("img")
    assert picture.is_visible()
    assert picture.evaluate("image => image.naturalWidth") > 300
    assert picture.get_attribute("alt").startswith("Eight clusters")
    assert instrument.locator(":is(button, input, select):visible").count() == 0
    context.close()
