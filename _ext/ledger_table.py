"""The directive `ledger`: all numbered equations and their checks, from the notebooks."""

import sys
from pathlib import Path

from docutils import nodes
from docutils.parsers.rst import Directive
from docutils.statemachine import StringList

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tools"))
from ledger import equations, lessons  # noqa: E402


class Ledger(Directive):
    """One row for each equation: its number, its page, what was checked and how."""

    def run(self) -> list[nodes.Node]:
        rows = ["| equation | lesson | checked | how | rejected |", "|---|---|---|---|---|"]
        tried = killed = 0
        for path in lessons(ROOT):
            self.state.document.settings.env.note_dependency(str(path))
            for equation in equations(path):
                for check in equation.checks:
                    tried += int(check["tried"])
                    killed += int(check["killed"])
                    rows.append(
                        f"| {{eq}}`{equation.label}` | {{doc}}`{equation.lesson}` | "
                        f"{check['what'].replace('|', chr(92) + '|')} | {check['how']} | "
                        f"{check['killed']} of {check['tried']} |"
                    )
        rows += ["", f"Wrong versions tried: {tried}. Rejected: {killed}."]
        node = nodes.container()
        self.state.nested_parse(StringList(rows, "ledger"), self.content_offset, node)
        return node.children


def setup(app):
    app.add_directive("ledger", Ledger)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
