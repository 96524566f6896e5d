"""The list of references in the order of names, an Ö among the Os."""

import re
import unicodedata

from pybtex.plugin import register_plugin
from pybtex.style.formatting.alpha import Style as Alpha
from pybtex.style.sorting.author_year_title import SortingStyle


def plain(name: str) -> str:
    r"""A name as it is sorted: Österreicher, or {\"O}sterreicher, as Osterreicher."""
    name = re.sub(r"\\([oOlL])\b|\\.|[{}]", lambda match: match[1] or "", name)
    name = name.translate(str.maketrans("øØłŁ", "oOlL"))
    return "".join(c for c in unicodedata.normalize("NFKD", name) if not unicodedata.combining(c))


class Names(SortingStyle):
    """By authors, year and title, accents left out."""

    def person_key(self, person):
        return plain(super().person_key(person))


class Style(Alpha):
    """Jupyter Book's own style, sorted so."""

    default_sorting_style = Names


def setup(app):
    register_plugin("pybtex.style.formatting", "names", Style)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
