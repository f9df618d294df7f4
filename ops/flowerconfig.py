"""Flower in production: read-only, behind a password, and a proxy that speaks TLS before it."""

import os

address = "0.0.0.0"  # noqa: S104  # inside its container; compose publishes it on loopback
basic_auth = [f"forge:{os.environ['FORGE_FLOWER_PASSWORD']}"]
read_only = True
max_tasks = 10_000
