"""Keeps the first load of a page small: pictures when they are needed, the icons that it shows."""

import base64
import hashlib
import re
from pathlib import Path

import imagesize

DATA = re.compile(r'src="data:image/png;base64,([^"]+)"')
PICTURE = re.compile(r'<img ([^>]*?src="(?:\.\./)*_images/([^"]+)")')
ICON = re.compile(r'"?([\w-]+)"?:\[\d+,\d+,\[[^]]*],"\w+",(?:"[^"]*"|\[[^]]*])],?')


def defer_pictures(app, pagename, templatename, context, doctree):
    """A picture inside HTML becomes a file; a file is loaded when its place comes near."""
    if "body" not in context or app.builder.format != "html":
        return
    folder = Path(app.outdir) / app.builder.imagedir
    sources = {name: Path(app.srcdir) / uri for uri, name in app.builder.images.items()}

    def unpack(match):
        picture = base64.b64decode(match[1])
        name = f"{hashlib.sha256(picture).hexdigest()}.png"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(picture)
        return f'src="{context["pathto"](f"{app.builder.imagedir}/{name}", 1)}"'

    def defer(match):
        width, height = imagesize.get(sources.get(match[2], folder / match[2]))
        return f'<img loading="lazy" width="{width}" height="{height}" {match[1]}'

    context["body"] = PICTURE.sub(defer, DATA.sub(unpack, context["body"]))


def drop_icons(app, exception):
    """Of the theme's 2,000 icons (1.5 MB), keep those that a page or the theme's script names."""
    script = Path(app.outdir) / "_static" / "scripts" / "fontawesome.js"
    if exception or not script.exists():
        return
    readers = [*Path(app.outdir).rglob("*.html"), script.with_name("pydata-sphinx-theme.js")]
    texts = (path.read_text("utf-8") for path in readers)
    named = {name for text in texts for name in re.findall(r"\bfa-([\w-]+)", text)}
    kept = ICON.sub(lambda m: m[0] if m[1] in named else "", script.read_text("utf-8"))
    script.write_text(kept, "utf-8")


def setup(app):
    app.connect("html-page-context", defer_pictures)
    app.connect("build-finished", drop_icons)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
