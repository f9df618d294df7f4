"""The gateway's process: ``python -m forge_workers.api``."""

from __future__ import annotations

import argparse

import uvicorn

from forge_core.database import make_engine
from forge_core.settings import Settings
from forge_workers.api.connections import Impatient
from forge_workers.api.gateway import AT_ONCE, make_app
from forge_workers.logs import configure

_CONNECTIONS = 1_000


def main() -> None:
    """Serve until SIGTERM, which lets answers under way be finished."""
    options = argparse.ArgumentParser(prog="forge api")
    options.add_argument("--host", default="127.0.0.1")
    options.add_argument("--port", type=int, default=8300)
    given = options.parse_args()
    configure()
    settings = Settings.load(needed=("reader_database_url",))
    engine = make_engine(settings.reader_database_url, pool_size=AT_ONCE)
    uvicorn.run(
        make_app(engine),
        host=given.host,
        port=given.port,
        log_config=None,
        access_log=False,  # an address is nobody's business, and a path names what is read
        server_header=False,
        http=Impatient,
        ws="none",
        limit_concurrency=_CONNECTIONS,
        timeout_keep_alive=5,
        timeout_graceful_shutdown=3,
    )


if __name__ == "__main__":
    main()
