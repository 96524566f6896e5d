"""Which lessons use a public name of ganlib, read from the lessons and from the package's source.

    python tools/uses.py

A lesson uses a name that its code holds, however it was imported, or that its text gives as code,
such as `ganlib.stream` or the command `ganlib reproduce`. A name that no lesson uses is needed by
others that lessons do use, and those are told. Prints every name with its lessons.
"""

import ast
import importlib
import inspect
import pkgutil
import re
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import nbformat
import yaml

import ganlib

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Use:
    """The lessons of a name, such as "chapters/first_gan", in the order of the book.

    Attributes:
        lessons: Those that use the name, or else the names in `through`.
        through: The names by which the lessons come to need it; empty where they use it themselves.
    """

    lessons: tuple[str, ...]
    through: tuple[str, ...] = ()


def modules() -> list[ModuleType]:
    """The modules of ganlib that state what is public, in alphabetical order."""
    names = [m.name for m in pkgutil.iter_modules(ganlib.__path__) if m.name != "__main__"]
    found = [importlib.import_module(f"ganlib.{name}") for name in names]
    return [module for module in found if hasattr(module, "__all__")]


def public() -> dict[str, object]:
    """Every public name, in full, and what it stands for."""
    return {
        f"{module.__name__}.{name}": getattr(module, name)
        for module in modules()
        for name in module.__all__
    }


def identities() -> dict[int, str]:
    """Every public thing by its identity, whatever a lesson calls it."""
    return {id(value): name for name, value in public().items()}


def lessons(root: Path = ROOT) -> list[Path]:
    """The pages of the book that may use a name, in their order."""
    toc = yaml.safe_load((root / "_toc.yml").read_text("utf-8"))
    names = [chapter["file"] for part in toc["parts"] for chapter in part["chapters"]]
    paths = [root / f"{name}{end}" for name in names for end in (".ipynb", ".md")]
    return [path for path in paths if path.exists() and path.parent.name == "chapters"]


def uses(root: Path = ROOT) -> dict[str, Use]:
    """Who uses what: full public name → its lessons."""
    names = identities()
    direct: dict[str, list[str]] = {}
    for path in lessons(root):
        for name in sorted(_used(path, names)):
            direct.setdefault(name, []).append(str(path.relative_to(root).with_suffix("")))
    order = [str(path.relative_to(root).with_suffix("")) for path in lessons(root)]
    callers = _callers(names)
    found = {}
    for name in names.values():
        level, seen = {name}, {name}
        while level and not level & direct.keys():
            level = {caller for one in level for caller in callers.get(one, ())} - seen
            seen |= level
        through = sorted(level & direct.keys())
        pages = {page for one in through for page in direct[one]}
        found[name] = Use(
            tuple(page for page in order if page in pages),
            () if through == [name] else tuple(through),
        )
    return found


def imports(path: Path) -> dict[str, str]:
    """What the imports of a page bind: `Game` to `ganlib.training.Game`."""
    bound = {"ganlib": "ganlib"}
    for code in _codes(path):
        for node in ast.walk(ast.parse(code)):
            if isinstance(node, ast.Import):
                bound |= {a.asname: a.name for a in node.names if a.asname}
            elif isinstance(node, ast.ImportFrom):
                bound |= {a.asname or a.name: f"{node.module}.{a.name}" for a in node.names}
    return bound


def resolved(dotted: str, bound: dict[str, str], names: dict[int, str]) -> str | None:
    """The full public name that a dotted one means: `ganlib.training.train` for `ganlib.train`.

    Args:
        dotted: As it stands in code.
        bound: What the imports there bind.
        names: What is public, as `identities` gives it.
    """
    first, *rest = dotted.split(".")
    first, *before = bound.get(first, "").split(".")
    if first != "ganlib":
        return None
    value = ganlib
    for part in [*before, *rest]:
        value = getattr(value, part, None)
    return names.get(id(value))


def _codes(path: Path) -> list[str]:
    if path.suffix == ".md":
        return []
    cells = nbformat.read(path, 4).cells
    return [c.source for c in cells if c.cell_type == "code" and "%pip" not in c.source]


def _text(path: Path) -> str:
    if path.suffix == ".md":
        return path.read_text("utf-8")
    cells = nbformat.read(path, 4).cells
    return "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")


def _used(path: Path, names: dict[int, str]) -> set[str]:
    """The public names and the commands that one page uses."""
    bound, text = imports(path), _text(path)
    found = {resolved(code, bound, names) for code in re.findall(r"`(ganlib\.[\w.]+)", text)}
    for code in _codes(path):
        for node in ast.walk(ast.parse(code)):
            if isinstance(node, ast.Name | ast.Attribute):
                found.add(resolved(ast.unparse(node), bound, names))
    found |= {f"ganlib.cli.{command}" for command in re.findall(r"\bganlib ([a-z]+) ", text)}
    return found - {None}


def _callers(names: dict[int, str]) -> dict[str, set[str]]:
    """For every definition of the package, the definitions that mention it."""
    callers: dict[str, set[str]] = {}
    for info in pkgutil.iter_modules(ganlib.__path__):
        if info.name == "__main__":
            continue
        module = importlib.import_module(f"ganlib.{info.name}")
        tree = ast.parse(inspect.getsource(module))
        own = {name: f"{module.__name__}.{name}" for name in vars(module)}
        for node in tree.body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                definitions = [node.name]
            elif isinstance(node, ast.Assign | ast.AnnAssign):
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                definitions = [target.id for target in targets if isinstance(target, ast.Name)]
            else:
                continue
            for inner in ast.walk(node):
                if isinstance(inner, ast.Name | ast.Attribute):
                    first, *rest = ast.unparse(inner).split(".")
                    value = vars(module).get(first)
                    for part in rest:
                        value = getattr(value, part, None)
                    name = names.get(id(value)) or own.get(first)
                    if name:
                        callers.setdefault(name, set()).update(own[d] for d in definitions)
    return callers


if __name__ == "__main__":
    for name, use in uses().items():
        through = f" (through {', '.join(use.through)})" if use.through else ""
        print(f"{name}: {', '.join(use.lessons)}{through}")
