"""The package's reference: autodoc's entries, each with the lessons that use the name.

In the code of the pages a public name is a link to its entry. In a docstring a word in single
backquotes is code, and a link where it is a public name.
"""

import re
import sys
from pathlib import Path

from docutils import nodes
from sphinx.util.nodes import make_refnode

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tools"), str(ROOT)]
import uses  # noqa: E402

USES = uses.uses(ROOT)
MARKS = re.compile(r"`[^`]*`|(?<!\w)\*\w+\*(?!\w)|[*|]")  # code and emphasis stay as they are
GLUED = re.compile(r"(`[^`]+`)(\w?)")  # code and the letter after it, as in `config`s
CODE = re.compile(r'<div class="highlight-python .*?</pre>', re.S)
NO_TYPE = "\\ "  # stops Napoleon from taking what stands before a colon for a type
DOT = '<span class="o">.</span>'
NAME = re.compile(rf'<span class="n">\w+</span>(?:{re.escape(DOT)}<span class="n">\w+</span>)*')


def add_lessons(app, what, name, obj, options, lines):
    """The last field of an entry: the lessons that use the name, or those that use it through."""
    if lines and lines[0].strip() == NO_TYPE.strip():  # Napoleon may have stripped it
        del lines[0]
    if name not in USES:
        return
    for path in uses.lessons(ROOT):
        app.env.note_dependency(str(path))
    links = ", ".join(f":doc:`/{lesson}`" for lesson in USES[name].lessons)
    if USES[name].through:
        links += f"; through {', '.join(map(_shown, USES[name].through))}"
    while lines and not lines[-1].strip():
        lines.pop()
    if not any(line.startswith(":") for line in lines):
        lines.append("")
    lines += [f":Lessons: {links}", ""]


def _shown(name: str) -> str:
    module, _, last = name.rpartition(".")
    return f"``ganlib {last}``" if module == "ganlib.cli" else f":py:obj:`~{name}`"


def plain(app, what, name, obj, options, lines):
    """Docstrings are plain text: `*` and `|` belong to formulas, and so do indented lines."""
    for i, line in enumerate(lines):
        line = MARKS.sub(lambda mark: mark[0] if len(mark[0]) > 1 else f"\\{mark[0]}", line)
        line = GLUED.sub(lambda code: "\\ ".join(filter(None, code.groups())), line)
        after = lines[i + 2] if lines[i + 1 : i + 2] == [""] and i + 2 < len(lines) else ""
        if line.endswith(":") and _indent(after) > _indent(line):
            line += ":"
        lines[i] = line
    if what in ("attribute", "data", "property"):
        lines.insert(0, NO_TYPE)


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


def readable(app, what, name, obj, options, signature, returned):
    """Defaults whose representation is no Python, such as <function load>, would stay unparsed."""
    if signature:
        signature = re.sub(r"<function (\w+)>", r"\1", signature).replace("<factory>", "...")
    return signature, returned


def find(app, env, node, contnode):
    """What a word in a docstring leads to: `ganlib.train` to `ganlib.training.train`, else to none.

    It is code then; of a wrong type or an explicit link the builder still tells.
    """
    if node.get("reftype") != "obj":
        return None
    name = uses.resolved(node["reftarget"], {"ganlib": "ganlib"}, uses.identities())
    if name is None:
        return nodes.literal("", contnode.astext())
    entry = env.get_domain("py").objects[name]
    return make_refnode(app.builder, node["refdoc"], entry.docname, entry.node_id, contnode, name)


def link_code(app, pagename, templatename, context, doctree):
    """In a page's code, make each public name a link to its entry."""
    paths = [ROOT / f"{pagename}{end}" for end in (".ipynb", ".md")]
    path = next((path for path in paths if path.exists()), None)
    if path is None:
        return
    bound, names, entries = uses.imports(path), uses.identities(), app.env.get_domain("py").objects

    def linked(code: re.Match) -> str:
        parts = code[0].split(DOT)
        words = [re.sub("<.*?>", "", part) for part in parts]
        for end in range(len(parts), 0, -1):
            name = uses.resolved(".".join(words[:end]), bound, names)
            if name is None:
                continue
            if ".".join([name, *words[end:]]) in entries:  # a method of a public class
                name, end = ".".join([name, *words[end:]]), len(words)
            there = app.builder.get_relative_uri(pagename, entries[name].docname)
            start = f'<a class="reference internal" href="{there}#{entries[name].node_id}">'
            return DOT.join([start + DOT.join(parts[:end]) + "</a>", *parts[end:]])
        return code[0]

    context["body"] = CODE.sub(lambda block: NAME.sub(linked, block[0]), context["body"])


def setup(app):
    app.connect("autodoc-process-docstring", plain, priority=100)  # Napoleon is next
    app.connect("autodoc-process-docstring", add_lessons, priority=900)
    app.connect("autodoc-process-signature", readable)
    app.connect("missing-reference", find)
    app.connect("html-page-context", link_code)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
