"""What running the notebooks does not show: their form, their order, their texts."""

import json
import re
import sys
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tools"))
import notebooks  # noqa: E402

PATHS = sorted((ROOT / "chapters").glob("*.ipynb"))


@pytest.fixture(params=PATHS, ids=lambda path: path.stem)
def notebook(request):
    return nbformat.read(request.param, 4)


def code(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def test_there_are_lessons():
    assert PATHS


def test_it_is_valid_and_in_its_normal_form(notebook):
    nbformat.validate(notebook)
    assert notebooks.normalised(notebook) == notebook, "run `make notebooks`"


def test_every_code_cell_has_run_in_order_without_an_error(notebook):
    cells = code(notebook)
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert not [o for cell in cells for o in cell.outputs if o.output_type == "error"]
    assert not [o for cell in cells for o in cell.outputs if o.get("name") == "stderr"]


def test_no_cell_is_left_out_of_the_comparison_but_colabs(notebook):
    tagged = [cell for cell in code(notebook) if cell.metadata.get("tags")]
    left_out = {"nbval-skip", "nbval-ignore-output", "raises-exception", "skip-execution"}
    assert [cell.id for cell in tagged if left_out & set(cell.metadata.tags)] == ["colab"]
    assert not [c for c in code(notebook) if re.search(r"#\s*NBVAL|#\s*PYTEST_VALIDATE", c.source)]
    assert "torch" not in notebook.cells[1].source


def test_cells_are_short_and_narrow(notebook):
    for cell in code(notebook)[1:]:
        lines = cell.source.splitlines()
        assert len(lines) <= 15, cell.source
        assert max(map(len, lines)) <= 76, cell.source
        assert not cell.source.rstrip().endswith(";"), "a trailing ; hides nothing"


def test_every_figure_has_an_alternative_text_and_a_caption(notebook):
    for cell in code(notebook):
        if any(k.startswith("image/") for o in cell.outputs for k in o.get("data", {})):
            texts = cell.metadata.get("mystnb", {})
            assert len(texts.get("image", {}).get("alt", "")) > 40, cell.source
            assert texts.get("figure", {}).get("caption"), cell.source


def test_every_exercise_has_a_solution(notebook):
    text = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    exercises = re.findall(r"\{exercise(?:-start)?\}[^\n]*\n:label: (\S+)", text)
    solutions = re.findall(r"\{solution(?:-start)?\} (\S+)", text)
    assert len(exercises) >= 3
    assert exercises == solutions


def test_a_lesson_opens_and_closes_as_every_lesson_does(notebook):
    text = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    headings = re.findall(r"^## (.+)$", text, re.M)
    assert "**What you will be able to do**" in text
    assert "**Guess first.**" in text
    assert headings[-3:] == ["Summary", "Exercises", "Further reading"]


def test_a_lesson_that_trains_for_long_says_what_it_takes():
    """As measured when it was run with several seeds."""
    long = 0
    records = sorted((ROOT / "results").glob("*/seeds.json"))
    for record in records:
        result = json.loads(record.read_text("utf-8"))
        seconds = result["seconds"] / len(result["seeds"])
        if seconds > 20:
            long += 1
            opening = nbformat.read(ROOT / "chapters" / f"{record.parent.name}.ipynb", 4).cells[0]
            pattern = r"\*\*What it takes\.\*\* Up to (\d+) (seconds|minutes) on one core"
            number, unit = re.search(pattern, opening.source).groups()
            said = int(number) * {"seconds": 1, "minutes": 60}[unit]
            assert seconds <= said <= 1.5 * seconds, record.parent.name
    assert long or not records
