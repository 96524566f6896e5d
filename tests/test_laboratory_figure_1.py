"""The instrument "Figure 1, live": the game that ganlib plays, what it measures, its handling."""

import math

import numpy as np
import pytest
import torch
from offline import as_opened, open_laboratory, text
from played import REPLAY, Recorded, lists, play
from scipy.special import rel_entr
from scipy.stats import norm

import ganlib

HUMPS = [(0.65, -1, 0.6), (0.35, 1.5, 0.5)]
STEPS, BATCH, RATE = 50, 128, 0.001
SETTINGS = {"k": 2, "loss": "non_saturating", "rateG": RATE, "rateD": RATE}  # as the page starts


@pytest.fixture(scope="module")
def page(book, browser):
    page = open_laboratory(book, browser)
    yield page
    assert page.wrong == []
    page.context.close()


@pytest.fixture
def instrument(page):
    """As it is when the page has just been opened."""
    return as_opened(page, "figure_1", k="2", loss="non_saturating", rate="0.001", moves="both")


def numbers(instrument):
    return [text(instrument, name) for name in ("step", "JSD", "V", "C", "pull")]


def play_in_ganlib(loss, k):
    """STEPS steps of `ganlib.train`, and what `played.play` gives of them."""
    torch.manual_seed(0)
    G = ganlib.MLPGenerator(Recorded(1), (1,), hidden=(16, 16), output="identity").double()
    D = ganlib.MLPDiscriminator((1,), hidden=(32, 32)).double()
    hump = torch.randint(0, 2, (5000, 1))
    data = torch.randn(5000, 1, dtype=torch.float64) + torch.where(hump == 1, 1.5, -1.0)
    chances = {"k": k, "loss": loss, "rates": (RATE, RATE), "betas": (0.5, 0.99)}
    return G, D, *play(G, D, data, steps=STEPS, batch_size=BATCH, **chances)


PLAY = f"""([weights, x, z, settings]) => {{
  const game = new instruments.figure_1.Game(0);
  ({REPLAY})(game, weights, x, z, settings);
  const pull = game.pull;
  const {{ density, best, answers, JSD, V, C }} = instruments.figure_1.measure(game);
  return {{ G: game.G.weights.map((w) => [...w]), D: game.D.weights.map((w) => [...w]),
           density: [...density], best: [...best], answers: [...answers], JSD, V, C, pull }};
}}"""


@pytest.mark.parametrize(("loss", "k"), [("non_saturating", 2), ("minimax", 1)])
def test_fifty_steps_end_in_the_weights_of_ganlib(page, loss, k):
    """To 1e-9 in every weight of both players; and what is measured then is right."""
    G, D, game, before, x, z = play_in_ganlib(loss, k)
    got = page.evaluate(PLAY, [before, x, z, {**SETTINGS, "k": k, "loss": loss}])
    for player, start, end in (("G", before[0], lists(G)), ("D", before[1], lists(D))):
        there, here, then = (np.concatenate(w) for w in (end, got[player], start))
        assert np.abs(there - then).max() > 0.01  # it did move
        assert np.abs(there - here).max() < 1e-9
    assert got["pull"] == pytest.approx(game.history["grad_G"][-1], rel=1e-6)  # kept in float32
    check_measures(G, D, got)


@torch.no_grad()
def check_measures(G, D, got):
    """D to 1e-12; the sums to 1e-4 of those over a million evenly spread noises, D* to 0.01."""
    edges = np.linspace(-6, 6, 601)
    centres = (edges[1:] + edges[:-1]) / 2
    answers = torch.sigmoid(D(torch.tensor(centres)[:, None])).numpy().ravel()
    assert np.abs(got["answers"] - answers).max() < 1e-12

    noise = torch.tensor(norm.ppf((np.arange(1_000_000) + 0.5) / 1_000_000))[:, None]
    samples = G(noise).numpy().ravel().clip(-6 + 1e-9, 6 - 1e-9)
    q = np.histogram(samples, edges)[0] / 1_000_000
    p = sum(w * np.diff(norm.cdf(edges, mean, sd)) for w, mean, sd in HUMPS)
    here = np.array(got["density"]) * 0.02
    assert here.sum() == pytest.approx(1, abs=1e-10)
    assert np.abs(here - q).max() < 1e-3  # of the bends of G, which the fine grid of noise cuts
    assert np.abs(np.cumsum(here) - np.cumsum(q)).max() < 1e-3

    mean = (p + q) / 2
    JSD = (rel_entr(p, mean) + rel_entr(q, mean)).sum() / 2
    assert got["JSD"] == pytest.approx(JSD, abs=1e-4)
    assert got["C"] == pytest.approx(2 * got["JSD"] - math.log(4), abs=1e-12)
    V = (p * np.log(answers) + q * np.log1p(-answers)).sum()
    assert got["V"] == pytest.approx(V, abs=1e-4)
    assert got["V"] <= got["C"]
    many = p + q > 1e-3
    assert np.abs(np.array(got["best"])[many] - (p / np.maximum(p + q, 1e-3))[many]).max() < 0.01


RUN = """([seed, acts]) => {
  const { Game, measure } = instruments.figure_1, game = new Game(seed), looks = [];
  for (const [steps, every, settings] of acts) {
    for (let step = 1; step <= steps; step++) {
      game.playStep(settings);
      if (step % every === 0) {
        const { JSD, V, C, least, most } = measure(game);
        looks.push({ step: game.step, JSD, V, C, least, most, pull: game.pull });
      }
    }
  }
  return looks;
}"""


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_with_the_settings_of_the_page_the_samples_arrive(page, seed):
    looks = page.evaluate(RUN, [seed, [[1, 1, SETTINGS], [699, 25, SETTINGS]]])
    assert looks[0]["JSD"] > 0.5
    assert all(look["V"] <= look["C"] for look in looks)
    late = [look for look in looks if look["step"] >= 600]
    assert max(look["JSD"] for look in late) < 0.05
    assert abs(late[-1]["V"] + math.log(4)) < 0.05
    assert late[-1]["least"] > 0.25
    assert late[-1]["most"] < 0.75


def test_one_player_at_a_time_does_what_the_page_says(page):
    D_alone, G_alone = ({**SETTINGS, "moves": player} for player in "DG")
    acts = [[1, 1, D_alone], [299, 299, D_alone], [200, 200, G_alone]]
    first, judged, moved = page.evaluate(RUN, [0, acts])
    assert first["C"] == judged["C"]
    assert judged["C"] - first["V"] > 1
    assert judged["C"] - judged["V"] < 0.1
    assert moved["V"] < -5


def test_the_minimax_loss_pulls_less_and_arrives_as_the_page_says(page):
    D_alone, minimax = {**SETTINGS, "moves": "D"}, {**SETTINGS, "loss": "minimax"}
    acts = [[300, 301, D_alone], [1, 1, SETTINGS], [1, 1, minimax], [299, 299, minimax]]
    usual, weak, end = page.evaluate(RUN, [0, acts])
    assert 0 < weak["pull"] < usual["pull"] / 10
    assert end["JSD"] < 0.05


def test_with_a_large_learning_rate_there_is_no_rest(page):
    looks = page.evaluate(RUN, [0, [[600, 25, {**SETTINGS, "rateG": 0.01, "rateD": 0.01}]]])
    small = next(look["step"] for look in looks if look["JSD"] < 0.05)
    assert small < 300
    again = [look for look in looks if look["step"] > small and look["JSD"] > 0.1]
    assert again
    assert min(abs(look["V"] + math.log(4)) for look in again) < 0.05


def test_step_and_reset(instrument):
    start = numbers(instrument)
    assert start[0] == "0"
    assert start[-1] == "–"
    path = instrument.locator("[data-part=picture] .curve.samples")
    drawn = path.get_attribute("d")
    for step in (1, 2, 3):
        instrument.locator("[name=step]").click()
        assert text(instrument, "step") == str(step)
        assert f"Step {step}." in instrument.locator("[role=status]").text_content()
    moved = numbers(instrument)
    assert moved[1:] != start[1:]
    assert path.get_attribute("d") != drawn
    instrument.locator("[name=reset]").click()
    assert numbers(instrument) == start
    assert path.get_attribute("d") == drawn
    for _ in range(3):
        instrument.locator("[name=step]").press("Enter")
    assert numbers(instrument) == moved


def test_play_and_pause(page, instrument):
    words = instrument.locator("[role=status]").text_content()
    play = instrument.locator("[name=play]")
    play.press("Space")
    assert play.text_content() == "Pause"
    page.wait_for_function("document.querySelector('[data-number=step]').textContent > 5")
    assert instrument.locator("[role=status]").text_content() == words  # quiet while it plays
    play.press("Space")
    assert play.text_content() == "Play"
    paused = text(instrument, "step")
    assert f"Step {paused}." in instrument.locator("[role=status]").text_content()
    page.wait_for_timeout(300)
    assert text(instrument, "step") == paused
    assert int(paused) > 5


def test_every_setting_changes_the_game(instrument):
    def after_two_steps(**settings):
        instrument.locator("[name=reset]").click()
        for name, value in settings.items():
            instrument.locator(f"[name={name}]").select_option(value)
        for _ in range(2):
            instrument.locator("[name=step]").click()
        return tuple(numbers(instrument)[2:])

    courses = [after_two_steps()]
    courses.append(after_two_steps(loss="minimax"))
    courses.append(after_two_steps(loss="non_saturating", k="5"))
    courses.append(after_two_steps(k="2", rate="0.01"))
    courses.append(after_two_steps(rate="0.001", moves="D"))
    courses.append(after_two_steps(moves="G"))
    again = after_two_steps(moves="both")
    assert again == courses[0]
    instrument.locator("[name=seed]").fill("7")
    instrument.locator("[name=seed]").press("Tab")
    assert text(instrument, "step") == "0"  # another start
    courses.append(after_two_steps())
    assert len(set(courses)) == len(courses)


def test_where_motion_is_not_wanted_play_goes_in_jumps(book, browser):
    page = open_laboratory(book, browser, reduced_motion="reduce")
    instrument = page.locator("[data-instrument=figure_1]")
    page.wait_for_timeout(300)
    assert text(instrument, "step") == "0"
    instrument.locator("[name=play]").click()
    page.wait_for_function("document.querySelector('[data-number=step]').textContent !== '0'")
    assert text(instrument, "step") == "50"
    instrument.locator("[name=play]").click()
    assert page.wrong == []
    page.context.close()


def test_on_a_phone_nothing_scrolls_sideways_and_the_theme_is_followed(book, browser):
    colours = []
    for scheme in ("light", "dark"):
        page = open_laboratory(
            book, browser, viewport={"width": 390, "height": 844}, color_scheme=scheme
        )
        page.wait_for_selector(f"html[data-theme={scheme}]", state="attached")
        for instrument in page.locator(".instrument").all():
            assert instrument.evaluate("element => element.scrollWidth - element.clientWidth") <= 0
        assert page.evaluate("document.documentElement.scrollWidth - window.innerWidth") <= 0
        curve = page.locator("#figure-1-picture .curve.data")
        colours.append(curve.evaluate("path => getComputedStyle(path).stroke"))
        page.emulate_media(media="print")  # on paper it is never dark
        colours.append(curve.evaluate("path => getComputedStyle(path).stroke"))
        page.context.close()
    black, white = "rgb(0, 0, 0)", "rgb(255, 255, 255)"
    assert colours == [black, black, white, black]


def test_every_control_and_picture_has_a_name_and_printing_leaves_the_controls_out(page):
    instruments = page.locator(".instrument-live")
    for control in instruments.locator("button, input, select").all():
        assert control.evaluate(
            "element => (element.labels?.[0] ?? element).textContent.trim().length"
        )
    for picture in instruments.locator("svg[data-part]").all():
        assert picture.get_attribute("role") == "img"
        assert picture.get_attribute("aria-label")
        described = picture.get_attribute("aria-describedby")
        assert page.locator(f"#{described}[role=status]").count() == 1
    page.emulate_media(media="print")
    assert instruments.locator("button:visible, select:visible").count() == 0
    assert instruments.locator("svg[data-part]:visible").count() == 8
    page.emulate_media(media="screen")


def test_without_javascript_there_is_the_figure_of_the_lesson(book, browser):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto((book / "chapters" / "laboratory.html").as_uri())
    instrument = page.locator("[data-instrument=figure_1]")
    picture = instrument.locator("img")
    assert picture.is_visible()
    assert picture.evaluate("image => image.naturalWidth") > 300
    assert picture.get_attribute("alt").startswith("Four panels")
    assert instrument.locator(":is(button, input, select):visible").count() == 0
    context.close()
