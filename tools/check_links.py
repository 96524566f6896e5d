"""Check a built book: every link, every anchor, and that no page loads anything from the network.

python tools/check_links.py _build/html
"""

import sys
from pathlib import Path
from urllib.parse import unquote, urlsplit

from bs4 import BeautifulSoup

# tag → the attribute that makes a browser fetch or go somewhere
ADDRESSES = {
    "a": "href", "link": "href", "script": "src", "img": "src", "iframe": "src",
    "source": "src", "video": "src", "audio": "src", "object": "data", "embed": "src",
}  # fmt: skip


def problems(root: Path) -> list[str]:
    """What is wrong with the pages below root, a line each."""
    root = root.resolve()
    pages = {
        path: BeautifulSoup(path.read_text("utf-8"), "html.parser")
        for path in sorted(root.rglob("*.html"))
        if "_static" not in path.relative_to(root).parts
    }
    anchors = {
        path: {tag["id"] for tag in page.find_all(id=True)}
        | {tag["name"] for tag in page.find_all("a", attrs={"name": True})}
        for path, page in pages.items()
    }
    found = []
    for path, page in pages.items():
        for tag, attribute in ADDRESSES.items():
            for element in page.find_all(tag, attrs={attribute: True}):
                wrong = _wrong(root, path, tag, element[attribute], anchors)
                if wrong:
                    found.append(f"{path.relative_to(root)}: {wrong}: {element[attribute]}")
    return found


def _wrong(root: Path, page: Path, tag: str, address: str, anchors: dict) -> str | None:
    parts = urlsplit(address)
    if parts.scheme in ("data", "mailto", "javascript"):
        return None
    if parts.scheme or parts.netloc:
        return None if tag == "a" else "loaded from the network"
    target = (page.parent / unquote(parts.path)).resolve() if parts.path else page
    if target.is_dir():
        target /= "index.html"
    if not target.is_relative_to(root) or not target.exists():
        return "leads nowhere"
    if parts.fragment and target in anchors and unquote(parts.fragment) not in anchors[target]:
        return "no such anchor"
    return None


if __name__ == "__main__":
    lines = problems(Path(sys.argv[1]))
    print("\n".join(lines) or "Every link and anchor exists; no page loads from the network.")
    sys.exit(bool(lines))
