"""The instrument "Two Gaussians": its numbers against SciPy and closed forms, and its handling."""

import math
from itertools import pairwise

import numpy as np
import pytest
from offline import open_laboratory, text
from scipy.integrate import quad
from scipy.stats import norm

CASES = [
    ((-1, 1), (1.5, 0.6)),
    ((0, 1), (0, 1)),
    ((0, 1), (0, 2)),
    ((0.3, 0.3), (0, 3)),
    ((-4, 3), (4, 0.3)),
    ((-4, 0.3), (4, 0.3)),
    ((-3, 0.5), (3, 0.5)),
    ((2, 3), (-4, 3)),
]


@pytest.fixture(scope="module")
def page(book, browser):
    """The laboratory with the network cut; nothing may be asked of it, and nothing may fail."""
    page = open_laboratory(book, browser, reduced_motion="reduce")
    yield page
    assert page.wrong == []
    page.context.close()


@pytest.fixture
def instrument(page):
    instrument = page.locator("[data-instrument=gaussians]")
    instrument.locator("[name=reset]").click()
    return instrument


def set_to(instrument, **values):
    for name, value in values.items():
        instrument.locator(f"[name={name}]").fill(str(value))


def shown(instrument, name):
    return float(text(instrument, name).replace("−", "-"))


def value(instrument, name):
    return float(instrument.locator(f"[name={name}]").input_value())


@pytest.mark.parametrize(("data", "samples"), CASES)
def test_numbers_agree_with_closed_forms_and_quadrature(page, data, samples):
    """KL to 1e-10 of its closed form, JSD to 1e-8 of QUADPACK, D* to 1e-12."""
    got = page.evaluate(
        """([data, samples]) => {
             const numbers = instruments.gaussians.measure(data, samples);
             return { ...numbers, x: [...numbers.x], best: [...numbers.best] };
           }""",
        [dict(zip(("mean", "sd"), pair)) for pair in (data, samples)],
    )
    (m, s), (m_g, s_g) = data, samples

    def kl(m1, s1, m2, s2):
        return math.log(s2 / s1) + (s1**2 + (m1 - m2) ** 2) / (2 * s2**2) - 1 / 2

    assert got["KL"] == pytest.approx(kl(m, s, m_g, s_g), rel=1e-10, abs=1e-10)
    assert got["reverse"] == pytest.approx(kl(m_g, s_g, m, s), rel=1e-10, abs=1e-10)

    p, q = norm(m, s), norm(m_g, s_g)

    def integrand(x):
        log_p, log_q = p.logpdf(x), q.logpdf(x)
        log_m = np.logaddexp(log_p, log_q) - math.log(2)
        return (math.exp(log_p) * (log_p - log_m) + math.exp(log_q) * (log_q - log_m)) / 2

    ends = sorted(
        {mean + n * sd for mean, sd in (data, samples) for n in (-12, -4, -1, 0, 1, 4, 12)}
    )
    reference = sum(quad(integrand, a, b, epsabs=1e-12)[0] for a, b in pairwise(ends))
    assert got["JSD"] == pytest.approx(reference, abs=1e-8)
    assert got["C"] == pytest.approx(2 * reference - math.log(4), abs=2e-8)

    x = np.array(got["x"])
    D_star = np.exp(p.logpdf(x) - np.logaddexp(p.logpdf(x), q.logpdf(x)))
    assert np.abs(np.array(got["best"]) - D_star).max() < 1e-12


def test_each_slider_moves_its_number_by_keyboard(instrument):
    for name in ("mean_data", "sd_data", "mean_samples", "sd_samples"):
        slider = instrument.locator(f"[name={name}]")
        before, divergence = value(instrument, name), shown(instrument, "KL")
        slider.focus()
        slider.press("ArrowRight")
        assert value(instrument, name) == pytest.approx(before + 0.05)
        assert slider.locator("xpath=following-sibling::output").text_content() == (
            f"{before + 0.05:.2f}".replace("-", "−")
        )
        assert shown(instrument, "KL") != divergence


def drag(page, handle, by):
    handle.scroll_into_view_if_needed()
    box = handle.bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + by / 2, y, steps=3)
    page.mouse.move(x + by, y + 30)
    page.mouse.up()
    page.mouse.move(x + 3 * by, y)  # let go of: nothing follows any more


def test_dragging_a_dot_moves_a_mean_and_dragging_a_square_a_width(page, instrument):
    names = ("mean_data", "sd_data", "mean_samples", "sd_samples")
    start = {name: value(instrument, name) for name in names}
    picture = instrument.locator("[data-part=densities]").bounding_box()
    unit = (picture["width"] - 54) / 16  # pixels for one of x: 16 of them between the margins
    for name, by, expected in (
        ("mean_data", -2 * unit, -3),
        ("sd_data", -unit, 2),  # the square is left of the dot
        ("mean_samples", unit, 2.5),
        ("sd_samples", unit, 1.6),
    ):
        instrument.locator("[name=reset]").click()
        drag(page, instrument.locator(f"[data-handle={name}]"), by)
        assert value(instrument, name) == pytest.approx(expected, abs=0.051)
        others = {other: value(instrument, other) for other in names if other != name}
        assert others == {other: start[other] for other in others}


def test_a_finger_drags_as_well(book, browser):
    context = browser.new_context(viewport={"width": 390, "height": 844}, has_touch=True)
    page = context.new_page()
    page.goto((book / "chapters" / "laboratory.html").as_uri())
    handle = page.locator("[data-handle=mean_data]")
    handle.scroll_into_view_if_needed()
    box = handle.bounding_box()
    assert min(box["width"], box["height"]) >= 24
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    finger = context.new_cdp_session(page)
    for kind, points in (
        ("touchStart", [{"x": x, "y": y}]),
        ("touchMove", [{"x": x - 20, "y": y}]),
        ("touchMove", [{"x": x - 40, "y": y}]),
        ("touchEnd", []),
    ):
        finger.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
    assert value(page, "mean_data") < -1.5
    context.close()


def test_what_the_page_suggests_to_try_comes_out(page, instrument):
    set_to(instrument, mean_data=1, sd_data=0.8, mean_samples=1, sd_samples=0.8)
    assert [shown(instrument, name) for name in ("KL", "reverse", "JSD", "C")] == [
        0,
        0,
        0,
        -1.386,
    ]
    page.wait_for_function(
        "document.querySelector('#gaussians-status').textContent.startsWith('The densities are eq')"
    )

    instrument.locator("[name=reset]").click()
    before = [shown(instrument, name) for name in ("KL", "reverse", "JSD")]
    instrument.locator("[name=swap]").click()
    assert [shown(instrument, name) for name in ("reverse", "KL", "JSD")] == before
    assert before[0] != before[1]

    set_to(instrument, mean_data=-1, sd_data=0.5, mean_samples=1, sd_samples=0.5)
    assert (shown(instrument, "KL"), shown(instrument, "reverse")) == (8, 8)
    assert round(shown(instrument, "JSD"), 2) == 0.63
    set_to(instrument, mean_data=-3, mean_samples=3)
    assert (shown(instrument, "KL"), shown(instrument, "reverse")) == (72, 72)
    assert round(shown(instrument, "JSD"), 2) == 0.69

    set_to(instrument, mean_data=0, sd_data=1, mean_samples=0, sd_samples=2)
    assert round(shown(instrument, "KL"), 2) == 0.32
    assert round(shown(instrument, "reverse"), 2) == 0.81
    page.wait_for_function(
        "document.querySelector('#gaussians-status').textContent.includes('one half twice')"
    )


def test_without_javascript_there_is_a_picture_of_the_start(book, browser):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto((book / "chapters" / "laboratory.html").as_uri())
    instrument = page.locator("[data-instrument=gaussians]")
    picture = instrument.locator("img")
    assert picture.is_visible()
    assert picture.evaluate("image => image.naturalWidth") > 300
    alt = picture.get_attribute("alt")
    for name in ("mean_data", "sd_data", "mean_samples", "sd_samples"):
        assert f"{float(instrument.locator(f'[name={name}]').get_attribute('value')):g}" in alt
    assert instrument.locator(":is(button, input):visible").count() == 0
    context.close()
