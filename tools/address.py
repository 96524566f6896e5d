"""Give the repository another address, wherever the old one stands.

    python tools/address.py https://github.com/you/fork

It stands in _config.yml, from which the book's buttons come, in the first cell of each notebook,
which installs ganlib in Colab, and in texts. Prints the files that were changed.
"""

import re
import sys
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[1]
ENDINGS = {".cff", ".cfg", ".html", ".ipynb", ".js", ".json", ".md", ".py", ".toml", ".txt", ".yml"}
MADE = {"_build", "build", "ganlib.egg-info", "runs", "node_modules"}  # by others, and made again
HOST = "https://github.com/"  # Colab opens notebooks from there alone


def address(root: Path = ROOT) -> str:
    """The repository's address, from _config.yml."""
    return yaml.safe_load((root / "_config.yml").read_text("utf-8"))["repository"]["url"]


def texts(root: Path = ROOT) -> list[Path]:
    """The project's own texts; of the hidden folders only .github and .ci are its own."""
    found, folders = [], [root]
    for folder in folders:
        for path in sorted(folder.iterdir()):
            if path.is_dir():
                own = path.name in (".github", ".ci") or not path.name.startswith(".")
                if own and path.name not in MADE:
                    folders.append(path)
            elif path.suffix in ENDINGS:
                found.append(path)
    return found


def move(new: str, root: Path = ROOT) -> list[Path]:
    """Write the new address over the old one, and return the files that were changed.

    Raises:
        ValueError: `new` is not the address of a repository on GitHub.
    """
    if not re.fullmatch(re.escape(HOST) + r"[\w-]+/[\w.-]+(?<!\.git)", new):
        raise ValueError(f"the address must be like {HOST}you/fork, got {new!r}")
    name = re.escape(address(root).removeprefix(HOST))
    old = re.compile(rf"(?<=github\.com[/:]){name}(?![\w-])(?!\.(?!git\b)\w)")
    changed = []
    for path in texts(root):
        text = path.read_bytes().decode("utf-8")
        moved = old.sub(new.removeprefix(HOST), text)
        if moved != text:
            path.write_bytes(moved.encode("utf-8"))
            changed.append(path)
    return changed


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    try:
        print("\n".join(str(path.relative_to(ROOT)) for path in move(sys.argv[1])))
    except ValueError as error:
        sys.exit(str(error))
