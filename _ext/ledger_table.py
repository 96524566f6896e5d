"""The directive `ledger`: all numbered equations and their checks, from the notebooks.

The role `checked` counts them: {checked}`equations`, {checked}`tried`, {checked}`rejected`.
"""

import re
import sys
from pathlib import Path

from docutils import nodes
from docutils.parsers.rst import Directive
from docutils.statemachine import StringList
from sphinx.util.docutils import SphinxRole

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
                    what = check["what"].replace("|", "\\|")
                    what = re.sub(" ([<>=≤≥]) ", "\u00a0\\1\u00a0", what)  # stays on one line
                    rows.append(
                        f"| {{eq}}`{equation.label}` | {{doc}}`{equation.lesson}` | "
                        f"{what} | {check['how']} | "
                        f"{check['killed']} of {check['tried']} |"
                    )
        rows += ["", f"Wrong versions tried: {tried}. Rejected: {killed}."]
        node = nodes.container()
        self.state.nested_parse(StringList(rows, "ledger"), self.content_offset, node)
        return node.children


class Checked(SphinxRole):
    """How many equations there are, or wrong versions of them: tried, or rejected."""

    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        paths = lessons(ROOT)
        for path in paths:
            self.env.note_dependency(str(path))
        found = [equation for path in paths for equation in equations(path)]
        checks = [check for equation in found for check in equation.checks]
        counts = {
            "equations": len(found),
            "tried": sum(int(check["tried"]) for check in checks),
            "rejected": sum(int(check["killed"]) for check in checks),
        }
        if self.text not in counts:
            text = f"checked counts {', '.join(counts)}; got {self.text}"
            return [], [self.inliner.reporter.error(text, line=self.lineno)]
        return [nodes.Text(str(counts[self.text]))], []


def setup(app):
    app.add_directive("ledger", Ledger)
    app.add_role("checked", Checked())
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
