"""The reference: complete, documented, and tied to the lessons in both directions."""

import inspect
import re
import sys
from pathlib import Path

import nbformat
import pytest

import ganlib

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tools"))
import uses  # noqa: E402

PUBLIC = uses.public()
USES = uses.uses()


def comment_above(name):
    """The lines marked `#:` that document a public value where it is set."""
    module, _, short = name.rpartition(".")
    source = inspect.getsource(sys.modules[module])
    return re.search(rf"(?:^#: .+\n)+{short}\b.* = |^{short} = .*#: .+$", source, re.M)


@pytest.mark.parametrize("name", PUBLIC)
def test_every_public_name_is_documented_and_leads_to_a_lesson(name):
    value = PUBLIC[name]
    if inspect.isclass(value) or inspect.isfunction(value):
        assert value.__doc__, f"{name} has no docstring"
    else:
        assert comment_above(name), f"{name} has no comment that begins with #:"
    assert USES[name].lessons, f"no lesson needs {name}"
    for lesson in USES[name].lessons:
        assert any((ROOT / f"{lesson}{end}").exists() for end in (".ipynb", ".md"))


@pytest.mark.parametrize("name", [n for n in PUBLIC if inspect.isfunction(PUBLIC[n])])
def test_every_argument_is_documented_once_a_function_lists_its_arguments(name):
    function = inspect.unwrap(PUBLIC[name])
    text = inspect.getdoc(function)
    if "Args:\n" not in text:
        return
    listed = re.findall(r"^    (\w+): ", text.split("Args:\n")[1].split("\n\n")[0], re.M)
    assert listed == list(inspect.signature(function).parameters)


def test_every_module_with_public_names_has_its_page():
    pages = {path.stem for path in (ROOT / "reference").glob("*.md")} - {"index"}
    assert pages == {module.__name__.removeprefix("ganlib.") for module in uses.modules()}
    toc = (ROOT / "_toc.yml").read_text("utf-8")
    for page in pages:
        assert f".. automodule:: ganlib.{page}\n" in (ROOT / f"reference/{page}.md").read_text()
        assert f"- file: reference/{page}\n" in toc


def test_the_overview_lists_all_that_the_package_brings():
    listed = re.findall(r"^   ~?(ganlib\.[\w.]+)$", (ROOT / "reference/index.md").read_text(), re.M)
    brought = [getattr(ganlib, name) for name in ganlib.__all__]
    names = [uses.identities()[id(value)] for value in brought if not inspect.ismodule(value)]
    assert sorted(listed) == sorted(names + [module.__name__ for module in uses.modules()])


def test_a_name_is_found_however_a_lesson_writes_it(tmp_path):
    """By a page's code, its text or its commands; else by what needs it."""
    (tmp_path / "_toc.yml").write_text(
        "parts: [{chapters: [{file: chapters/a}, {file: chapters/b}, {file: chapters/c}]}]"
    )
    (tmp_path / "chapters").mkdir()
    code = "from ganlib.training import Game as Play\nimport ganlib\nganlib.plot.grid\nPlay.move_G"
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code)])
    nbformat.write(notebook, tmp_path / "chapters" / "a.ipynb")
    (tmp_path / "chapters" / "b.md").write_text("Ask `ganlib.walk(z0, z1)`, not `sample`.")
    (tmp_path / "chapters" / "c.md").write_text("```bash\nganlib reproduce mnist\n```")
    found = uses.uses(tmp_path)
    assert found["ganlib.training.Game"] == uses.Use(("chapters/a",))
    assert found["ganlib.plotting.grid"] == uses.Use(("chapters/a",))
    assert found["ganlib.plotting.mosaic"] == uses.Use(("chapters/a",), ("ganlib.plotting.grid",))
    assert found["ganlib.sampling.walk"] == uses.Use(("chapters/b",))
    assert found["ganlib.reproduction.reproduce"].lessons == ("chapters/c",)
    assert found["ganlib.reproduction.reproduce"].through == ("ganlib.cli.reproduce",)
    assert "chapters/b" not in found["ganlib.sampling.sample"].lessons
