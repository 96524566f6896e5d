"""Takes out of every page what the theme puts in and the book does not use."""


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


def setup(app):
    app.connect("html-page-context", drop_scripts, priority=900)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
