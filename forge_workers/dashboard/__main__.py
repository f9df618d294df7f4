"""Flower with our pages: ``python -m forge_workers.dashboard``, with Flower's options."""

from __future__ import annotations

import sys

from celery.__main__ import main as celery
from flower import urls

from forge_workers.dashboard.pages import ROUTES, engine
from forge_workers.dashboard.templates import Templates
from forge_workers.stack.house import CELERY_OPTIONS


def main() -> None:
    """Flower takes its routes and settings from these two when it is made."""
    engine()
    urls.handlers[:0] = ROUTES
    urls.settings["template_loader"] = Templates()
    sys.argv = ["celery", *CELERY_OPTIONS, "flower", *sys.argv[1:]]
    celery()


if __name__ == "__main__":
    main()
