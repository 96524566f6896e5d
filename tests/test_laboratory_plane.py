"""The instrument "In the plane": ganlib's game, what is counted and what the page says of it."""

import math

import numpy as np
import pytest
import torch
from offline import open_offline
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


def open_laboratory(book, browser, **settings):
    return open_offline(browser, book / "chapters" / "laboratory.html", **settings)


@pytest.fixture(scope="module")
def page(book, browser):
    page = open_laboratory(book, browser)
    yield page
    assert page.wrong == []
    page.context.close()


@pytest.fixture
def instrument(page):
    """As it is when the page has just been opened."""
    instrument = page.locator("[data-instrument=plane]")
    for name, value in CONTROLS.items():
        instrument.locator(f"[name={name}]").select_option(value)
    instrument.locator("[name=seed]").fill("0")
    instrument.locator("[name=reset]").click()
    instrument.scroll_into_view_if_needed()
    return instrument


def text(instrument, name):
    return instrument.locator(f'[data-number="{name}"]').text_content()


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
  const [points, noises] = [data, trial].map((values) => Float64Array.from(values));
  const seen = measure(game, DATA.ring, points, noises);
  const by = game.push(game.G.forward(noises), settings.loss);
  return {{ ...seen, samples: [...seen.samples], by: [...by], pull: game.pull,
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
    before, x, z = play(G, D, data, steps=STEPS, batch_size=BATCH, **chances)

    trial = torch.randn(500, noise, dtype=torch.float64)
    settings = {**SETTINGS, "k": k, "loss": loss}
    seen = [data[:600].flatten().tolist(), trial.flatten().tolist()]
    got = page.evaluate(PLAY, [before, x, z, settings, noise, *seen])
    for player, start, end in (("G", before[0], lists(G)), ("D", before[1], lists(D))):
        there, here, then = (np.concatenate(w) for w in (end, got[player], start))
        assert np.abs(there - then).max() > 0.01  # it did move
        assert np.abs(there - here).max() < 1e-9

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
    assert got == {"covered": covered, "good": pytest.approx(good.double().mean().item(), abs=1e-12)}
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
  const corners = [-1.7, -1.7, 1.7, -1.7, -1.7, 1.7, 1.7, 1.7], looks = [];
  for (const [steps, every, settings] of acts) {
    for (let step = 1; step <= steps; step++) {
      game.playStep(settings);
      if (step % every) continue;
      const { samples, covered, good, V, onData, onSamples } = measure(game, modes, data, trial);
      const far = Array.from({ length: 1000 }, (_, i) =>
        Math.hypot(samples[2 * i], samples[2 * i + 1]));
      looks.push({ step: game.step, covered, good, V, onData, onSamples,
                   beyond: far.filter((r) => r > 1.15).length / 1000,
                   here: off(data), there: off(corners) });
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
    assert at[1600]["here"] < 0.2  # D is near one half where data are, and not in the corners
    assert at[1600]["there"] > 0.3


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_with_a_slow_D_the_samples_collapse_and_V_does_not_tell(page, seed):
    looks = page.evaluate(RUN, [2, seed, [[1000, 50, {**SETTINGS, "rateD": 1e-4}]]])
    assert max(look["covered"] for look in looks) <= 4
    assert max(abs(look["V"] + math.log(4)) for look in looks[1:]) < 0.1


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


def shown_points(instrument):
    """Where the picture shows data: their d attribute, one entry a point."""
    return instrument.locator("#plane-picture .points.data").get_attribute("d").split("M")[1:]


def test_own_data_by_pointer_and_by_number(page, instrument):
    own = instrument.locator(".own")
    assert not own.is_visible()
    instrument.locator("[name=data]").select_option("own")
    assert own.is_visible()
    assert text(instrument, "covered").endswith(" of 8")  # a copy of what was shown
    instrument.locator("[name=clear]").click()
    assert text(instrument, "covered") == "0 of 0"
    assert shown_points(instrument) == []
    assert words(instrument).startswith("There are no data.")
    for name in ("play", "step"):
        assert instrument.locator(f"[name={name}]").is_disabled()

    instrument.locator("[name=x]").fill("1")
    instrument.locator("[name=y]").fill("-1")
    instrument.locator("[name=add]").press("Enter")
    assert text(instrument, "covered").endswith(" of 1")
    assert instrument.locator("[name=step]").is_enabled()
    places = np.array([place[: place.index("h")].split() for place in shown_points(instrument)])
    x, y = places.astype(float).mean(0)
    box = instrument.locator("#plane-picture").bounding_box()
    assert len(places) == 250
    assert x > 0.7 * box["width"]  # to the right, and below
    assert y > 0.7 * box["height"]

    # Pressing puts a mode there, and moving puts more, but not one on another.
    left, top = box["x"] + box["width"] / 3, box["y"] + box["height"] / 3
    page.mouse.move(left, top)
    page.mouse.down()
    assert text(instrument, "covered").endswith(" of 2")
    page.mouse.move(left + 1, top)
    assert text(instrument, "covered").endswith(" of 2")
    page.mouse.move(left + 60, top, steps=30)
    page.mouse.up()
    drawn = int(text(instrument, "covered").split()[-1])
    assert 4 <= drawn <= 8
    assert f"of {drawn} modes" in words(instrument)
    page.mouse.move(left + 60, top + 60, steps=5)  # not pressed
    assert text(instrument, "covered").endswith(f" of {drawn}")

    instrument.locator("[name=x]").fill("9")  # beyond the picture: nothing is added
    instrument.locator("[name=add]").click()
    assert text(instrument, "covered").endswith(f" of {drawn}")

    instrument.locator("[name=step]").click()
    instrument.locator("[name=x]").fill("0")
    instrument.locator("[name=add]").click()  # while a game goes on
    assert text(instrument, "step") == "1"
    assert text(instrument, "covered").endswith(f" of {drawn + 1}")
    instrument.locator("[name=data]").select_option("ring")  # which stays what it was
    assert text(instrument, "covered").endswith(" of 8")
    assert page.evaluate("instruments.plane.DATA.ring.length") == 8
    page.mouse.move(left, top)
    page.mouse.down()
    page.mouse.up()
    assert text(instrument, "covered").endswith(" of 8")


def test_the_picture_is_a_square_and_its_places_are_where_they_say(instrument):
    at = instrument.locator("#plane-picture").evaluate(
        """(svg) => [...svg.querySelectorAll(".axes path")].map((line) => {
             const box = line.getBBox();
             return [box.x, box.y, box.width, box.height];
           })"""
    )
    rows = sorted(y for _, y, width, _ in at if width)
    columns = sorted(x for x, _, _, height in at if height)
    assert np.ptp(np.diff(rows)) < 0.01
    assert np.diff(rows)[0] == pytest.approx(np.diff(columns)[0], abs=0.01)


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
