"""`forge immune quarantine`, `hold`, `release`, `block`, `unblock`, `confirm`, `halt`, `resume`."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from forge_core.immune.detectors.addresses import normalised
from forge_workers.cli import immune_queries as queries
from forge_workers.cli.durations import parse_duration
from forge_workers.cli.output import AsJson, print_json, standard_output
from forge_workers.cli.servers import ActingMember, carry, database
from forge_workers.words.values import shown, when

Reason = Annotated[str, typer.Option(help="Why; it is kept.")]
Overlay = Annotated[str | None, typer.Option("--overlay", metavar="ID", help="An overlay.")]
Member = Annotated[str | None, typer.Option("--member", metavar="ID", help="A member.")]
Address = Annotated[str | None, typer.Option("--address", metavar="IP", help="An address.")]
GivenAddress = Annotated[
    str, typer.Argument(metavar="ADDRESS", help="IPv4 or IPv6; of IPv6 its /64 is meant.")
]


def quarantine(
    overlay: Annotated[str, typer.Argument(help="The overlay's id.")],
    member: ActingMember,
    *,
    reason: Reason,
    as_json: AsJson = False,
) -> None:
    """Let nobody call an overlay for a while; then it is on probation, as if a rule had said so."""
    result = _carry("quarantine", member, "overlay", overlay, reason)
    until = when(result["until"])
    _say(
        result,
        f"overlay {overlay} is quarantined until {until}, then on probation",
        as_json=as_json,
    )


def hold(
    acting: ActingMember,
    *,
    overlay: Overlay = None,
    member: Member = None,
    lasting: Annotated[
        str | None,
        typer.Option("--for", metavar="DURATION", help="Of a member: at most 30d, else 24h."),
    ] = None,
    reason: Reason,
    as_json: AsJson = False,
) -> None:
    """Hold an overlay until somebody releases it, or keep a member from new commands for a time."""
    kind, subject = _target(overlay=overlay, member=member)
    if kind == "overlay" and lasting is not None:
        raise typer.BadParameter("--for is of a member; an overlay is held until it is released")
    result = _carry("hold", acting, kind, subject, reason, **_seconds(lasting))
    if kind == "overlay":
        sentence = f"overlay {subject} is held until somebody releases it"
    else:
        until = when(result["until"])
        sentence = f"member {subject} gives no new commands until {until}"
    _say(result, sentence, as_json=as_json)


def release(
    acting: ActingMember,
    *,
    overlay: Overlay = None,
    member: Member = None,
    address: Address = None,
    reason: Reason,
    as_json: AsJson = False,
) -> None:
    """End what is in force against an overlay, a member or an address."""
    kind, subject = _target(overlay=overlay, member=member, address=address)
    result = _carry("release", acting, kind, subject, reason)
    if kind == "overlay":
        sentence = f"overlay {subject} is let through again; what came before counts no more"
    elif kind == "member":
        sentence = f"member {subject} is no longer restricted"
    else:
        sentence = f"{_counted(subject)} is no longer blocked; what came before counts no more"
    _say(result, sentence, as_json=as_json)


def block(
    address: GivenAddress,
    member: ActingMember,
    *,
    lasting: Annotated[
        str, typer.Option("--for", metavar="DURATION", help="At most 30d; never shortens a block.")
    ] = "1h",
    reason: Reason,
    as_json: AsJson = False,
) -> None:
    """Block an address for a time."""
    result = _carry("block", member, "address", address, reason, **_seconds(lasting))
    until = when(result["until"])
    _say(result, f"{_counted(address)} is blocked until {until}", as_json=as_json)


def unblock(
    address: GivenAddress, member: ActingMember, *, reason: Reason, as_json: AsJson = False
) -> None:
    """Lift every block of an address."""
    result = _carry("unblock", member, "address", address, reason)
    _say(
        result,
        f"{_counted(address)} is no longer blocked; what came before counts no more",
        as_json=as_json,
    )


def confirm(
    action: Annotated[str, typer.Argument(help="The id that `forge immune pending` shows.")],
    member: ActingMember,
    *,
    as_json: AsJson = False,
) -> None:
    """Agree to what the immune system may not do alone; the second operator's word does it."""
    result = carry("immune.confirm", member, {"action": action})
    with database(writes=False) as session:
        found = queries.action(session, action)
    what = f"{found['rung']} of {found['subject_kind']} {found['subject']}"
    if result["status"] == "done":
        sentence = f"{what} is done, confirmed by {found['first_by']} and {found['second_by']}"
    else:
        lapses = shown(found["lapses_at"])
        sentence = f"{what}: confirmed by one; a second operator has until {lapses}"
    _say(result, sentence, as_json=as_json)


def halt(
    member: ActingMember,
    *,
    lasting: Annotated[str, typer.Option("--for", metavar="DURATION", help="At most 24h.")] = "1h",
    reason: Reason,
    as_json: AsJson = False,
) -> None:
    """Pause all automatic action for a time; what is in force stays. The kill switch."""
    result = carry("immune.halt", member, {"reason": reason, **_seconds(lasting)})
    until = when(result["until"])
    _say(
        result,
        f"nothing is done automatically until {until}; what is in force stays, and findings are "
        "written down",
        as_json=as_json,
    )


def resume(member: ActingMember, *, reason: Reason, as_json: AsJson = False) -> None:
    """End a halt, and the pause after a systemic incident."""
    result = carry("immune.resume", member, {"reason": reason})
    _say(result, "nothing pauses the immune system any more", as_json=as_json)


def _carry(
    act: str, actor: str, kind: str, subject: str, reason: str, **more: Any
) -> dict[str, Any]:
    target = {"target_type": kind, "target_id": subject}
    return carry(f"immune.{act}", actor, {**target, "reason": reason, **more})


def _target(**given: str | None) -> tuple[str, str]:
    """The one target that was named."""
    named = [(kind, subject) for kind, subject in given.items() if subject is not None]
    if len(named) != 1:
        options = [f"--{kind}" for kind in given]
        raise typer.BadParameter(
            f"name exactly one, with {', '.join(options[:-1])} or {options[-1]}"
        )
    return named[0]


def _seconds(lasting: str | None) -> dict[str, int]:
    return {} if lasting is None else {"seconds": int(parse_duration(lasting).total_seconds())}


def _counted(address: str) -> str:
    """As it was counted and blocked; the command that named it was carried out."""
    return normalised(address)


def _say(result: dict[str, Any], sentence: str, *, as_json: bool) -> None:
    if as_json:
        print_json(result)
    else:
        standard_output().print(shown(sentence), markup=False, soft_wrap=True)
