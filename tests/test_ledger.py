"""The ledger: each numbered equation is checked, and no wrong version of one gets by."""

import sys
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tools"))
from ledger import equations, lessons  # noqa: E402

EQUATIONS = [equation for lesson in lessons(ROOT) for equation in equations(lesson)]


def test_every_notebook_is_a_lesson_of_the_book():
    assert sorted(lessons(ROOT)) == sorted((ROOT / "chapters").glob("*.ipynb"))


@pytest.mark.parametrize("equation", EQUATIONS, ids=lambda equation: equation.label)
def test_every_numbered_equation_has_a_check(equation):
    assert equation.checks, f"{equation.label} in {equation.lesson} has no check"


def test_labels_are_unique():
    labels = [equation.label for equation in EQUATIONS]
    assert len(set(labels)) == len(labels)


def test_every_wrong_version_tried_was_rejected():
    counts = [(check["killed"], check["tried"]) for e in EQUATIONS for check in e.checks]
    tried = sum(int(number) for _, number in counts)
    killed = sum(int(number) for number, _ in counts)
    assert tried >= len(EQUATIONS)
    assert killed == tried


def lesson(tmp_path, text, printed):
    cell = nbformat.v4.new_code_cell("check(...)")
    cell.outputs = [nbformat.v4.new_output("stream", text=printed)]
    path = tmp_path / "lesson.ipynb"
    nbformat.write(
        nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell(text), cell]), path
    )
    return path


def test_an_equation_without_a_check_is_found(tmp_path):
    text = "$$\na = b\n$$ (eq-one)\n\n1. In a list:\n\n   $$\n   c = d\n   $$ (eq-two)\n"
    printed = "eq-two holds [numeric]; 2 of 2 wrong versions rejected\n  both sides, at 3 points\n"
    one, two = equations(lesson(tmp_path, text, printed))
    assert (one.label, one.checks) == ("eq-one", [])
    assert two.checks[0]["what"] == "both sides, at 3 points"


def test_a_check_of_an_equation_that_is_not_there_is_refused(tmp_path):
    printed = "eq-two holds [symbolic]; 1 of 1 wrong versions rejected\n  it\n"
    with pytest.raises(ValueError, match="checks eq-two, which it has not"):
        equations(lesson(tmp_path, "$$\na = b\n$$ (eq-one)", printed))
