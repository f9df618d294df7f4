"""One replay from a directory to its report, against servers that are running."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from forge_core.database import make_engine
from forge_core.settings import Settings
from forge_workers.client import GovernanceClient
from forge_workers.replay.expected import expected
from forge_workers.replay.observe import Observer
from forge_workers.replay.plan import plan
from forge_workers.replay.progress import watching
from forge_workers.replay.report import Report, report
from forge_workers.replay.run import ISSUER, replay
from forge_workers.replay.sandbox import ensure_sandbox
from forge_workers.replay.source import Source

SAMPLE = Path(__file__).parent / "sample"


def replay_source(source: Source, settings: Settings, console: Console) -> Report:
    """Replay a dataset in the sandbox that ``settings`` lead to; progress goes to ``console``.

    Raises `Refused` NOT_A_SANDBOX and `Unavailable`; what is wrong with single rows is reported.
    """
    made = plan(source)
    wanted = expected(source, made.votes)
    engine = make_engine(settings.database_url, pool_size=1)
    try:
        ensure_sandbox(engine)
        with (
            GovernanceClient(issuer=ISSUER, settings=settings) as client,
            watching(console, len(made.votes)) as watch,
        ):
            run = replay(made, client, Observer(engine), watch)
    finally:
        engine.dispose()
    return report(source, wanted, run)
