"""What the processes print: each line in that process's log file, and prefixed on the console."""

from __future__ import annotations

import logging
import os
import re
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import IO, TextIO

_COLOURS = ("36", "32", "33", "35", "34", "96", "92", "93", "95", "94")
_TROUBLE = re.compile(r"\b(ERROR|CRITICAL|FATAL|PANIC)\b")
_LARGEST_LOG = 10 * 1024 * 1024  # bytes, and one former file is kept
_WIDTH = 10


class Output:
    """The console and the log files of one stack; safe to use from any thread."""

    def __init__(self, logs: Path, console: TextIO | None) -> None:
        self._hushed = False
        self._logs = logs
        self._console = console
        self._coloured = bool(console and console.isatty() and "NO_COLOR" not in os.environ)
        self._lock = threading.Lock()
        self._names: list[str] = []
        self._files: dict[str, RotatingFileHandler] = {}
        self._last: dict[str, deque[str]] = {}

    def line(self, name: str, text: str) -> None:
        """One line that the process ``name`` printed."""
        with self._lock:
            self._last.setdefault(name, deque(maxlen=20)).append(text)
        self.note(name, text)

    def note(self, name: str, text: str) -> None:
        """A line of ours about the process ``name``."""
        with self._lock:
            self._file(name).emit(logging.makeLogRecord({"msg": text}))
            if not self._hushed or _TROUBLE.search(text):
                self._show(f"{self._prefix(name)} {text}")

    def pump(self, name: str, pipe: IO[bytes]) -> None:
        """Read a process's pipe to its end and close it; runs in a thread of its own."""
        with pipe:
            for line in pipe:
                self.line(name, line.decode("utf-8", "replace").rstrip())

    def last_lines(self, name: str) -> list[str]:
        """Up to 20, for the message that says why it does not start."""
        with self._lock:
            return list(self._last.get(name, ()))

    @contextmanager
    def hushed(self) -> Iterator[None]:
        """Let only lines that tell of trouble reach the console, so that a display stays whole.

        The files get everything all the same.
        """
        self._hushed = True
        try:
            yield
        finally:
            self._hushed = False

    def say(self, text: str) -> None:
        """A line of the stack itself."""
        with self._lock:
            self._show(text)

    def close(self) -> None:
        with self._lock:
            for file in self._files.values():
                file.close()

    def _show(self, text: str) -> None:
        if self._console is not None:
            try:
                self._console.write(text + "\n")
                self._console.flush()
            except (OSError, ValueError):
                # The reader of our output went away; the processes and their files go on.
                self._console = None

    def _file(self, name: str) -> RotatingFileHandler:
        if name not in self._files:
            self._names.append(name)
            self._files[name] = RotatingFileHandler(
                self._logs / f"{name}.log",
                maxBytes=_LARGEST_LOG,
                backupCount=1,
                encoding="utf-8",
                errors="replace",
            )
        return self._files[name]

    def _prefix(self, name: str) -> str:
        if not self._coloured:
            return f"{name:<{_WIDTH}}|"
        colour = _COLOURS[self._names.index(name) % len(_COLOURS)]
        return f"\x1b[{colour}m{name:<{_WIDTH}}|\x1b[0m"
