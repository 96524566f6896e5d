"""What the front page shows and says of results/, read when the book is built.

The directive `samples` shows the first rows of a sheet of samples as one black strip, and what
it is told below:

    ```{samples} mnist-225/samples.png
    :rows: 3
    :alt: What the picture shows.

    The caption.
    ```

The role `measured` writes a number of results/NAME/metrics.json, in one of Python's formats. A `*`
stands for every key of its level, and takes the mean:

    {measured}`.0f mnist-225 seeds/*/averaged/score/standard error`

The role `colab` opens a notebook of this repository in Colab:

    {colab}`a first GAN <chapters/first_gan>`
"""

import base64
import io
import json
import statistics
from pathlib import Path

from docutils import nodes
from docutils.parsers.rst import Directive, directives
from PIL import Image
from sphinx.util.docutils import ReferenceRole, SphinxRole

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "results"
DARK = 8  # a line through images meets their background; one through a gap or an edge does not


def strip(path: Path, rows: int) -> bytes:
    """The first rows of a sheet of white on black images, as a PNG of 16 greys with black gaps.

    Raises:
        ValueError: The sheet has fewer rows.
    """
    sheet = Image.open(path).convert("L")
    w, h = sheet.size
    across = {y: (0, y, w, y + 1) for y in range(h)}
    down = {x: (x, 0, x + 1, h) for x in range(w)}
    ys, xs = (
        [at for at, line in lines.items() if sheet.crop(line).getextrema()[0] <= DARK]
        for lines in (across, down)
    )
    ends = [y + 1 for y in ys if y + 1 not in ys]
    if not 0 < rows <= len(ends):
        raise ValueError(f"{path} has {len(ends)} rows; {rows} were asked for")
    for line in [across[y] for y in across.keys() - ys] + [down[x] for x in down.keys() - xs]:
        sheet.paste(0, line)
    file = io.BytesIO()
    sheet = sheet.crop((xs[0], ys[0], xs[-1] + 1, ends[rows - 1]))
    sheet.point(lambda grey: round(grey / 17) * 17).quantize(16).save(file, "PNG", optimize=True)
    return file.getvalue()


def measured(text: str) -> str:
    """The number that "FORMAT NAME KEY/KEY/…" names, as text.

    Raises:
        ValueError: results/ has no such number.
    """
    try:
        form, name, keys = text.split(" ", 2)
        found = [json.loads((RESULTS / name / "metrics.json").read_text("utf-8"))]
        for key in keys.split("/"):
            found = [x for at in found for x in (at.values() if key == "*" else [at[key]])]
        return f"{statistics.fmean(found):{form}}".replace("%", "\N{NO-BREAK SPACE}%")
    except (KeyError, AttributeError, TypeError, ValueError, OSError) as error:
        raise ValueError(f"results/ has no number {text!r}: {error!r}") from error


class Samples(Directive):
    """The first rows of one sheet of results/."""

    required_arguments = 1
    has_content = True
    option_spec = {  # noqa: RUF012
        "rows": directives.positive_int,
        "alt": directives.unchanged_required,
    }

    def run(self) -> list[nodes.Node]:
        path = RESULTS / self.arguments[0]
        self.state.document.settings.env.note_dependency(str(path))
        if not self.options.keys() >= {"rows", "alt"}:
            raise self.error("samples needs the options rows and alt")
        try:
            data = base64.b64encode(strip(path, self.options["rows"])).decode()
        except (OSError, ValueError) as error:
            raise self.error(str(error)) from error
        image = nodes.image(uri=f"data:image/png;base64,{data}", alt=self.options["alt"])
        image["classes"] = ["dark-light"]  # the theme leaves it as it is in the dark
        shown = nodes.container("", image, classes=["samples"])
        self.state.nested_parse(self.content, self.content_offset, shown)
        return [shown]


class Measured(SphinxRole):
    """A number of results/."""

    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        name = self.text.split(" ")[1:2]
        self.env.note_dependency(str(RESULTS.joinpath(*name, "metrics.json")))
        try:
            return [nodes.Text(measured(self.text))], []
        except ValueError as error:
            message = self.inliner.reporter.error(str(error), line=self.lineno)
            return [], [message]


class Colab(ReferenceRole):
    """A link to a notebook in Colab."""

    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        options = self.config.html_theme_options
        host, colab = "https://github.com/", options["launch_buttons"]["colab_url"]
        address, branch = options["repository_url"], options["repository_branch"]
        notebook = f"{self.target}.ipynb"
        if not (ROOT / notebook).exists() or not address.startswith(host):
            text = f"Colab opens notebooks of repositories at {host}, not {notebook} of {address}"
            return [], [self.inliner.reporter.error(text, line=self.lineno)]
        place = f"{address.removeprefix(host)}/blob/{branch}/{notebook}"
        link = nodes.reference("", self.title, refuri=f"{colab}/github/{place}", internal=False)
        return [link], []


def setup(app):
    app.add_directive("samples", Samples)
    app.add_role("measured", Measured())
    app.add_role("colab", Colab())
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
