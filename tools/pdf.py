"""Print the built book into one PDF through a headless browser.

    python tools/pdf.py _build/html _build/gan-book.pdf

The pages are bound into one HTML document in the order of _toc.yml, so that links between chapters
work inside the PDF. It is printed twice: the first print tells on which sheet each chapter begins,
the second has these numbers in its table of contents.
"""

import io
import sys
import tempfile
from pathlib import Path
from urllib.parse import unquote, urljoin, urlsplit

import browser as browsers
import yaml
from bs4 import BeautifulSoup, Tag
from playwright.sync_api import Browser, sync_playwright
from pypdf import PdfReader, PdfWriter

ROOT = Path(__file__).resolve().parents[1]
PRINT = {"prefer_css_page_size": True, "print_background": True, "tagged": True}
COVER = """<!DOCTYPE html>
<html lang="en" data-theme="light"><head><meta charset="utf-8"><title></title><style>
.bd-article > * { break-before: page; }
.bd-article > .cover { break-before: auto; padding-top: 35%; text-align: center; }
.cover .title { font-size: 3rem; line-height: 1.2; }
.bd-main .bd-content .bd-article h1:first-of-type { display: block; }
.bound { columns: 2; column-gap: 3rem; font-size: 0.92rem; line-height: 1.3; }
.bound h1 { column-span: all; }
.bound p { margin: 0.7rem 0 0.2rem; break-after: avoid; font-size: 1.2rem; }
.bound a { display: flex; color: #000; text-decoration: none; }
.bound a::after { content: attr(data-sheet); margin-left: auto; padding-left: 1rem; }
.bound a.chapter { font-weight: bold; margin-top: 0.5rem; break-after: avoid; }
</style></head><body><div class="bd-main"><div class="bd-content"><div class="bd-article-container">
<div class="bd-article"><div class="cover"><p class="title"></p><p class="author"></p></div>
<nav class="bound"><h1>Contents</h1></nav></div></div></div></div></body></html>
"""


def contents(root: Path) -> dict[str, list[str]]:
    """The names of the book's pages by the caption of their part; the first part has none."""
    toc = yaml.safe_load((root / "_toc.yml").read_text("utf-8"))
    parts = {
        part["caption"]: [
            page["file"]
            for chapter in part["chapters"]
            for page in (chapter, *chapter.get("sections", ()))
        ]
        for part in toc["parts"]
    }
    return {"": [toc["root"]], **parts}


def bind(html: Path, parts: dict[str, list[str]], title: str, author: str) -> BeautifulSoup:
    """One document of these pages of the built book, with a table of contents in front.

    Each anchor gets the name of its page in front. A link to one of the pages leads there; a link
    to another file of the book becomes plain text.
    """
    html = html.resolve()
    names = [name for pages in parts.values() for name in pages]
    pages = {name: (html / f"{name}.html").as_uri() for name in names}
    whole = BeautifulSoup(COVER, "html.parser")
    whole.title.string = whole.select_one(".title").string = title
    whole.select_one(".author").string = author
    article, listed = whole.select_one(".bd-article"), whole.nav
    for caption, part in parts.items():
        if caption:
            listed.append(whole.new_tag("p", string=caption))
        for name in part:
            page = BeautifulSoup((html / f"{name}.html").read_text("utf-8"), "html.parser")
            if whole.script is None:
                _equip(whole, page, pages[name])
            chapter = page.select_one("article > section")
            _relocate(chapter, name, pages)
            article.append(chapter)
            for heading in chapter.find_all(["h1", "h2"]):
                kind = "chapter" if heading.name == "h1" else "section"
                address = f"#{heading.parent['id']}"
                link = whole.new_tag("a", href=address, attrs={"class": kind})
                link.append(whole.new_tag("span", string=heading.get_text()))
                listed.append(link)
    return whole


def _equip(whole: BeautifulSoup, page: BeautifulSoup, address: str) -> None:
    """Take the styles of a page over, and of its scripts only those of MathJax."""
    first = whole.style
    for tag in page.head.find_all(["link", "script"]):
        if tag.get("rel") == ["stylesheet"]:
            tag["href"] = urljoin(address, tag["href"])
            first.insert_before(tag)
        elif "mathjax" in f"{tag.get('src', '')}{tag.string or ''}".lower():
            if tag.get("src"):
                tag["src"] = urljoin(address, tag["src"])
            first.insert_before(tag)


def _relocate(chapter: Tag, name: str, pages: dict[str, str]) -> None:
    """Make the chapter's anchors unique in the whole book, and all addresses right there."""
    for tag in chapter.select("script, .headerlink"):
        tag.decompose()
    targets = {address: page for page, address in pages.items()}
    for tag in chapter.find_all(True):
        if "id" in tag.attrs and tag.name != "marker":  # which the style sheet calls by its name
            tag["id"] = f"{name}--{tag['id']}"
        if "src" in tag.attrs:
            tag["src"] = urljoin(pages[name], tag["src"])
            tag.attrs.pop("loading", None)
        if tag.name == "a" and "href" in tag.attrs:
            address, _, anchor = urljoin(pages[name], tag["href"]).partition("#")
            if address in targets:
                page = targets[address]
                tag["href"] = f"#{page}--{unquote(anchor)}" if anchor else f"#{page}"
            elif urlsplit(address).scheme == "file":
                tag.unwrap()
    chapter["id"] = name


def write(browser: Browser, document: BeautifulSoup, out: Path) -> int:
    """Print the document; returns the number of sheets.

    Raises:
        RuntimeError: A formula or a picture failed.
    """
    with tempfile.TemporaryDirectory() as folder:
        bound = Path(folder) / "book.html"
        bound.write_text(str(document), "utf-8")
        page = browser.new_page()
        page.set_default_timeout(600_000)
        page.goto(bound.as_uri())
        page.evaluate("MathJax.startup.promise")
        page.evaluate("document.fonts.ready")
        formulas = page.locator("mjx-merror").all_text_contents()
        pictures = page.evaluate(
            "[...document.images].filter(i => !i.naturalWidth).map(i => i.src)"
        )
        if formulas or pictures:
            raise RuntimeError(f"these failed: {', '.join(formulas + pictures)}")
        sheets = starts(page.pdf(**PRINT))
        page.evaluate(
            """sheets => document.querySelectorAll(".bound a").forEach((link) => {
                 link.dataset.sheet = sheets[decodeURIComponent(link.hash.slice(1))] + 1;
               })""",
            sheets,
        )
        printed = page.pdf(**PRINT)
        page.close()
    outlined = PdfWriter(clone_from=io.BytesIO(printed))
    sheets = starts(printed)
    above = None
    for link in document.select(".bound a"):
        chapter = link["class"] == ["chapter"]
        sheet = sheets[link["href"][1:]]
        entry = outlined.add_outline_item(
            title=link.get_text(), page_number=sheet, parent=None if chapter else above
        )
        above = entry if chapter else above
    outlined.write(out)
    return len(outlined.pages)


def starts(printed: bytes) -> dict[str, int]:
    """The sheet, counted from 0, on which each anchor that a link leads to stands."""
    sheets = PdfReader(io.BytesIO(printed))
    return {
        unquote(name.removeprefix("/")): sheets.get_destination_page_number(destination)
        for name, destination in sheets.named_destinations.items()
    }


def main(html: str, out: str) -> None:
    path = browsers.find()
    if path is None:
        raise SystemExit(browsers.MISSING)
    config = yaml.safe_load((ROOT / "_config.yml").read_text("utf-8"))
    document = bind(Path(html), contents(ROOT), config["title"], config["author"])
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, args=["--no-sandbox"])
        sheets = write(browser, document, Path(out))
        browser.close()
    print(f"The book, {sheets} sheets, is at {Path(out).resolve()}")


if __name__ == "__main__":
    main(*sys.argv[1:])
