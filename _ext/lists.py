"""Lists made from the notebooks, and the role that leads from an exercise to its solution.

The directive `figures` lists all figures, `exercises` all exercises, lesson by lesson. The role
{solution}`text <label>` is a link to the solution of the exercise with that label.
"""

import sys
from pathlib import Path

from docutils import nodes
from docutils.parsers.rst import Directive
from docutils.statemachine import StringList
from sphinx.roles import XRefRole
from sphinx.util.nodes import make_refnode

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tools"))
from contents import exercises, figures  # noqa: E402
from ledger import lessons  # noqa: E402


class ByLesson(Directive):
    """A list under each lesson that has something to list."""

    def run(self) -> list[nodes.Node]:
        lines = []
        for path in lessons(ROOT):
            self.state.document.settings.env.note_dependency(str(path))
            entries = [f"- {entry}" for entry in self.entries(path)]
            if entries:
                lines += [f"{{doc}}`{path.stem}`", "", *entries, ""]
        node = nodes.container()
        self.state.nested_parse(StringList(lines, self.name), self.content_offset, node)
        return node.children


class Figures(ByLesson):
    """Each figure's number and caption."""

    def entries(self, path: Path) -> list[str]:
        return [f"{{numref}}`{name}`: {caption}" for name, caption in figures(path)]


class Exercises(ByLesson):
    """Each exercise's number and subject, and the way to its solution."""

    def entries(self, path: Path) -> list[str]:
        return [
            f"{{ref}}`{label}`: {subject} ({{solution}}`solution <{label}>`)"
            for label, subject in exercises(path)
        ]


def find_solution(app, env, node, content):
    """The place of a solution; sphinx-exercise numbers them and does not publish the numbers."""
    if node["reftype"] != "solution":
        return None
    for label, entry in env.sphinx_exercise_registry.items():
        if entry["node"].get("target_label") == node["reftarget"]:
            words = nodes.Text(content.astext())  # and no code
            return make_refnode(app.builder, node["refdoc"], entry["docname"], label, words)
    return None


def setup(app):
    app.add_directive("figures", Figures)
    app.add_directive("exercises", Exercises)
    app.add_role("solution", XRefRole())
    app.connect("missing-reference", find_solution)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
