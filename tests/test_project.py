"""What the project says of itself: versions, architecture, hooks, and the way to a new lesson."""

import ast
import datetime
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import ganlib

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tools"), str(ROOT / "_ext")]
import front  # noqa: E402
import new_lesson  # noqa: E402
import notebooks  # noqa: E402

CITATION = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))
HOOKS = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text("utf-8"))
ARCHITECTURE = (ROOT / "chapters" / "architecture.md").read_text("utf-8")
MODULES = {  # a package in ganlib is one module here, of several files
    name: [path] if path.suffix else sorted(path.glob("*.py"))
    for path in (ROOT / "ganlib").iterdir()
    if (name := path.stem) and (path.suffix == ".py" or (path / "__init__.py").exists())
}


def test_a_release_has_one_version():
    entries = re.findall(
        r"^## \[(.+?)\](?: - (.+))?$", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.M
    )
    assert entries[0] == ("Unreleased", "")
    version, date = entries[1]
    assert version == CITATION["version"] == ganlib.__version__
    if date == "unreleased":
        assert "date-released" not in CITATION
    else:
        assert datetime.date.fromisoformat(date) == CITATION["date-released"]


def test_the_citation_has_what_its_format_asks_for():
    """Of version 1.2.0 of the Citation File Format, as far as this file uses it."""
    assert CITATION["cff-version"] == "1.2.0"
    kinds = {"message": str, "title": str, "authors": list, "version": str, "license": list}
    assert {key: type(CITATION.get(key)) for key in kinds} == kinds
    for author in CITATION["authors"]:
        assert author.keys() in ({"name"}, {"given-names", "family-names"})
    assert CITATION["type"] in ("software", "dataset")
    assert CITATION["repository-code"] == notebooks.address()
    known = {"cff-version", "abstract", "type", "repository-code", "keywords", "date-released"}
    assert CITATION.keys() <= kinds.keys() | known


def floors():
    rows = re.findall(r"^\| (\d+) \| `(\w+)` \| (.+) \|$", ARCHITECTURE, re.M)
    return {name: int(floor) for floor, name, _ in rows}


def imported(source):
    """The modules of ganlib that a module's source imports, wherever in it."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are written out"
            at = node.module
            names = [f"{at}.{a.name}" if f"{a.name}" in MODULES else at for a in node.names]
        else:
            continue
        for name in names:
            package, _, module = name.partition(".")
            if package == "ganlib":
                yield module.split(".")[0] or "__init__"


def test_every_module_has_a_floor():
    assert floors().keys() == MODULES.keys()


@pytest.mark.parametrize("name", sorted(MODULES))
def test_imports_only_point_down(name):
    floor = floors()
    for path in MODULES[name]:
        for other in imported(path.read_text("utf-8")):
            inside = other == name and len(MODULES[name]) > 1
            assert inside or floor[other] < floor[name], f"{path} imports {other}, not below it"


def test_the_floors_stand_one_below_the_other():
    numbers = list(floors().values())
    assert numbers == sorted(numbers, reverse=True)


def test_imports_are_found_in_every_form():
    source = """
import ganlib
import ganlib.data as d
from ganlib import parzen, sample
def late():
    from ganlib.training import train
    import torch
"""
    assert list(imported(source)) == ["__init__", "data", "parzen", "__init__", "training"]


def test_numbers_in_the_readme_are_those_of_results():
    text = " ".join((ROOT / "README.md").read_text("utf-8").split())
    mean = front.measured(".0f mnist-225 score/mean")
    error = front.measured(".0f mnist-225 seeds/*/averaged/score/standard error")
    assert f"{mean} ± {error} nats" in text
    real = front.measured(".0f mnist-225 reference/training images/score/mean")
    assert f"real digits have {real}" in text
    agreement = front.measured(".0% cgan-mnist seeds/*/averaged/agreement/mean")
    assert " ".join(f"in {agreement} of cases".split()) in text


def test_every_file_and_target_that_the_texts_name_exists():
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text("utf-8"), re.M))
    for name in ("README.md", "CONTRIBUTING.md"):
        text = (ROOT / name).read_text("utf-8")
        assert set(re.findall(r"^make (\w+)|`make (\w+)", text, re.M)) <= {
            pair for target in targets for pair in ((target, ""), ("", target))
        }
        links = re.findall(r"\]\(([\w./-]+)\)|(?:src|href)=\"([\w./-]+)\"", text)
        commands = re.findall(r"python ((?:tools|benchmarks)/\w+\.py)|pytest (tests/\w+\.py)", text)
        for found in [*links, *commands]:
            assert (ROOT / "".join(found)).exists(), f"{name} names {found}"


@pytest.fixture
def copy(tmp_path):
    """As much of the project as a new lesson, its tests and the hooks need, without its lessons."""
    for name in ("tools", "tests", "_toc.yml", "_config.yml", "intro.md", "README.md"):
        target = tmp_path / name
        (shutil.copytree if (ROOT / name).is_dir() else shutil.copy)(ROOT / name, target)
    for name in ("pyproject.toml", "conftest.py", ".pre-commit-config.yaml", "CITATION.cff"):
        shutil.copy(ROOT / name, tmp_path)
    (tmp_path / "chapters").mkdir()
    (tmp_path / "ganlib").symlink_to(ROOT / "ganlib", target_is_directory=True)
    return tmp_path


def test_a_new_lesson_runs_and_passes_the_tests_of_lessons(copy):
    path = new_lesson.add(copy, "my_lesson", "My lesson", "Theory", "What is it good for?")
    assert notebooks.problem(path) == "not run from top to bottom"
    notebooks.run(path)
    assert notebooks.problem(path) is None
    files = ["tests/test_notebooks.py", "tests/test_ledger.py", "chapters/my_lesson.ipynb"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *files],
        cwd=copy, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout


def test_a_new_lesson_is_listed_at_the_end_of_its_part(copy):
    before = yaml.safe_load((copy / "_toc.yml").read_text("utf-8"))["parts"]
    new_lesson.add(copy, "one", "One", "Practice", "Why?")
    new_lesson.add(copy, "two", "Two")
    after = yaml.safe_load((copy / "_toc.yml").read_text("utf-8"))["parts"]
    page = (copy / "intro.md").read_text("utf-8")
    for old, new in zip(before, after, strict=True):
        added = {"Practice": ["one"], "Conditions": ["two"]}.get(old["caption"], [])
        files = [{"file": f"chapters/{slug}"} for slug in added]
        assert new == old | {"chapters": [*old["chapters"], *files]}
    rows = [line for line in page.splitlines() if line.startswith("| ")]
    at = rows.index("| | Why? | {doc}`chapters/one` |")
    assert "failures" in rows[at - 1]
    assert rows[at + 1].startswith("| Measuring |")
    at = rows.index("| | Two | {doc}`chapters/two` |")
    assert "pix2pix" in rows[at - 1]
    assert rows[at + 1].startswith("| Laboratory |")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("My lesson", "Title"), "slug must be"),
        (("taken", "Title"), "there is a chapter taken already"),
        (("mine", " "), "must be one line each"),
        (("mine", "Title", None, "a | b"), "must be one line each"),
        (("mine", "Title", "Appendix"), "part must be one of Theory, Practice"),
    ],
)
def test_a_lesson_that_cannot_be_listed_is_refused_and_nothing_is_written(copy, arguments, message):
    (copy / "chapters" / "taken.md").write_text("# Taken\n")
    before = (copy / "_toc.yml").read_bytes(), (copy / "intro.md").read_bytes()
    with pytest.raises(ValueError, match=message):
        new_lesson.add(copy, *arguments)
    assert before == ((copy / "_toc.yml").read_bytes(), (copy / "intro.md").read_bytes())
    assert [path.name for path in (copy / "chapters").iterdir()] == ["taken.md"]


def test_a_file_that_is_no_notebook_is_said_to_be_none(tmp_path):
    (tmp_path / "broken.ipynb").write_text("{")
    assert notebooks.problem(tmp_path / "broken.ipynb").startswith("not a notebook")
    with pytest.raises(SystemExit, match=r"broken\.ipynb: not a notebook"):
        notebooks.main("--check", str(tmp_path / "broken.ipynb"))


def test_hooks_download_nothing():
    assert [repo["repo"] for repo in HOOKS["repos"]] == ["local"]
    hooks = HOOKS["repos"][0]["hooks"]
    assert {hook["language"] for hook in hooks} == {"system"}
    assert all(hook["entry"].startswith(".venv/bin/") for hook in hooks)


def test_hooks_stop_what_is_not_in_order(copy):
    """In a repository of its own, whose .venv is the one that the tests run in."""
    (copy / ".venv").symlink_to(sys.prefix, target_is_directory=True)
    clean = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    clean["PRE_COMMIT_HOME"] = str(copy / "home")

    def run(*command):
        return subprocess.run(command, cwd=copy, env=clean, capture_output=True, text=True)

    def hooks(*paths):
        assert run("git", "add", *paths).returncode == 0
        done = run(sys.executable, "-m", "pre_commit", "run", "--color", "never", "--files", *paths)
        states = re.findall(r"^(.+?)\.{3,}.*?(Passed|Failed|Skipped)$", done.stdout, re.M)
        assert len(states) == 3, done.stdout + done.stderr
        return [state for _, state in states]

    assert run("git", "init", "-q").returncode == 0
    shutil.copy(ROOT / "chapters" / "the_game.ipynb", copy / "chapters")
    assert hooks("tools/new_lesson.py", "chapters/the_game.ipynb") == ["Passed"] * 3
    (copy / "bad.py").write_text("import os\nx = [1,2]\n")
    assert hooks("bad.py") == ["Failed", "Failed", "Skipped"]
    path = copy / "chapters" / "the_game.ipynb"
    path.write_text(path.read_text("utf-8").replace('"execution_count": 2', '"execution_count": 9'))
    assert hooks("chapters/the_game.ipynb") == ["Passed", "Skipped", "Failed"]
