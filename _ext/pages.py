"""Takes scripts out that the book does not use, and mends what the theme says in HTML."""

import re
from html import escape

from docutils import nodes

MOST = 200  # characters of a description, about what a search engine shows
KOREAN = re.compile(r"([가-힣](?:[가-힣 ,·–-]*[가-힣])?)")


def drop_scripts(app, pagename, templatename, context, doctree):
    """Drop Thebe, which throws where it is not configured, and inline scripts emitted twice."""
    kept, bodies = [], set()
    for script in context.get("script_files", []):
        body = (getattr(script, "attributes", None) or {}).get("body") or ""
        if "thebe" in f"{script}{body}".lower() or (body and body in bodies):
            continue
        bodies.add(body)
        kept.append(script)
    context["script_files"] = kept


def mend_html(app, pagename, templatename, context, doctree):
    """The entries of the bibliography are what their parent's role says: items of a list.

    And a link to an exercise does not begin with the space before it.
    """
    if "body" in context:
        body = context["body"].replace('role="doc-biblioentry"', 'role="listitem"')
        context["body"] = re.sub(r"Solution to(<a [^>]*>) ", r"Solution to \1", body)


def describe(app, pagename, templatename, context, doctree):
    """Tell search engines and previews of links what a page is about."""
    text = escape(description(doctree)) if doctree else ""
    if not text:
        return
    title = re.sub("<.*?>", "", context["title"])
    context["metatags"] += (
        f'\n<meta name="description" content="{text}" />'
        f'\n<meta property="og:title" content="{title}" />'
        f'\n<meta property="og:description" content="{text}" />'
        '\n<meta property="og:type" content="article" />'
    )


def description(doctree) -> str:
    """What a lesson teaches, by its first list; of another page the first paragraph's start."""
    goals = doctree.next_node(nodes.bullet_list)
    texts = (p for p in doctree.findall(nodes.paragraph) if p.astext().strip())
    first = next(texts, nodes.paragraph())
    if first.astext() == "What you will be able to do":
        parts = [item.astext() for item in goals if not any(item.findall(nodes.math))]
        text = " ".join(part[0].upper() + part[1:].rstrip(";.") + "." for part in parts)
    else:
        text = first.astext()
    text = " ".join(text.split())
    if len(text) <= MOST:
        return text
    end = text.rfind(". ", 0, MOST)
    return text[: end + 1] if end > 0 else text[: text.rfind(" ", 0, MOST)] + " …"


def keep_together(app, doctree, docname):
    """Keep a formula and what touches it, as a stop or 's, on one line; a number and %, too."""
    for formula in list(doctree.findall(nodes.math)):
        after = formula.next_node(descend=False, siblings=True)
        if not isinstance(after, nodes.Text):
            continue
        text = after.astext()
        touching = re.match(r"\S*", text)[0]
        if touching:
            parent, place = formula.parent, formula.parent.index(formula)
            pair = formula.deepcopy(), nodes.Text(touching)
            together = nodes.inline("", "", *pair, classes=["together"])
            parent[place : place + 2] = [together, nodes.Text(text.removeprefix(touching))]
    for text in prose(doctree):
        joined = re.sub(r"(?<=\d)\s%", "\N{NO-BREAK SPACE}%", text)
        if joined != text:
            text.parent.replace(text, nodes.Text(joined))


def name_korean(app, doctree, docname):
    """Say in HTML what is Korean, for fonts and screen readers."""
    for text in prose(doctree):
        parts = KOREAN.split(text)
        if parts[1:]:
            parts[1::2] = [nodes.inline("", part, classes=["language-ko"]) for part in parts[1::2]]
            parts[::2] = map(nodes.Text, parts[::2])
            text.parent.replace(text, parts)


def prose(doctree):
    """The texts that are neither code nor formulas."""
    kept = nodes.literal, nodes.FixedTextElement, nodes.math, nodes.raw
    return [text for text in doctree.findall(nodes.Text) if not isinstance(text.parent, kept)]


def setup(app):
    app.connect("doctree-resolved", keep_together)
    app.connect("doctree-resolved", name_korean)
    app.connect("html-page-context", describe)
    app.connect("html-page-context", drop_scripts, priority=900)
    app.connect("html-page-context", mend_html)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
