"""How `make docs` makes pages of the documents, and the reference of the public names' docstrings.

The sources begin at the root of the repository, so that links between README.md, CONTRIBUTING.md
and docs/ are checked as they stand. Every warning is an error: a link that leads nowhere, a page
that no index names, a docstring that does not parse, a type in a signature that nobody can look up.
Nothing is fetched from a network.
"""

import re
import sys
from posixpath import dirname, join, normpath
from typing import Any

from pygments.lexers.special import TextLexer

import quorate

project = "quorate"
version = release = quorate.__version__
extensions = ["myst_parser", "sphinx.ext.autodoc"]
root_doc = "docs/index"
include_patterns = ["*.md", "docs/**.md"]
nitpicky = True
nitpick_ignore_regex = [("py:class", r".*\.[A-Z]")]  # type variables
nitpick_ignore = [("py:class", "consensus.life.Opening")]  # `Node.open` says it all
html_theme = "alabaster"
html_theme_options = {"page_width": "72em", "sidebar_width": "16em", "fixed_sidebar": True}
html_show_copyright = False
myst_heading_anchors = 4
default_role = "code"
autodoc_class_signature = "separated"
autodoc_member_order = "bysource"
autodoc_default_options = {
    "members": True,
    "undoc-members": True,
    "exclude-members": "__init__, __new__",  # the page says which a program calls
}
add_module_names = False

PUBLIC = {
    f"{thing.__module__}.{thing.__qualname__}": name
    for name, thing in ((name, getattr(quorate, name)) for name in quorate.__all__)
    if hasattr(thing, "__qualname__")
}
"""Where a public class or function is written, and the name by which it is public."""
INDEX = re.compile(r"\]\(([^):#]+\.md)\)")


def chapters(app: Any, page: str, source: list[str]) -> None:
    """What an index links to are its chapters: a page that no index names is a warning."""
    if page.endswith("/index"):
        names = [normpath(join("/", dirname(page), name)) for name in INDEX.findall(source[0])]
        listed = "\n".join(dict.fromkeys(name.removesuffix(".md") for name in names))
        source[0] += f"\n```{{toctree}}\n:hidden:\n\n{listed}\n```\n"


def known_elsewhere(app: Any, environment: Any, node: Any, shown: Any) -> Any:
    """Leads from where a thing is written to its public name; leaves Python's own as they are."""
    target = node.get("reftarget", "")
    if name := PUBLIC.get(target):
        python = environment.get_domain("py")
        return python.resolve_xref(
            environment,
            node["refdoc"],
            app.builder,
            node["reftype"],
            f"quorate.{name}",
            node,
            shown,
        )
    of_python = target.partition(".")[0] in sys.stdlib_module_names
    return shown if of_python else None


def with_factories(
    app: Any, what: str, name: str, thing: Any, options: Any, parameters: str, returned: str
) -> tuple[str, str]:
    """A default that is made for each object prints as no Python, and spoils what follows it."""
    return parameters and parameters.replace("<factory>", "..."), returned


def setup(app: Any) -> None:
    """Called by Sphinx."""
    app.add_lexer("mermaid", TextLexer)  # drawn by who shows the sources; here they are read
    app.connect("source-read", chapters)
    app.connect("autodoc-process-signature", with_factories)
    app.connect("missing-reference", known_elsewhere)
