"""`forge joint`: what takes two people."""

from __future__ import annotations

from typing import Annotated

import typer

from forge_core.enforcement.joint import JointKind
from forge_workers import queries
from forge_workers.cli import outlook
from forge_workers.cli.output import AsJson, print_json, print_rows, standard_output
from forge_workers.cli.servers import ActingMember, carry, database
from forge_workers.words.values import shown, when

JointId = Annotated[str, typer.Argument(help="The id that `forge joint propose` printed.")]
Reason = Annotated[str, typer.Option(help="Why; it is kept.")]

app = typer.Typer(
    no_args_is_help=True, help="What takes two people: quarantine, breaking glass, a CORE seat."
)


@app.command()
def propose(
    kind: JointKind,
    subject: Annotated[str, typer.Argument(help="The member; for break_glass the proposal.")],
    member: ActingMember,
    *,
    reason: Reason,
) -> None:
    """Be the first of two: a guardian, or for a CORE seat a CORE member."""
    given = {"kind": kind.value, "subject": subject, "reason": reason}
    standard_output().print(carry("joint.propose", member, given)["joint_id"], markup=False)


@app.command()
def confirm(joint: JointId, member: ActingMember, *, as_json: AsJson = False) -> None:
    """Be the second one. A CORE seat is filled 7 days later, unless it is cancelled."""
    result = carry("joint.confirm", member, {"joint_id": joint})
    if as_json:
        print_json(result)
    else:
        due = f"; due {when(result['due_at'])}" if "due_at" in result else ""
        standard_output().print(f"{joint} is {result['status']}{due}", markup=False)


@app.command()
def cancel(joint: JointId, member: ActingMember, *, reason: Reason) -> None:
    """End it before it happens: any guardian, or for a CORE seat any CORE member."""
    carry("joint.cancel", member, {"joint_id": joint, "reason": reason})
    standard_output().print(f"{joint} is cancelled", markup=False)


@app.command("list")
def list_(
    *,
    under_way: Annotated[bool, typer.Option("--open", help="Only those under way.")] = False,
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="At most so many.")] = 50,
    as_json: AsJson = False,
) -> None:
    """List joint actions, newest first."""
    with database() as session:
        rows = queries.joint_actions(session, under_way=under_way, limit=limit)
    if rows and not as_json:
        outlook.print_joint_actions(standard_output(), rows)
    else:
        print_rows(rows, as_json=as_json, empty="there is no such joint action")


@app.command()
def show(joint: JointId, *, as_json: AsJson = False) -> None:
    """Show one joint action with its reason and its times."""
    with database() as session:
        found = queries.joint_action(session, joint)
    if as_json:
        print_json(dict(found))
        return
    for key, value in found.items():
        standard_output().print(f"{key:>12}  {shown(value)}", markup=False)
