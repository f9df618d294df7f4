"""A real Flower with our pages over one house, and what a reader of its pages finds."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path

from forge_workers.stack.flower import USER, FlowerServer
from tests.support import Answer, ask, free_port, serving

PASSWORD = "a-password-of-tests"
_VOID = {"link", "meta", "img", "br", "input"}


@dataclass
class Element:
    """A start tag, with everything written inside it."""

    tag: str
    attributes: dict[str, str | None]
    inside: list[str] = field(default_factory=list)

    @property
    def text(self) -> str:
        return " ".join("".join(self.inside).split())

    def has(self, name: str) -> bool:
        return name in (self.attributes.get("class") or "").split()


class Page(HTMLParser):
    """What a browser would make of it."""

    def __init__(self, source: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[Element] = []
        self._open: list[Element] = []
        self.feed(source)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        element = Element(tag, dict(attrs))
        self.elements.append(element)
        if tag not in _VOID:
            self._open.append(element)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append(Element(tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        while self._open and self._open.pop().tag != tag:
            pass

    def handle_data(self, data: str) -> None:
        for element in self._open:
            element.inside.append(data)

    def all(self, tag: str = "", css: str = "") -> list[Element]:
        """Elements of that tag and that class."""
        return [
            one
            for one in self.elements
            if (not tag or one.tag == tag) and (not css or one.has(css))
        ]

    @property
    def text(self) -> str:
        (main,) = self.all("main")
        return main.text


class Shown(Answer):
    """A page."""

    @property
    def source(self) -> str:
        return self.body.decode()

    @property
    def page(self) -> Page:
        return Page(self.source)


@dataclass(frozen=True)
class Dashboard:
    """Flower that answers."""

    server: FlowerServer

    def get(self, path: str, *, password: str | None = PASSWORD, method: str = "GET") -> Shown:
        headers = {}
        if password is not None:
            word = base64.b64encode(f"{USER}:{password}".encode()).decode()
            headers["Authorization"] = f"Basic {word}"
        answer = ask(self.server.port, path, method=method, headers=headers)
        return Shown(answer.status, answer.headers, answer.body)


@contextmanager
def flower(folder: Path, *, reader_url: str, broker_url: str) -> Iterator[Dashboard]:
    """As the stack starts it; it is given no other address than it needs."""
    server = FlowerServer(folder / "flowerconfig.py", free_port(), PASSWORD)
    with serving(server, folder, FORGE_READER_DATABASE_URL=reader_url, FORGE_BROKER_URL=broker_url):
        yield Dashboard(server)
