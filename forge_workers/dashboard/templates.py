"""Where pages come from: our files, then Flower's, whose bar of navigation gets one tab more."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import flower
from tornado.template import BaseLoader, Template

OURS: Final = Path(__file__).parent / "html"
FLOWERS: Final = Path(flower.__file__).parent / "templates"

_TAB: Final = """
<li class="nav-item">
  <a class="nav-link{% if active_tab == 'governance' %} active{% end %}"
    href="{{ reverse_url('governance') }}"
    {% if active_tab == 'governance' %}aria-current="page"{% end %}>Governance</a>
</li>
"""


class Templates(BaseLoader):
    """Text in them is escaped unless they say otherwise, as Tornado does by itself."""

    def resolve_path(self, name: str, parent_path: str | None = None) -> str:  # noqa: ARG002  # Tornado's
        """All of them lie in two flat folders."""
        return name

    def _create_template(self, name: str) -> Template:
        own = OURS / name
        source = (own if own.is_file() else FLOWERS / name).read_text(encoding="utf-8")
        return Template(with_tab(source) if name == "navbar.html" else source, name, self)


def with_tab(navigation: str) -> str:
    """Flower has no place for the tabs of others: ours ends its first list."""
    tabs, end, rest = navigation.partition("</ul>")
    return tabs + _TAB + end + rest
