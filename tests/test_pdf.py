"""The printed book: a few of its pages, bound and printed as `make pdf` does with all."""

import re
import sys
from pathlib import Path

import pytest
from pypdf import PdfReader

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tools"))
import pdf  # noqa: E402

PARTS = {"": ["intro"], "Theory": ["chapters/value_function"], "Conditions": ["chapters/pix2pix"]}
TITLES = ["Generative adversarial networks", "3. The value function", "19. From image to image"]


@pytest.fixture(scope="module")
def printed(book, browser, tmp_path_factory):
    out = tmp_path_factory.mktemp("printed") / "book.pdf"
    document = pdf.bind(book, PARTS, "A book", "Its authors")
    assert pdf.write(browser, document, out) == len(PdfReader(out).pages)
    return PdfReader(out)


@pytest.fixture(scope="module")
def texts(printed):
    return [sheet.extract_text() for sheet in printed.pages]


def flat(text):
    return re.sub(r"\s+", " ", text)


def test_the_book_is_in_the_order_of_its_table_of_contents():
    parts = pdf.contents(ROOT)
    names = [name for part in parts.values() for name in part]
    assert names[:2] == ["intro", "chapters/generative_models"]
    assert len(names) == len(set(names))
    assert list(parts)[:3] == ["", "Theory", "Practice"]
    assert parts["Reference"][:2] == ["reference/index", "reference/training"]
    assert list(parts)[-1] == "Appendix"


def test_the_contents_say_on_which_sheet_each_chapter_begins(texts):
    rows = dict(re.findall(r"^(.+?)\s+(\d+)$", texts[1], re.M))
    sheets = [int(rows[title]) for title in TITLES]
    assert sheets == sorted(set(sheets))
    for title, sheet in zip(TITLES, sheets, strict=True):
        assert flat(texts[sheet - 1]).strip().startswith(f"{sheet} {title}")


def test_the_bookmarks_lead_to_chapters_and_sections(printed, texts):
    top = [mark for mark in printed.outline if not isinstance(mark, list)]
    assert [mark.title for mark in top] == TITLES
    below = [mark for marks in printed.outline if isinstance(marks, list) for mark in marks]
    assert len(below) > 12
    for mark in [*top, *below]:
        assert mark.title in flat(texts[printed.get_destination_page_number(mark)])


def test_links_between_chapters_stay_inside(printed):
    links = [
        link.get_object() for sheet in printed.pages for link in sheet.get("/Annots", []) or []
    ]
    leading = {str(link["/Dest"]).removeprefix("/") for link in links if "/Dest" in link}
    assert "chapters/pix2pix" in leading
    assert any(name.startswith("chapters/value_function--") for name in leading)
    assert leading <= {name.removeprefix("/") for name in printed.named_destinations}
    outside = [link["/A"]["/URI"] for link in links if "/URI" in link.get("/A", {})]
    assert outside
    assert [address for address in outside if not address.startswith("https://")] == []


def test_mathematics_figures_and_solutions_are_printed(book, printed, texts):
    whole = "\n".join(texts)
    for raw in (r"\frac", r"\mathbb", r"\(", "Click to show", "mjx-"):
        assert raw not in whole
    assert "Solution to" in whole
    pictures = sum(len(sheet.images) for sheet in printed.pages)
    drawn = (book / "chapters" / "pix2pix.html").read_text("utf-8").count("../_images/")
    assert pictures >= drawn > 3


def test_a_picture_that_is_missing_is_an_error(browser, tmp_path):
    (tmp_path / "a.html").write_text(
        "<head><script>MathJax = {startup: {}}</script></head>"
        '<article><section><h1>A</h1><img src="b.png"></section></article>'
    )
    document = pdf.bind(tmp_path, {"": ["a"]}, "A book", "Its authors")
    with pytest.raises(RuntimeError, match=r"these failed: file:.*b\.png"):
        pdf.write(browser, document, tmp_path / "book.pdf")
