"""Takes scripts out that the book does not use, and mends what the theme says in HTML."""

from docutils import nodes


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


def name_entries(app, pagename, templatename, context, doctree):
    """The entries of the bibliography are what their parent's role says: items of a list."""
    if "body" in context:
        context["body"] = context["body"].replace('role="doc-biblioentry"', 'role="listitem"')


def keep_stops(app, doctree, docname):
    """Keep a formula and the punctuation after it on one line: browsers break the line there."""
    for formula in list(doctree.findall(nodes.math)):
        after = formula.next_node(descend=False, siblings=True)
        if not isinstance(after, nodes.Text):
            continue
        text = after.astext()
        rest = text.lstrip(".,;:!?)”")
        if rest != text:
            stop = nodes.Text(text[: len(text) - len(rest)])
            parent, place = formula.parent, formula.parent.index(formula)
            together = nodes.inline("", "", formula.deepcopy(), stop, classes=["together"])
            parent[place : place + 2] = [together, nodes.Text(rest)]


def setup(app):
    app.connect("doctree-resolved", keep_stops)
    app.connect("html-page-context", drop_scripts, priority=900)
    app.connect("html-page-context", name_entries)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
