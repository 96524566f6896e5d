"""The directive `laboratory`: an instrument that works in the page, without a server.

    ```{laboratory} gaussians
    ```

puts laboratory/gaussians.html there, and lets that page alone load laboratory/gaussians.js. The
HTML holds what is shown without JavaScript, and `<!-- still -->` in it becomes the picture that
stills.py makes; the script takes it from there. What instruments share comes before it. A script
finds the folder of what it needs besides in `document.currentScript.src`. If there is a
laboratory/gaussians.py, its function `export(folder)` writes that at the build.
"""

import runpy
import shutil
from pathlib import Path

from docutils import nodes
from docutils.parsers.rst import Directive
from stills import LESSONS, STILLS

FOLDER = Path(__file__).resolve().parents[1] / "laboratory"
SHARED = ["plot", "players"]


class Laboratory(Directive):
    """One instrument, by its name."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        name, env = self.arguments[0], self.state.document.settings.env
        path = FOLDER / f"{name}.html"
        if not path.exists():
            raise self.error(f"there is no {path}")
        env.note_dependency(str(path))
        env.metadata[env.docname].setdefault("laboratory", []).append(name)
        html = path.read_text("utf-8")
        if "<!-- still -->" in html:
            if name in LESSONS:
                env.note_dependency(str(LESSONS[name][0]))
            html = html.replace("<!-- still -->", STILLS[name]())
        return [nodes.raw("", html, format="html")]


def load_scripts(app, pagename, templatename, context, doctree):
    """Only a page with an instrument loads its script, and first what instruments share."""
    names = app.env.metadata.get(pagename, {}).get("laboratory", [])
    for name in [*SHARED, *names] if names else []:
        app.add_js_file(f"laboratory/{name}.js", loading_method="defer")


def copy_scripts(app, exception):
    """The scripts, and what they load, lie beside the book's other static files."""
    if exception is None and app.builder.format == "html":
        there = Path(app.outdir) / "_static" / "laboratory"
        there.mkdir(parents=True, exist_ok=True)
        for path in FOLDER.glob("*.js"):
            shutil.copy(path, there)
        for path in FOLDER.glob("*.py"):
            runpy.run_path(str(path))["export"](there)


def setup(app):
    app.add_directive("laboratory", Laboratory)
    app.connect("html-page-context", load_scripts)
    app.connect("build-finished", copy_scripts)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
