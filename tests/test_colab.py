"""The notebooks as Colab runs them: outside the repository, where ganlib is not installed.

The first cell installs it from the repository's address, which leads here to the package as it
stands. `make test` runs the lessons that take a few seconds, `make colab` runs all.
"""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tools"))
from address import address  # noqa: E402

PATHS = sorted((ROOT / "chapters").glob("*.ipynb"))
QUICK = ("optimal_discriminator", "the_game", "value_function")
# Colab's versions in August 2026, but for Python 3.13 and torch 2.11: those are the running ones.
COLAB = ("numpy==2.1.3", "matplotlib==3.10.0", "sympy==1.14.0", "ipython==7.34.0")
NEEDED = ("backcall", "decorator", "pickleshare")  # by that IPython
TOLD = ("torch", "numpy", "matplotlib", "sympy", "ipython", "ipykernel")

# What Colab has done before the first cell. The addresses of the repository's files lead to the
# files here; anything else asked of the network is an error.
STARTUP = """
import sys, types, urllib.request
from pathlib import Path

class Repository(urllib.request.HTTPSHandler):
    def https_open(self, request):
        if not request.full_url.startswith({raw!r}):
            raise OSError("a lesson asks the network for " + request.full_url)
        path = Path({root!r}, request.full_url.removeprefix({raw!r}))
        answer = self.parent.open(path.as_uri())
        answer.code, answer.msg = 200, "OK"
        return answer

urllib.request.install_opener(urllib.request.build_opener(Repository))
sys.modules["google.colab"] = types.ModuleType("google.colab")
"""


@pytest.fixture(scope="session")
def repository(tmp_path_factory):
    """A repository that holds what an installation needs, as it stands."""
    if shutil.which("git") is None:
        pytest.skip("pip needs git to install from a repository")
    there = tmp_path_factory.mktemp("repository")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, there)
    shutil.copytree(ROOT / "ganlib", there / "ganlib", ignore=shutil.ignore_patterns("__pycache__"))
    git = ["git", "-C", str(there), "-c", "user.name=test", "-c", "user.email=test@localhost"]
    for command in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "As it stands"]):
        subprocess.run([*git, *command], check=True)
    return there


@pytest.fixture(scope="session")
def environment(repository, tmp_path_factory):
    """The variables of a kernel in a fresh environment, and the versions in it.

    All but ganlib is taken from the running one; Colab's versions lie above where they can be had.
    """
    home = tmp_path_factory.mktemp("colab")
    venv.create(home / "venv", symlinks=True)
    python = str(home / "venv" / "bin" / "python")
    site = sysconfig.get_path("purelib", "venv", {"base": str(home / "venv")})
    shared = home / "shared"
    shared.mkdir()
    for path in Path(sysconfig.get_path("purelib")).iterdir():
        if not path.name.startswith(("ganlib", "__editable__")):
            (shared / path.name).symlink_to(path)
    (Path(site) / "shared.pth").write_text(f"{shared}\n")
    kernel = home / "jupyter" / "kernels" / "colab"
    kernel.mkdir(parents=True)
    command = [python, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    spec = {"argv": command, "display_name": "Colab", "language": "python"}
    (kernel / "kernel.json").write_text(json.dumps(spec))
    startup = home / "ipython" / "profile_default" / "startup"
    startup.mkdir(parents=True)
    raw = f"{address()}/raw/main/"
    (startup / "colab.py").write_text(STARTUP.format(raw=raw, root=str(ROOT)))
    variables = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "GANLIB_DATA")}
    variables |= {
        "IPYTHONDIR": str(home / "ipython"),
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": f"url.{repository.as_uri()}.insteadOf",
        "GIT_CONFIG_VALUE_0": address(),
        "PIP_NO_BUILD_ISOLATION": "0",  # pip reads it the other way round: build with what is here
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    }
    pip = [python, "-m", "pip", "install", "-q", "--no-deps", *COLAB, *NEEDED]
    had = subprocess.run(pip, env=variables, capture_output=True, text=True)
    told = f"import importlib.metadata as m; print(*(f'{{n}} {{m.version(n)}}' for n in {TOLD}))"
    versions = subprocess.run(
        [python, "-c", told], env=variables, check=True, capture_output=True, text=True
    ).stdout.split("\n")[0]
    versions = f"Python {sys.version.split()[0]} {versions}"
    if had.returncode:
        versions += f" (Colab's could not be had: {had.stderr.strip().splitlines()[-1]})"
    return variables | {"PIP_NO_INDEX": "1"}, str(home / "jupyter"), python, versions


def run(notebook, environment, folder, monkeypatch):
    """Run a notebook in an environment that lacks ganlib, in an empty folder."""
    variables, kernels, python, _ = environment
    monkeypatch.setenv("JUPYTER_PATH", kernels)
    pip = [python, "-m", "pip", "uninstall", "-q", "-y", "ganlib"]
    subprocess.run(pip, env=variables, check=True, capture_output=True)
    NotebookClient(
        notebook, timeout=600, kernel_name="colab", resources={"metadata": {"path": str(folder)}}
    ).execute(env=variables)


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_a_notebook_runs_in_colab(path, request, tmp_path, monkeypatch, record_property):
    if path.stem not in QUICK and os.environ.get("GANLIB_COLAB") != "all":
        pytest.skip("`make colab` runs it")
    environment = request.getfixturevalue("environment")
    record_property("colab", environment[-1])
    notebook = nbformat.read(path, 4)
    where = nbformat.v4.new_code_cell("import ganlib; print(ganlib.__file__)")
    notebook.cells.append(where)
    run(notebook, environment, tmp_path, monkeypatch)
    installed = Path(notebook.cells[-1].outputs[0].text.strip())
    assert installed.is_relative_to(Path(environment[2]).parents[1])


def test_without_its_first_cell_a_notebook_finds_no_ganlib(environment, tmp_path, monkeypatch):
    cells = [nbformat.v4.new_code_cell("import importlib.util")]
    cells.append(nbformat.v4.new_code_cell("print(importlib.util.find_spec('ganlib'))"))
    notebook = nbformat.v4.new_notebook(cells=cells)
    run(notebook, environment, tmp_path, monkeypatch)
    assert notebook.cells[-1].outputs[0].text == "None\n"
