"""The pages that help to find things: complete, true to the lessons, and never stale."""

import re
import sys
from collections import defaultdict
from functools import cache
from pathlib import Path

import nbformat
import pytest
from bs4 import BeautifulSoup

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tools"))
from contents import exercises, figures, subject  # noqa: E402
from ledger import lessons  # noqa: E402

LESSONS = lessons(ROOT)
each_lesson = pytest.mark.parametrize("lesson", LESSONS, ids=lambda path: path.stem)


@cache
def text_of(lesson):
    cells = nbformat.read(lesson, 4).cells
    return "\n\n".join(cell.source for cell in cells if cell.cell_type == "markdown")


def page(name):
    return (ROOT / "chapters" / f"{name}.md").read_text("utf-8")


# Lists of figures and exercises


@each_lesson
def test_every_figure_of_a_lesson_is_found(lesson):
    found = figures(lesson)
    pictures = [
        cell
        for cell in nbformat.read(lesson, 4).cells
        if any(k.startswith("image/") for o in cell.get("outputs", []) for k in o.get("data", {}))
    ]
    assert len(found) == len(pictures) + text_of(lesson).count("```{figure}")
    assert len(dict(found)) == len(found)
    assert all(caption for _, caption in found)


@each_lesson
def test_every_exercise_of_a_lesson_is_found(lesson):
    found = exercises(lesson)
    labels = re.findall(r"\{exercise(?:-start)?\}[^\n]*\n:label: (\S+)", text_of(lesson))
    assert [label for label, _ in found] == labels
    assert all(words and words.count("$") % 2 == 0 for _, words in found)


def test_the_subject_of_an_exercise():
    assert subject("*Walk on.* Follow the line. Where does it end?") == "Walk on. Follow the line."
    assert subject("*Walk on to its end.* Follow the line.") == "Walk on to its end."
    assert subject("*Predict before you run.* Let $a = 0.5$. Is it\nso? Why?") == (
        "Let $a = 0.5$. Is it so?"
    )
    assert subject("For every $D$, $V < 0$. None is\npositive.") == (
        "For every $D$, $V < 0$. None is positive."
    )


def test_each_page_says_to_search_engines_what_it_is_about(book):
    said = {}
    for path in [book / "intro.html", *(book / "chapters").glob("*.html")]:
        page = BeautifulSoup(path.read_text("utf-8"), "html.parser")
        (text,) = (tag["content"] for tag in page.select('meta[name="description"]'))
        assert page.select_one('meta[property="og:description"]')["content"] == text
        assert page.select_one('meta[property="og:title"]')["content"]
        assert (path.parent / page.select_one('link[rel="icon"]')["href"]).is_file()
        assert 50 < len(text) <= 202
        assert not re.search(r"[$\\]|What you will", text)
        said[path.stem] = text
    assert len(set(said.values())) == len(said) > 25
    assert said["conditional"].startswith("Train a conditional GAN on real digits")
    assert said["references"].startswith("What the lessons cite")


def test_the_overview_of_the_reference_says_what_each_name_is(book):
    page = BeautifulSoup((book / "reference" / "index.html").read_text("utf-8"), "html.parser")
    rows = page.select("table.autosummary tr")
    said = {row.find("a")["title"]: row.find_all("td")[1].get_text(strip=True) for row in rows}
    assert "ganlib.recipes.RECIPES" in said
    assert [name for name, text in said.items() if not re.search(r"[a-z]{3}", text)] == []


def test_the_built_lists_lead_to_every_figure_exercise_and_solution(book):
    built = BeautifulSoup((book / "chapters" / "lists.html").read_text("utf-8"), "html.parser")
    links = [link["href"] for link in built.find("article").find_all("a", href=True)]
    for lesson in LESSONS:
        name = f"{lesson.stem}.html"
        there = BeautifulSoup((book / "chapters" / name).read_text("utf-8"), "html.parser")
        labels = [label for label, _ in exercises(lesson)]
        for target in [name for name, _ in figures(lesson)] + labels:
            assert f"{name}#{target}" in links
            assert there.find(id=target)
        ends = [link.split("#")[1] for link in links if link.startswith(f"{name}#")]
        solved = [there.find(id=end).find("a")["href"] for end in ends if "-solution-" in end]
        assert solved == [f"#{label}" for label in labels]


# Symbols

# What TeX commands of the lessons' formulas are no symbols: layout, relations, functions.
NO_SYMBOLS = re.compile(
    "frac|tfrac|sqrt|underbrace|textstyle|big|Big|quad|qquad|mathrm|mathbf|dots|cdots|top|infty"
    "|sum|int|lim|max|min|arg|log|sin|cos|tanh|cosh|partial|le|ge|approx|sim|to|pm|cdot|mid"
    "|Vert|lVert|rVert|lvert|rvert|langle|rangle"
)
SYMBOL = re.compile(
    r"""\\operatorname\{(?P<name>\w+)\}
    | (?:\\(?P<accent>hat|tilde|widehat|mathcal|mathbb)\s*\{?)?
      (?P<letter>\\[A-Za-z]+|[A-Za-z])\}?'*(?P<star>\^\*)?
      (?:_(?P<below>\{\\mathrm\{\w+\}\}|\{[^{}]*\}|\\[A-Za-z]+|\w))?""",
    re.X,
)


def symbols(formula):
    """The letters of a formula, without primes and indices; p_g, say, is one, and D^* another."""
    formula = re.sub(r"\\\\|\\(?:text|begin|end)\{[^}]*\}", " ", formula)
    found = set()
    for match in SYMBOL.finditer(formula):
        if match["name"]:
            found.add(match["name"])
            continue
        letter, below = match["letter"].lstrip("\\"), (match["below"] or "").strip("{}")
        below = below.replace("\\mathrm{", "").lstrip("\\")
        sign = NO_SYMBOLS.fullmatch(letter)
        if sign or match["accent"] == "mathbb" or letter == "nabla":
            found |= symbols(match["below"] or "")
            below = ""
        if not sign:
            accent = match["accent"] if match["accent"] in ("hat", "tilde") else ""
            index = not below or re.fullmatch(r"[\dijkmnstN+\-, ]+", below)
            found.add(accent + letter + (match["star"] or "") + ("" if index else f"_{below}"))
    return found


@cache
def formulas(lesson):
    """The symbols of a lesson: those of its displayed formulas, and all."""
    display = re.compile(r"\$\$(.+?)\$\$", re.S)
    text = text_of(lesson)
    shown = set().union(*map(symbols, display.findall(text)))
    return shown, shown.union(*map(symbols, re.findall(r"\$([^$]+)\$", display.sub("", text))))


def table():
    """Symbols by lesson, as the page lists them, and those of the whole book with a lesson each."""
    of_lesson, of_book, lesson = defaultdict(set), {}, None
    for line in page("symbols").splitlines():
        heading = re.match(r"### \{doc\}`(\w+)`", line)
        if heading:
            lesson = heading[1]
        elif line.startswith("| $"):
            cells = line.strip("| ").split(" | ")
            row = set().union(*map(symbols, re.findall(r"\$([^$]+)\$", cells[0])))
            if lesson:
                of_lesson[lesson] |= row
            else:
                of_book |= dict.fromkeys(row, re.search(r"\{doc\}`(\w+)`", cells[-1])[1])
    return of_lesson, of_book


def test_the_symbols_of_a_formula():
    formula = r"""\begin{aligned} \mathbb{E}_{x \sim p_{\mathrm{data}}}[\log D^*(x_i)] \\
    + \frac{1}{m} \sum_{j=1}^m \operatorname{KL}(p_g \Vert \tilde q') \end{aligned}"""
    assert symbols(formula) == {
        "E", "x", "p_data", "D^*", "m", "j", "KL", "p_g", "tildeq",
    }  # fmt: skip
    assert symbols(r"\widehat g_m - \hat p_N + \nabla_{\theta_g} L_\sigma + \mathcal{L}_G") == {
        "g", "hatp", "nabla", "theta_g", "L_sigma", "L_G",
    }  # fmt: skip


@each_lesson
def test_every_symbol_of_a_displayed_formula_stands_in_the_table(lesson):
    of_lesson, of_book = table()
    assert formulas(lesson)[0] <= of_lesson[lesson.stem] | of_book.keys()


def test_every_symbol_of_the_table_is_used_where_the_table_says():
    of_lesson, of_book = table()
    used = {lesson.stem: formulas(lesson)[1] for lesson in LESSONS}
    for lesson, row in of_lesson.items():
        assert row <= used[lesson], lesson
    for symbol, lesson in of_book.items():
        assert symbol in used[lesson], symbol


# Glossary


def entries():
    """The names of each entry; some have two."""
    body = page("glossary").split("```{glossary}\n")[1].split("\n```")[0]
    return [re.findall(r"^\S.*", entry.lower(), re.M) for entry in body.split("\n\n")]


STRESSED = {"above", "below", "invents", "misses"}  # set in bold for stress, and no terms


@each_lesson
def test_terms_of_a_lesson_stand_in_the_glossary(lesson):
    text = text_of(lesson)
    known = {name for names in entries() for name in names}
    terms = re.findall(r"\{term\}`(?:[^`<]*<)?([^`<>]+)>?`", text)
    assert {term.lower() for term in terms} <= known
    bold = {word for word in re.findall(r"\*\*([a-z][a-z -]*)\*\*", text) if word.count(" ") < 3}
    assert {word for word in bold - STRESSED if not any(word in name for name in known)} == set()


def test_the_glossary_is_sorted_and_each_of_its_terms_is_used():
    assert entries() == sorted(entries())
    used = [*map(text_of, LESSONS), *re.findall(r"\{term\}`[^`]+`", page("glossary") + page("faq"))]
    words = " ".join(" ".join(used).lower().split())
    for names in entries():
        assert any(re.sub(r" \(.*\)", "", name) in words for name in names), names


# Questions


def test_every_answer_leads_to_a_lesson():
    _, *parts = re.split(r"^### ", page("faq"), flags=re.M)
    names = {lesson.stem for lesson in LESSONS}
    assert len(parts) >= 20
    for part in parts:
        question, answer = part.split("\n", 1)
        assert question.endswith("?")
        assert names & set(re.findall(r"\{doc\}`(\w+)`", answer)), question
