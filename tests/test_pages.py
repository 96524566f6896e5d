"""The built book: no warning, no dead link, nothing from the network, mathematics that renders."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tools"))
from check_links import problems  # noqa: E402

BROWSERS = (
    "chromium",
    "chromium-browser",
    "google-chrome",
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
)


@pytest.fixture(scope="session")
def book(tmp_path_factory):
    """The book built as `make book` builds it, in a folder of its own."""
    out = tmp_path_factory.mktemp("book")
    program = Path(sys.executable).with_name("jupyter-book")
    command = [program, "build", "-W", "-n", "--keep-going", "--all"]
    done = subprocess.run(
        [*command, "--path-output", str(out), str(ROOT)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return out / "_build" / "html"


@pytest.fixture(scope="session")
def browser():
    playwright = pytest.importorskip("playwright.sync_api")
    path = next(filter(None, map(shutil.which, [os.environ.get("CHROMIUM", ""), *BROWSERS])), None)
    if path is None:
        pytest.skip(f"no browser found: set CHROMIUM or install one of {', '.join(BROWSERS)}")
    with playwright.sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield started
        started.close()


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
