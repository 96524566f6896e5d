"""The repository's address: one place, one command, no trace of the old one."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tools"))
import address  # noqa: E402

FORK = address.HOST + "somebody-else/another.name"


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    """The whole project, but for what others made."""

    def left_out(folder, names):
        made = [name for name in names if name.startswith(".") or name in address.MADE]
        return {*made, "__pycache__"} - {".github", ".ci"}

    there = tmp_path_factory.mktemp("copy") / "book"
    shutil.copytree(ROOT, there, ignore=left_out)
    return there


def contents(root):
    return {path.relative_to(root): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_the_address_is_the_same_wherever_it_stands():
    """In the files that speak of this repository, whatever else they speak of."""
    place = address.address().removeprefix(address.HOST)
    pattern = re.compile(r"github\.com[/:]([\w-]+/[\w.-]+?)(?:\.git)?(?=[\s\"')>\]/\\]|$)")
    paths = [ROOT / name for name in ("README.md", "intro.md", "pyproject.toml", "_config.yml")]
    paths += [p for folder in ("chapters", "reference") for p in (ROOT / folder).glob("*.[im]*")]
    for path in paths:
        for found in pattern.findall(path.read_text("utf-8")):
            assert found == place, f"{path.name} has {found}: see tools/address.py"
    for name in ("_config.yml", "intro.md", "pyproject.toml"):
        assert address.address() in (ROOT / name).read_text("utf-8"), name


def test_one_command_moves_it_and_leaves_no_trace(copy):
    before, old = contents(copy), address.address(copy)
    command = [sys.executable, str(copy / "tools" / "address.py")]
    done = subprocess.run([*command, FORK], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    after = contents(copy)
    changed = {str(path) for path in before if before[path] != after[path]}
    assert set(done.stdout.split()) == changed
    assert {"_config.yml", "intro.md", "pyproject.toml"} < changed
    owner = old.removeprefix(address.HOST).split("/")[0]
    for trace in (old.removeprefix(address.HOST), owner):
        found = [str(path) for path, content in after.items() if trace.encode() in content]
        assert found == []
    assert address.address(copy) == FORK
    for path in sorted((copy / "chapters").glob("*.ipynb")):
        first = next(c for c in nbformat.read(path, 4).cells if c.cell_type == "code")
        assert f'"ganlib @ git+{FORK}"' in first.source
    done = subprocess.run([*command, old], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert contents(copy) == before


@pytest.mark.parametrize(
    "wrong",
    [
        "https://github.com/you",
        "https://gitlab.com/you/fork",
        "https://github.com/you/fork.git",
        "https://github.com/you/fork/",
        "you/fork",
    ],
)
def test_what_is_no_repository_on_github_is_refused(copy, wrong):
    before = contents(copy)
    command = [sys.executable, str(copy / "tools" / "address.py"), wrong]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode != 0
    assert "must be like https://github.com/you/fork" in done.stderr
    assert contents(copy) == before


def test_a_longer_name_that_begins_alike_stays(tmp_path):
    (tmp_path / "_config.yml").write_text("repository: {url: https://github.com/a/b}\n")
    others = "github.com/a/bc github.com/a/b.c github.com/a/b-c x/a/b"
    (tmp_path / "text.md").write_text(f"github.com/a/b git@github.com:a/b.git {others}")
    address.move("https://github.com/d/e", tmp_path)
    moved = f"github.com/d/e git@github.com:d/e.git {others}"
    assert (tmp_path / "text.md").read_text() == moved
