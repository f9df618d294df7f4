"""`forge advice`: what asking a model takes, how good advice was, and trying it."""

from __future__ import annotations

import os
from typing import Annotated, Any, Final

import typer

from forge_core.advisory import report
from forge_core.advisory.analysis import Analysis
from forge_core.advisory.constitution import PACKAGED, Constitution, constitution_in_force
from forge_core.advisory.consulting.asking import Brief, Consulted, ask_all
from forge_core.advisory.consulting.council import fallback
from forge_core.advisory.matter import Change, Matter
from forge_core.advisory.reading import read_matters
from forge_core.advisory.rules import analyse
from forge_core.advisory.terms import Mode, Terms, terms_in_force
from forge_core.errors import Misconfigured
from forge_core.settings import model_key
from forge_core.wiring import CATALOGUE
from forge_workers import queries
from forge_workers.cli import advice_outlook
from forge_workers.cli.output import AsJson, print_json, standard_error, standard_output
from forge_workers.cli.servers import database

app = typer.Typer(
    no_args_is_help=True,
    help="Advice: what asking a model takes, how good advice was, and trying it.",
)

SAMPLE: Final = Matter(
    id="p-sample",
    type="configuration",
    track="routine",
    classes=frozenset({"ordinary"}),
    proposer="tara",
    title="Allow trusted members 2,200 requests a minute",
    description="Trusted members run the nightly export, which was refused 300 times a night last "
    "week because it reaches the limit. Raise rate_limit.TRUSTED from 2,000 to 2,200.",
    reason="The export has to be done by six in the morning.",
    actions=({"key": "rate_limit.TRUSTED", "new_value": 2_200},),
    changes=(Change("setting:rate_limit.TRUSTED", 2_000, 2_200, key="rate_limit.TRUSTED"),),
)


@app.command()
def status(
    *,
    days: Annotated[
        int, typer.Option(min=0, max=report.DAYS_MOST, help="So many days before today.")
    ] = report.DAYS,
    as_json: AsJson = False,
) -> None:
    """Show whether a model is asked, what it took, and what came of earlier advice."""
    with database(writes=False) as session:
        found = report.standing(session, days)
    if as_json:
        print_json(found)
    else:
        advice_outlook.print_status(standard_output(), found)


@app.command("try")
def try_(
    proposal: Annotated[
        str | None, typer.Argument(help="A proposal of this house; default: a sample.")
    ] = None,
    *,
    model: Annotated[str | None, typer.Option(help="Instead of the one that is set.")] = None,
    mode: Annotated[Mode | None, typer.Option(help="Who is asked.")] = None,
    as_json: AsJson = False,
) -> None:
    """Ask the model that ANTHROPIC_API_KEY opens about a proposal, and show what it says.

    Nothing is written down, and it counts for no budget but that of the key. The sample needs no
    servers. With --mode off rules advise, without a key.
    """
    key = model_key()
    if key is None and mode is not Mode.OFF:
        raise Misconfigured(
            "there is no key: set ANTHROPIC_API_KEY to one of the Claude API; with --mode off "
            "rules advise, and need none"
        )
    matter, constitution, terms = _matter(proposal)
    if key is None or mode is Mode.OFF:
        _show(analyse(matter, constitution), as_json=as_json)
        return
    given = {"model": model, "mode": mode if terms.mode is not Mode.OFF else mode or Mode.SINGLE}
    terms = terms.model_copy(update={name: one for name, one in given.items() if one is not None})
    brief = Brief.of(matter, constitution, terms)
    standard_error().print(f"asking {terms.model}, {len(brief.asked)} calls", highlight=False)
    consulted = _ask(key, brief)
    analysis = consulted.analysis or fallback(brief.rules, str(consulted.failure), consulted.usage)
    _show(analysis, as_json=as_json)
    if consulted.analysis is None:
        raise typer.Exit(1)


def _show(analysis: Analysis, *, as_json: bool) -> None:
    if as_json:
        print_json(analysis.model_dump(mode="json"))
    else:
        advice_outlook.print_advice(standard_output(), [_as_advice(analysis)], whole=True)


def _matter(proposal: str | None) -> tuple[Matter, Constitution, Terms]:
    if proposal is None:
        return SAMPLE, PACKAGED, Terms()
    with database(writes=False) as session:
        queries.status(session, proposal)  # refuses one that there is not
        (matter,) = read_matters(session, CATALOGUE, [proposal])
        return matter, constitution_in_force(session), terms_in_force(session)


def _ask(key: str, brief: Brief) -> Consulted:
    # It takes most of a second to load, and only this command needs it.
    from forge_core.advisory.consulting.claude import Claude  # noqa: PLC0415

    client = Claude(key, os.environ.get("ANTHROPIC_BASE_URL"))
    try:
        return ask_all(client, brief)
    finally:
        client.close()


def _as_advice(analysis: Analysis) -> dict[str, Any]:
    told = analysis.model_dump(mode="json")
    return {**told, "analysis": told}
