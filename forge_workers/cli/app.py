"""Putting the commands together, and turning what they raise into one line and an exit status."""

from __future__ import annotations

from typing import Any

import typer
from typer.core import TyperGroup

from forge_core.errors import ForgeError, Unavailable
from forge_workers.cli import (
    advice,
    clock,
    delegate,
    doctor,
    enforcement,
    events,
    genesis,
    history,
    immune,
    jobs,
    joint,
    ledger,
    member,
    migrate,
    outbox,
    processes,
    proposal,
    registers,
    replay,
    setting,
    token,
    treasury,
    up,
    vote,
    windows,
)
from forge_workers.cli.output import REFUSED, UNAVAILABLE, WRONG_USAGE, complain
from forge_workers.replay.rows import DatasetError


class ForgeGroup(TyperGroup):
    """The root of all commands; below it, errors of the house are exceptions."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command; a `ForgeError` becomes one line on stderr and an exit status."""
        try:
            return super().invoke(ctx)
        except DatasetError as error:
            raise _ended(error, WRONG_USAGE) from error
        except Unavailable as error:
            raise _ended(error, UNAVAILABLE) from error
        except ForgeError as error:
            raise _ended(error, REFUSED) from error


def _ended(error: ForgeError, status: int) -> typer.Exit:
    complain(str(error))
    return typer.Exit(status)


app = typer.Typer(
    cls=ForgeGroup,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Governance of a platform: proposals, trust-weighted votes, exactly-once execution.",
)
app.command("up")(up.up)
app.command("replay")(replay.replay)
for _name, _command in (
    ("simulate", enforcement.simulate),
    ("review", enforcement.review),
    ("sign-off", enforcement.sign_off),
    ("queue", enforcement.queue),
    ("retry", enforcement.retry),
    ("rollback", enforcement.rollback),
):
    proposal.app.command(_name)(_command)
app.add_typer(proposal.app, name="proposal")
app.command("vote")(vote.vote)
app.add_typer(delegate.app, name="delegate")
app.command("history")(history.history)
app.command("freeze")(windows.freeze)
app.command("thaw")(windows.thaw)
app.command("windows")(windows.windows)
app.add_typer(joint.app, name="joint")
app.add_typer(member.app, name="member")
app.add_typer(setting.app, name="setting")
app.add_typer(registers.policy, name="policy")
app.add_typer(registers.overlay, name="overlay")
app.add_typer(registers.module, name="module")
app.add_typer(registers.extension, name="extension")
app.add_typer(treasury.app, name="treasury")
app.add_typer(outbox.app, name="outbox")
app.add_typer(ledger.app, name="ledger")
app.add_typer(jobs.app, name="jobs")
app.add_typer(clock.app, name="clock")
app.add_typer(events.app, name="events")
app.add_typer(immune.app, name="immune")
app.add_typer(advice.app, name="advice")
app.add_typer(token.app, name="token")
app.command("genesis")(genesis.genesis)
app.command("migrate")(migrate.migrate)
app.command("doctor")(doctor.doctor)
app.command("worker", context_settings=processes.PASS_ON)(processes.worker)
app.command("beat", context_settings=processes.PASS_ON)(processes.beat)
app.command("flower", context_settings=processes.PASS_ON)(processes.flower)
app.command("api")(processes.api)
