"""The ledger: every numbered equation of the lessons, and the checks that their cells printed."""

import re
from dataclasses import dataclass, field
from pathlib import Path

import nbformat
import yaml

LABEL = re.compile(r"^\$\$ \((eq-[\w-]+)\)", re.M)
LINE = re.compile(
    r"^(?P<label>eq-[\w-]+) holds \[(?P<how>\w+)\]; "
    r"(?P<killed>\d+) of (?P<tried>\d+) wrong versions rejected\n  (?P<what>.+)$",
    re.M,
)


@dataclass
class Equation:
    """One numbered equation: where it stands, and the checks printed on the same page."""

    label: str
    lesson: str
    checks: list[dict[str, str]] = field(default_factory=list)


def lessons(root: Path) -> list[Path]:
    """The notebooks of the book whose folder is root, in the order of its table of contents."""
    toc = yaml.safe_load((root / "_toc.yml").read_text("utf-8"))
    files = [root / page["file"] for part in toc["parts"] for page in part["chapters"]]
    notebooks = [file.with_suffix(".ipynb") for file in files]
    return [notebook for notebook in notebooks if notebook.exists()]


def equations(notebook: Path) -> list[Equation]:
    """The numbered equations of one lesson, in order, each with its checks.

    Raises:
        ValueError: A check names an equation that the lesson does not have.
    """
    cells = nbformat.read(notebook, 4).cells
    found: dict[str, Equation] = {}
    for cell in cells:
        if cell.cell_type == "markdown":
            for label in LABEL.findall(re.sub(r"(?m)^[ >]+", "", cell.source)):
                found[label] = Equation(label, notebook.stem)
    for cell in cells:
        for output in cell.get("outputs", []):
            for line in LINE.finditer(output.get("text", "")):
                if line["label"] not in found:
                    raise ValueError(f"{notebook.name} checks {line['label']}, which it has not")
                found[line["label"]].checks.append(line.groupdict())
    return list(found.values())
