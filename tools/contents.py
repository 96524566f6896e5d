"""The figures and the exercises of a lesson, as its notebook has them."""

import re
from pathlib import Path

import nbformat

FIGURE = re.compile(
    r"^```\{figure\}[^\n]*\n(?P<options>(?::[^\n]*\n)+)\n(?P<caption>.+?)\n```", re.M | re.S
)
EXERCISE = re.compile(
    r"^```\{exercise(?:-start)?\}[^\n]*\n:label: (?P<label>\S+)\n(?:```\n)?(?P<text>.+?)\n```",
    re.M | re.S,
)
TITLE = re.compile(r"\*(?P<title>[^*]+)\*\s+")
UNTITLED = "Predict before you run."  # what many exercises begin with
SHORT = 3  # words that tell too little by themselves


def figures(notebook: Path) -> list[tuple[str, str]]:
    """Name and caption of each figure of a lesson, in order: of its cells and of its texts."""
    found = []
    for cell in nbformat.read(notebook, 4).cells:
        figure = cell.metadata.get("mystnb", {}).get("figure")
        if figure:
            found.append((figure["name"], figure["caption"]))
        elif cell.cell_type == "markdown":
            for match in FIGURE.finditer(cell.source):
                name = re.search(r"^:name: (\S+)$", match["options"], re.M)
                found.append((name[1], match["caption"]))
    return found


def exercises(notebook: Path) -> list[tuple[str, str]]:
    """Label and subject of each exercise of a lesson, in order."""
    texts = [c.source for c in nbformat.read(notebook, 4).cells if c.cell_type == "markdown"]
    return [
        (match["label"], subject(match["text"]))
        for text in texts
        for match in EXERCISE.finditer(text)
    ]


def subject(text: str) -> str:
    """An exercise's title in italics, and a sentence more if it is short.

    Where it has none, its words, up to the first question.
    """
    text = " ".join(text.split())
    title = TITLE.match(text)
    sentences = re.split(r"(?<=[.?!])\s+(?=[A-Z`$({])", text[title.end() :] if title else text)
    if title and title["title"] != UNTITLED:
        short = len(title["title"].split()) <= SHORT
        return f"{title['title']} {sentences[0]}" if short else title["title"]
    ends = [i for i, sentence in enumerate(sentences, 1) if sentence.endswith("?")]
    return " ".join(sentences[: ends[0] if ends else None])
