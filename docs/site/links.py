"""Links: between pages and notebooks as within the repository, and from every public name to its page."""

from docutils import nodes
from sphinx.util.nodes import make_refnode

CHANGES = {
    "](../notebooks/": "](notebooks/",
    "](../docs/": "](../",
    "](docs/": "](",
    "](../CHANGELOG.md": "](changelog.md",
    "](../README.md": "](index.md",
}
"""A link in the repository, and on the site."""

BARE = ("eft", "nets")
"""Packages whose names are also linked without that of the package."""


def adapt(app, name: str, source: list[str]) -> None:
    for written, wanted in CHANGES.items():
        source[0] = source[0].replace(written, wanted)


def adapt_included(app, relative, parent: str, source: list[str]) -> None:
    adapt(app, parent, source)


def link_names(app, doctree: nodes.document, page: str) -> None:
    """Make `eft.kernel_flow(…)`, or `kernel_flow`, a link to the page of that function."""
    pages = app.env.found_docs
    for literal in list(doctree.findall(nodes.literal)):
        name = literal.astext().split("(")[0]
        found = next(
            (f"api/{p}{name}" for p in ("", *(f"{b}." for b in BARE)) if f"api/{p}{name}" in pages), None
        )
        if found and found != page and not isinstance(literal.parent, nodes.reference):
            literal.replace_self(make_refnode(app.builder, page, found, "", literal.deepcopy()))


def setup(app) -> dict[str, bool]:
    app.connect("source-read", adapt)
    app.connect("include-read", adapt_included)
    app.connect("doctree-resolved", link_names)
    return {"parallel_read_safe": True}
