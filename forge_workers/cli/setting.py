"""`forge setting`: what may be changed, and what it is now."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from forge_core.actions.extension import with_extensions
from forge_core.capabilities.declaration import Capability
from forge_core.wiring import CATALOGUE
from forge_workers.cli import queries
from forge_workers.cli.output import AsJson, print_json, print_rows, standard_output
from forge_workers.cli.servers import database

app = typer.Typer(no_args_is_help=True, help="Registered settings and their present values.")


@app.command("list")
def list_(*, as_json: AsJson = False) -> None:
    """List every registered key with its present value, bounds and class."""
    with database() as session:
        changed = queries.changed_settings(session)
        catalogue = with_extensions(session, CATALOGUE)
    rows = [_described(capability, changed) for capability in sorted(catalogue, key=_key)]
    print_rows(rows, as_json=as_json, empty="no settings are registered")


@app.command()
def get(
    key: Annotated[str, typer.Argument(help="For example rate_limit.standard.")],
    *,
    as_json: AsJson = False,
) -> None:
    """Print the present value of one key."""
    with database() as session:
        capability = with_extensions(session, CATALOGUE).get(key)
        described = _described(capability, queries.changed_settings(session))
    if as_json:
        print_json(described)
    else:
        standard_output().print(str(described["value"]), markup=False)


def _described(capability: Capability, changed: dict[str, Any]) -> dict[str, Any]:
    stored = changed.get(capability.key)
    return {
        "key": capability.key,
        "value": capability.default if stored is None else stored["value"],
        "default": capability.default,
        "least": capability.least,
        "most": capability.most,
        "class": capability.klass.value,
        "changed_by": None if stored is None else stored["proposal_id"],
    }


def _key(capability: Capability) -> str:
    return capability.key
