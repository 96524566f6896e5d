"""The built book: no warning, no dead link, nothing from the network, mathematics that renders."""

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tools"))
from check_links import problems  # noqa: E402


def pages(book):
    return sorted(path for path in book.rglob("*.html") if "_static" not in path.parts)


def test_every_link_and_anchor_exists_and_nothing_comes_from_the_network(book):
    assert problems(book) == []


def test_the_check_of_links_finds_what_is_wrong(tmp_path):
    (tmp_path / "a.html").write_text(
        '<p id="here"></p><a href="b.html">1</a><a href="#there">2</a><a href="#here">3</a>'
        '<script src="https://example.org/x.js"></script><a href="https://example.org">4</a>'
    )
    assert [line.split(": ", 1)[1] for line in problems(tmp_path)] == [
        "leads nowhere: b.html",
        "no such anchor: #there",
        "loaded from the network: https://example.org/x.js",
    ]


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_pages_work_without_a_network(book, browser, width, scheme):
    """Mathematics renders, nothing is asked of any server, no error, no sideways scrolling."""
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
    asked, errors = [], []
    context.route(
        "**/*",
        lambda route: (
            route.continue_()
            if route.request.url.startswith(("file:", "data:"))
            else (asked.append(route.request.url), route.abort())
        ),
    )
    for path in pages(book):
        page = context.new_page()
        page.on("pageerror", lambda error, path=path: errors.append(f"{path.name}: {error}"))
        page.on(
            "console",
            lambda message, path=path: (
                errors.append(f"{path.name}: {message.text}") if message.type == "error" else None
            ),
        )
        page.goto(path.as_uri())
        page.wait_for_selector(f"html[data-theme={scheme}]", state="attached")
        formulas = page.locator(".math").count()
        if formulas:
            page.wait_for_function("window.MathJax && MathJax.startup && MathJax.startup.promise")
            page.evaluate("MathJax.startup.promise")
            rendered = page.locator(".math mjx-container").count()
            assert rendered >= formulas, f"{path.name}: {rendered} of {formulas} formulas rendered"
        assert page.locator("mjx-merror").count() == 0, path.name
        sideways = page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
        assert sideways <= 0, f"{path.name} is {sideways} px too wide at {width} px"
        page.close()
    context.close()
    assert asked == []
    assert errors == []


def test_the_front_page_starts_three_paths_on_its_first_screen(book, browser):
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.goto((book / "intro.html").as_uri())
    cards = page.locator(".start .sd-card")
    bottoms = cards.evaluate_all("all => all.map(card => card.getBoundingClientRect().bottom)")
    assert len(bottoms) == 3
    assert max(bottoms) < 900
    corner = """card => {
        const box = card.getBoundingClientRect();
        return document.elementFromPoint(box.right - 9, box.bottom - 9).getAttribute("href");
    }"""
    read, colab, local = [card.evaluate(corner) for card in cards.all()]
    assert (read, local) == ("chapters/generative_models.html", "#run-locally")
    page.goto((book / "chapters" / "first_gan.html").as_uri())
    rocket = page.locator("a[href*='colab']").first
    assert colab == rocket.get_attribute("href")
    page.close()


def test_the_front_pages_pictures_have_texts_and_a_place_from_the_start(book, browser):
    page = browser.new_page(viewport={"width": 390, "height": 900})
    page.add_init_script(
        "window.shifts = []; new PerformanceObserver(list => list.getEntries().forEach("
        "entry => shifts.push(entry.value))).observe({type: 'layout-shift', buffered: true})"
    )
    page.goto((book / "intro.html").as_uri())
    page.wait_for_timeout(500)
    assert sum(page.evaluate("shifts")) < 0.02
    pictures = page.locator(".samples img")
    assert pictures.count() == 2
    for picture in pictures.all():
        assert len(picture.get_attribute("alt")) > 40
        assert picture.evaluate("image => image.naturalWidth") > 600
    page.close()


def test_an_animation_is_stepped_by_mouse_and_by_keyboard(book, browser):
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.goto((book / "chapters" / "figure_1.html").as_uri())
    frames = page.locator(".ganlib-frames figure")
    captions = page.locator(".ganlib-frames figcaption").all_text_contents()
    shown = page.locator(".ganlib-frames figcaption:visible")

    def now():
        assert shown.count() == 1
        return captions.index(shown.text_content())

    last = frames.count() - 1
    assert now() == 0
    page.get_by_title("Next frame").click()
    assert now() == 1
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    assert now() == 3
    page.keyboard.press("ArrowLeft")
    assert now() == 2
    page.keyboard.press("End")
    assert now() == last
    page.get_by_title("Previous frame").click()
    assert now() == last - 1
    page.keyboard.press("Home")
    assert now() == 0
    slider = page.locator(".ganlib-frames input[type=range]")
    slider.fill("4")
    assert now() == 4
    page.locator(".ganlib-frames").get_by_text("Play").click()
    page.wait_for_function(
        "document.querySelector('.ganlib-frames figcaption:not([hidden] *)').textContent !== "
        f"{captions[4]!r}"
    )
    page.locator(".ganlib-frames").get_by_text("Pause").click()
    assert now() > 4
    page.close()


def test_without_javascript_every_frame_of_an_animation_is_there(book, browser):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto((book / "chapters" / "figure_1.html").as_uri())
    frames = page.locator(".ganlib-frames figure")
    assert frames.count() > 10
    assert page.locator(".ganlib-frames figure:visible").count() == frames.count()
    texts = [image.get_attribute("alt") for image in frames.locator("img").all()]
    assert texts == page.locator(".ganlib-frames figcaption").all_text_contents()
    assert page.locator(".ganlib-frames button").count() == 0
    context.close()
