"""The built book and a browser to read it in, for all tests of pages."""

import fcntl
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tools"))
import browser as browsers  # noqa: E402


@pytest.fixture(scope="session")
def book(tmp_path_factory):
    """The book built as `make book` builds it, in a folder that all workers share.

    The first worker that needs it builds it, and the others wait.
    """
    out = tmp_path_factory.getbasetemp()
    out = (out.parent if "PYTEST_XDIST_WORKER" in os.environ else out) / "book"
    out.mkdir(exist_ok=True)
    html = out / "_build" / "html"
    finished = out / "finished"
    with (out / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not finished.exists():
            program = Path(sys.executable).with_name("jupyter-book")
            command = [program, "build", "-W", "-n", "--keep-going", "--all"]
            done = subprocess.run(
                [*command, "--path-output", str(out), str(ROOT)], capture_output=True, text=True
            )
            assert done.returncode == 0, done.stdout + done.stderr
            finished.touch()
    return html


@pytest.fixture(scope="session")
def browser():
    playwright = pytest.importorskip("playwright.sync_api")
    path = browsers.find()
    if path is None:
        pytest.skip(browsers.MISSING)
    with playwright.sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield started
        started.close()
