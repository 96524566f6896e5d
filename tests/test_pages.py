"""The built book in a browser: offline, in the dark, on a phone, on paper."""

import sys
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit
from urllib.request import url2pathname

import pytest
from bs4 import BeautifulSoup

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tools"))
import uses  # noqa: E402
from check_links import problems  # noqa: E402
from pdf import contents  # noqa: E402

LESSONS = sorted(f"chapters/{path.stem}" for path in (ROOT / "chapters").glob("*.ipynb"))
ORDER = [name for part in contents(ROOT).values() for name in part]
FIRST_LOAD = 1_500_000  # bytes, beside the mathematics engine
NAMES = ["Odena", "Österreicher", "Papamakarios", "Shoemake", "Sønderby", "Sugiyama"]
LATER = {"mathjax", "draw-network.js"}  # the laboratory asks for its weights when it is there


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


def test_entries_of_the_reference_and_lessons_lead_to_each_other(book):
    for name, use in uses.uses().items():
        entry = f"{name.split('.')[1]}.html"
        page = BeautifulSoup((book / "reference" / entry).read_text("utf-8"), "html.parser")
        said = page.find(id=name).find_parent("dl").find_all("a", class_="reference internal")
        back = {a["href"] for a in said}
        assert {f"../{lesson}.html" for lesson in use.lessons} <= back, name
    for lesson in uses.uses()["ganlib.checks.check"].lessons:
        page = BeautifulSoup((book / f"{lesson}.html").read_text("utf-8"), "html.parser")
        links = page.select('pre a[href="../reference/checks.html#ganlib.checks.check"]')
        assert {link.text for link in links} == {"check"}, lesson
    first = (book / "chapters" / "first_gan.html").read_text("utf-8")
    links = BeautifulSoup(first, "html.parser").select(
        'a[href$="plotting.html#ganlib.plotting.grid"]'
    )
    assert {link.text for link in links} == {"ganlib.plot.grid"}


# What is wrong with the figures of a page in the dark: dimmed, or black lines on no ground.
IN_THE_DARK = """() => [...document.querySelectorAll(".bd-article img")].filter((image) => {
  const style = getComputedStyle(image);
  return style.filter !== "none" || style.backgroundColor !== "rgb(255, 255, 255)";
}).map((image) => `a figure is dimmed or lies on a dark ground: ${image.alt}`)"""

# What is wrong with a page as it would be printed.
ON_PAPER = """() => {
  const wrong = [], article = document.querySelector(".bd-article-container");
  const all = (selector) => [...document.querySelectorAll(selector)];
  const edge = article.getBoundingClientRect().right + 1;
  if (document.documentElement.dataset.theme !== "light") wrong.push("it is dark");
  all(".bd-sidebar-primary, .bd-sidebar-secondary, .bd-header, .bd-header-article, .bd-footer, " +
      ".prev-next-footer, .headerlink, button, .bd-article input").forEach((element) => {
    if (element.checkVisibility()) wrong.push(`it shows ${element.outerHTML.slice(0, 90)}`);
  });
  article.querySelectorAll(".bd-article img").forEach((image) => {
    if (!image.checkVisibility()) wrong.push(`hidden: ${image.alt}`);
    if (image.getBoundingClientRect().right > edge) wrong.push(`too wide: ${image.alt}`);
    if (getComputedStyle(image).breakInside !== "avoid") wrong.push(`may be cut: ${image.alt}`);
  });
  article.querySelectorAll("pre, mjx-container[display=true], table").forEach((block) => {
    if (block.scrollWidth > block.clientWidth + 1 || block.getBoundingClientRect().right > edge)
      wrong.push(`too wide: ${block.textContent.slice(0, 60)}`);
  });
  article.querySelectorAll(".solution, details").forEach((solution) => {
    const end = solution.querySelector(":scope > :last-child, .section > :last-child");
    if (!end.checkVisibility()) wrong.push(`closed: ${solution.textContent.slice(0, 60)}`);
  });
  article.querySelectorAll("a[href]").forEach((link) => {
    const [r, g, b] = getComputedStyle(link).color.match(/[0-9]+/g).map(Number);
    if (link.checkVisibility() && Math.max(r, g) > 140) wrong.push(`too pale: ${link.textContent}`);
  });
  return wrong;
}"""


@dataclass
class Visit:
    """What one visit to one page found."""

    asked: list[str]  # of the network
    loaded: int  # bytes, at first
    errors: list[str]
    formulas: int
    rendered: int
    failed: int
    sideways: int  # pixels
    barriers: list[str]  # that axe calls serious or critical
    icons: list[int]  # drawings in each
    alts: list[str | None]
    neighbours: list[str]
    cells: int
    copies: int
    launches: list[str]
    downloads: list[str]
    dark: list[str]
    paper: list[str]


def local(address):
    return Path(url2pathname(urlsplit(address).path))


def visit(context, path, scheme, axe):
    """Look at a page once, from every side."""
    page, asked, loaded, errors = context.new_page(), [], set(), []
    page.on("request", lambda request: loaded.add(request.url.partition("?")[0]))
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda line: errors.append(line.text) if line.type == "error" else None)
    page.goto(path.as_uri())
    page.wait_for_selector(f"html[data-theme={scheme}]", state="attached")
    formulas = page.locator(".math").count()
    if formulas:
        page.wait_for_function("window.MathJax && MathJax.startup && MathJax.startup.promise")
        page.evaluate("MathJax.startup.promise")
    page.wait_for_function("!document.querySelector('i[class*=fa-], span[class*=fa-]')")
    files = [local(url) for url in loaded if url.startswith("file:")]
    asked = [url for url in loaded if not url.startswith(("file:", "data:"))]
    each = {
        "icons": ("svg[data-icon]", "all => all.map(i => i.querySelectorAll('path').length)"),
        "alts": (".bd-article img", "all => all.map(i => i.getAttribute('alt'))"),
        "neighbours": ("a.left-prev, a.right-next", "all => all.map(a => a.href)"),
        "launches": ("a[title='Launch on Colab'], a[data-bs-original-title='Launch on Colab']",
                     "all => all.map(a => a.href)"),
        "downloads": ("a.btn-download-source-button", "all => all.map(a => a.href)"),
    }  # fmt: skip
    found = {name: page.locator(at).evaluate_all(take) for name, (at, take) in each.items()}
    seen = Visit(
        asked=asked,
        loaded=sum(f.stat().st_size for f in files if not LATER & {f.name, *f.parts}),
        errors=[*errors],  # before axe, which may ask for files
        formulas=formulas,
        rendered=page.locator(".math mjx-container").count(),
        failed=page.locator("mjx-merror").count(),
        sideways=page.evaluate("document.documentElement.scrollWidth - window.innerWidth"),
        barriers=barriers(axe, page, scheme),
        cells=page.locator(".cell_input pre").count(),
        copies=page.locator("button.copybtn").filter(has_text="Copy to clipboard").count(),
        dark=darkened(page),
        paper=printed(page),
        **found,
    )
    page.close()
    return seen


def barriers(axe, page, scheme):
    """What axe calls serious or critical; in the dark only the colours are new.

    MathJax and Sphinx's signatures of several lines are not ours.
    """
    options = {"resultTypes": ["violations"], "preload": False}  # it may not fetch
    if scheme == "dark":
        options["runOnly"] = ["color-contrast", "link-in-text-block"]
    found = axe.run(page, {"exclude": [["mjx-container"], [".sig dl"]]}, options).response[
        "violations"
    ]
    return [
        f"{rule['id']}: {node['html'][:120]}"
        for rule in found
        if rule["impact"] in ("serious", "critical")
        for node in rule["nodes"]
    ]


def darkened(page):
    """What is wrong with the figures when night falls, if it has not yet."""
    page.emulate_media(color_scheme="dark")
    page.wait_for_selector("html[data-theme=dark]", state="attached")
    return page.evaluate(IN_THE_DARK)


def printed(page):
    """What is wrong with the page on a sheet of A4; a browser says `beforeprint` when it prints."""
    page.set_viewport_size({"width": 672, "height": 960})
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    page.emulate_media(media="print")
    return page.evaluate(ON_PAPER)


@pytest.fixture(scope="module", params=[(1280, "light"), (390, "dark")], ids=["desk", "phone"])
def visits(book, browser, request):
    """All pages visited once, on a desk by day or on a phone at night, with the network cut."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    width, scheme = request.param
    context = browser.new_context(
        viewport={"width": width, "height": 900}, color_scheme=scheme, offline=True
    )
    context.set_default_timeout(120_000)
    paths = {str(path.relative_to(book).with_suffix("")): path for path in pages(book)}
    del paths["index"]  # which leads to intro.html
    seen = {name: visit(context, path, scheme, axe) for name, path in paths.items()}
    context.close()
    return seen


def wrong(visits, look):
    """What look finds wrong with a visit, by page."""
    found = {name: look(seen) for name, seen in visits.items()}
    return {name: what for name, what in found.items() if what}


def test_pages_work_without_a_network(visits):
    assert wrong(visits, lambda seen: seen.asked) == {}
    assert wrong(visits, lambda seen: seen.errors) == {}


def test_the_mathematics_renders(visits):
    assert sum(seen.formulas for seen in visits.values()) > 1000
    assert wrong(visits, lambda seen: max(0, seen.formulas - seen.rendered)) == {}
    assert wrong(visits, lambda seen: seen.failed) == {}


def test_no_page_scrolls_sideways(visits):
    assert wrong(visits, lambda seen: max(0, seen.sideways)) == {}


def test_the_first_load_is_small(visits):
    assert wrong(visits, lambda seen: seen.loaded if seen.loaded > FIRST_LOAD else 0) == {}


def test_nothing_keeps_a_reader_out(visits):
    assert wrong(visits, lambda seen: seen.barriers) == {}


def test_every_icon_is_drawn(visits):
    assert wrong(visits, lambda seen: len(seen.icons) < 5 or set(seen.icons) != {1}) == {}


def test_figures_say_what_they_show(visits):
    def silent(seen):
        return [alt for alt in seen.alts if not alt or len(alt) < 15 or alt.endswith(".png")]

    assert sum(len(seen.alts) for seen in visits.values()) > 50
    assert wrong(visits, silent) == {}


def test_the_pages_follow_the_table_of_contents(visits, book):
    for i, name in enumerate(ORDER):
        around = [book / f"{other}.html" for other in ORDER[max(0, i - 1) : i + 2] if other != name]
        assert list(map(local, visits[name].neighbours)) == around, name


def test_every_cell_can_be_copied(visits):
    assert wrong(visits, lambda seen: max(0, seen.cells - seen.copies)) == {}
    assert all(visits[name].copies for name in LESSONS)


def test_every_lesson_can_be_run(visits):
    for name in LESSONS:
        (launch,), (download,) = visits[name].launches, visits[name].downloads
        assert launch.startswith("https://colab.research.google.com/github/")
        assert launch.endswith(f"/{name}.ipynb")
        assert local(download).read_bytes() == (ROOT / f"{name}.ipynb").read_bytes()


def test_figures_are_legible_in_the_dark(visits):
    assert wrong(visits, lambda seen: seen.dark) == {}


def test_pages_can_be_printed(visits):
    assert wrong(visits, lambda seen: seen.paper) == {}


def test_what_is_wider_than_a_phone_fades_where_it_goes_on(book, browser):
    context = browser.new_context(viewport={"width": 390, "height": 900})
    page = context.new_page()
    page.goto((book / "chapters" / "equations.html").as_uri())
    table = page.locator(".pst-scrollable-table-container")
    assert table.evaluate("box => box.scrollWidth - box.clientWidth") > 30
    faded = page.locator(".pst-scrollable-table-container.goes-on")
    faded.wait_for()
    assert faded.evaluate("box => getComputedStyle(box).maskImage").startswith("linear-gradient")
    page.emulate_media(media="print")
    assert faded.evaluate("box => getComputedStyle(box).maskImage") == "none"
    page.emulate_media(media="screen")
    table.evaluate("box => { box.scrollLeft = box.scrollWidth; }")
    faded.wait_for(state="detached")
    table.evaluate("box => { box.scrollLeft = 0; }")
    faded.wait_for()
    page.set_viewport_size({"width": 1280, "height": 900})
    faded.wait_for(state="detached")
    page.set_viewport_size({"width": 390, "height": 900})
    page.goto((book / "chapters" / "convergence.html").as_uri())
    page.locator("mjx-container[display=true].goes-on").first.wait_for()
    page.locator("pre.goes-on").first.wait_for()
    context.close()


def test_references_stand_in_the_order_of_names(book):
    html = (book / "chapters" / "references.html").read_text("utf-8")
    entries = [p.get_text() for p in BeautifulSoup(html, "html.parser").select(".citation > p")]
    first = {name: n for n, entry in enumerate(entries) for name in NAMES if name in entry[:40]}
    assert len(entries) > 50
    assert list(first) == NAMES


def test_a_cell_is_copied_as_it_stands(book, browser):
    context = browser.new_context(permissions=["clipboard-read", "clipboard-write"])
    page = context.new_page()
    page.goto((book / "chapters" / "first_gan.html").as_uri())
    page.locator(".cell_input").first.hover()
    page.get_by_role("button", name="Copy to clipboard").first.click()
    code = page.locator(".cell_input pre").first.inner_text()
    assert "import" in code
    assert page.evaluate("navigator.clipboard.readText()").strip() == code.strip()
    context.close()


@pytest.mark.parametrize(
    ("words", "page_with_them"),
    [
        ("discriminator", "optimal_discriminator"),
        ("Parzen", "how_good"),
        ("mode collapse", "failures"),
    ],
)
def test_search_finds(book, browser, words, page_with_them):
    page, errors = browser.new_page(), []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto((book / "search.html").as_uri())
    page.locator("main input[type=search]").fill(words)
    page.keyboard.press("Enter")
    page.get_by_text("Search finished").wait_for()
    found = page.locator("#search-results li a").evaluate_all("all => all.map(a => a.href)")
    assert page_with_them in [local(url).stem for url in found]
    for url in found:
        anchor = unquote(urlsplit(url).fragment)
        assert not anchor or f'id="{anchor}"' in local(url).read_text("utf-8"), url
    assert errors == []
    page.close()


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
