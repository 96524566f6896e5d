"""Begin a lesson: a notebook with the parts that every lesson has, in the table of contents.

    python tools/new_lesson.py wasserstein "A distance with a slope" --part Theory

The notebook runs as it is and passes the tests, so you replace one part after the other. It goes
to the end of its part of the book, into _toc.yml and into the table of the front page, there with
the question that --ask gives.
"""

import argparse
import re
from pathlib import Path

import nbformat
import yaml
from address import ROOT
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook
from notebooks import normalised

OPENING = """\
# {title}

**What you will be able to do**

- say what the reader can do after the lesson, in a phrase that begins with a verb;
- say a second thing, and keep to three at most.

**Guess first.** Ask one question that a reader can guess at, and that the lesson decides."""

IMPORTS = """\
import sympy as sp

import ganlib
from ganlib.checks import check"""

IDEA = """\
## One idea

Derive it, and number what you will come back to. An example: the sigmoid of the opposite
logit is the probability of the opposite,

$$
\\frac{{1}}{{1 + e^{{x}}}} = 1 - \\frac{{1}}{{1 + e^{{-x}}}} .
$$ (eq-{label})

Every numbered equation has a check, and the check must reject wrong versions."""

CHECK = """\
x = sp.symbols("x", real=True)
D = 1 / (1 + sp.exp(-x))
check(
    "eq-{label}", "both sides, for every real x",
    lambda right: sp.simplify(D.subs(x, -x) - right) == 0, 1 - D,
    wrong=[1 + D, D, 1 - D.subs(x, -x)],
)"""

READING = """\
Say what the check proves, and what it does not.

## A figure

Say what to look at before you show it."""

FIGURE = """\
digits = ganlib.load("digits").images / 255
figure = ganlib.plot.grid(digits[:20], 10)"""

ENDING = """\
Read the figure in a sentence or two.

## Summary

- One line for each thing that the lesson promised.
- What was measured, and with how many seeds.
- What it does not say.

## Exercises"""

EXERCISE = """\
```{{exercise-start}}
:label: ex-{label}-{name}
```
{task}
```{{exercise-end}}
```

````{{solution-start}} ex-{label}-{name}
:class: dropdown
````"""

EXERCISES = [
    (
        "half",
        "Where is the sigmoid $1/2$? Solve for $x$.",
        "assert sp.solve(D - sp.Rational(1, 2), x) == [0]",
        "At $x = 0$ only.",
    ),
    (
        "slope",
        "Express the slope of $D$ by $D$ itself.",
        "assert sp.simplify(D.diff(x) - D * (1 - D)) == 0",
        "It is $D (1 - D)$.",
    ),
    (
        "ends",
        "Where does $D$ go when $x$ grows without bound, in both directions?",
        "assert [sp.limit(D, x, end) for end in (-sp.oo, sp.oo)] == [0, 1]",
        "To 0 and to 1, which it never reaches.",
    ),
]

READING_ON = """\
## Further reading

- {cite:t}`goodfellow2014`: say what a reader finds there."""

TEXTS = {
    "figure": {
        "caption": "The first twenty training digits.",
        "name": "fig-{label}",
    },
    "image": {
        "alt": "Two rows of ten handwritten digits of 8 by 8 pixels, white on black, all readable.",
    },
}


def lesson(slug: str, title: str) -> nbformat.NotebookNode:
    """The notebook, not yet run."""
    label = slug.replace("_", "-")

    def text(source: str, **names: str) -> nbformat.NotebookNode:
        return new_markdown_cell(source.format(label=label, title=title, **names))

    figure = new_code_cell(FIGURE, metadata={"mystnb": TEXTS})
    figure.metadata.mystnb.figure.name = f"fig-{label}"
    cells = [
        text(OPENING),
        new_code_cell(IMPORTS),
        text(IDEA),
        new_code_cell(CHECK.format(label=label)),
        text(READING),
        figure,
        text(ENDING),
    ]
    for name, task, code, answer in EXERCISES:
        solved = new_markdown_cell(f"{answer}\n````{{solution-end}}\n````")
        cells += [text(EXERCISE, name=name, task=task), new_code_cell(code), solved]
    return normalised(new_notebook(cells=[*cells, new_markdown_cell(READING_ON)]))


def listed(toc: str, part: str, slug: str) -> str:
    """The table of contents with the lesson at the end of its part."""
    pattern = rf"(  - caption: {re.escape(part)}\n(?:    .*\n)*?(?:      - file: .*\n)+)"
    return re.sub(pattern, rf"\g<1>      - file: chapters/{slug}\n", toc)


def shown(front: str, part: str, slug: str, question: str) -> str:
    """The front page with the lesson at the end of its part of the table."""
    row = f"| | {question} | {{doc}}`chapters/{slug}` |\n"
    pattern = rf"(^\| {re.escape(part)} \|.*\n(?:\| \|.*\n)*)"
    return re.sub(pattern, lambda found: found[1] + row, front, flags=re.M)


def add(root: Path, slug: str, title: str, part: str | None = None, ask: str | None = None) -> Path:
    """Write the notebook and list it, in the book whose folder is root.

    Raises:
        ValueError: The slug is no name or taken, a text is empty or would break the table, or there
            is no such part.
    """
    toc, front = root / "_toc.yml", root / "intro.md"
    contents, page = toc.read_text("utf-8"), front.read_text("utf-8")
    path = root / "chapters" / f"{slug}.ipynb"
    if not re.fullmatch(r"[a-z][a-z0-9_]*", slug):
        raise ValueError(f"slug must be of a-z, 0-9 and _, and begin with a letter; got {slug!r}")
    if list((root / "chapters").glob(f"{slug}.*")):
        raise ValueError(f"there is a chapter {slug} already")
    for text in (title, ask or title):
        if not text.strip() or re.search(r"[|\n]", text):
            raise ValueError(f"title and question must be one line each without |; got {text!r}")
    parts = [part["caption"] for part in yaml.safe_load(contents)["parts"] if part.get("numbered")]
    part = parts[-1] if part is None else part
    if part not in parts:
        raise ValueError(f"part must be one of {', '.join(parts)}; got {part!r}")
    nbformat.write(lesson(slug, title), path)
    toc.write_text(listed(contents, part, slug), "utf-8")
    front.write_text(shown(page, part, slug, ask or title), "utf-8")
    return path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("slug", help="the notebook's name, such as wasserstein")
    parser.add_argument("title", help="the lesson's heading")
    parser.add_argument("--part", help="the part of the book it ends; the last one if not given")
    parser.add_argument("--ask", help="its question on the front page; the title if not given")
    arguments = parser.parse_args()
    try:
        path = add(ROOT, **vars(arguments))
    except ValueError as error:
        raise SystemExit(str(error)) from error
    name = path.relative_to(ROOT)
    print(f"{name} is there. Write it, and run it by\n\n    python tools/notebooks.py {name}")


if __name__ == "__main__":
    main()
