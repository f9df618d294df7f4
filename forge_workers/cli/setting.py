"""`forge setting`: what may be changed, and what it is now."""

from __future__ import annotations

import json
import re
from typing import Annotated, Any

import typer

from forge_core.actions.additions import with_extensions
from forge_core.actions.catalogue import Catalogue
from forge_core.actions.payloads import parse_payload
from forge_core.actions.setting import target
from forge_core.capabilities.declaration import Capability
from forge_core.capabilities.features import PREFIX
from forge_core.errors import Refused
from forge_core.wiring import CATALOGUE
from forge_workers import queries
from forge_workers.cli.output import AsJson, print_json, print_rows, standard_output
from forge_workers.cli.servers import database
from forge_workers.words.values import shown

Key = Annotated[str, typer.Argument(help="For example rate_limit.STANDARD.")]

app = typer.Typer(no_args_is_help=True, help="Registered settings and their present values.")


@app.command("list")
def list_(*, as_json: AsJson = False) -> None:
    """List every registered key with its present value, default, bounds, type and class."""
    with database() as session:
        changed = queries.changed_settings(session)
        catalogue = with_extensions(session, CATALOGUE)
    rows = [_described(one, catalogue, changed) for one in sorted(catalogue, key=_key)]
    if not as_json:
        rows = [_short(row) for row in rows]
    print_rows(rows, as_json=as_json, empty="no settings are registered")


@app.command()
def get(
    key: Key,
    *,
    as_json: AsJson = False,
) -> None:
    """Print the present value of one key."""
    described = _look_up(key)
    if as_json:
        print_json(described)
    else:
        value = described["value"]
        text = value if isinstance(value, str) else json.dumps(value)
        standard_output().print(text, markup=False)


@app.command()
def show(key: Key, *, as_json: AsJson = False) -> None:
    """Show one key: value, bounds, class, which proposals may set it, which other keys bind it."""
    described = _look_up(key)
    if as_json:
        print_json(described)
        return
    for name, value in described.items():
        if value not in (None, []):
            standard_output().print(f"{name.replace('_', ' '):>13}  {shown(value)}", markup=False)


def _look_up(key: str) -> dict[str, Any]:
    with database() as session:
        catalogue = with_extensions(session, CATALOGUE)
        return _described(catalogue.get(key), catalogue, queries.changed_settings(session))


def _described(
    capability: Capability, catalogue: Catalogue, changed: dict[str, Any]
) -> dict[str, Any]:
    stored = changed.get(capability.key)
    orders = [order for order in catalogue.orders if capability.key in (order.lower, order.upper)]
    return {
        "key": capability.key,
        "value": capability.default if stored is None else stored["value"],
        "default": capability.default,
        "least": capability.least,
        "most": capability.most,
        "type": capability.type or "document",
        "class": capability.klass.value,
        "may_be_set_by": _types(capability, catalogue),
        "description": capability.description,
        "orders": [f"{order.lower} <= {order.upper}" for order in orders],
        "changed_by": None if stored is None else stored["proposal_id"],
    }


def _types(capability: Capability, catalogue: Catalogue) -> list[str]:
    """The types of proposal that may set it, as their own rules say."""
    value = {"key": capability.key, "new_value": capability.default}
    switch = {"feature": capability.key.removeprefix(PREFIX), "enabled": capability.default}
    payloads = {
        "configuration": value,
        "feature_activation": switch,
        "governance_rule": value,
        "emergency": {"action": "adjust", **value},
    }
    return [
        type_
        for type_, payload in payloads.items()
        if _sets(capability.key, type_, payload, catalogue)
    ]


def _sets(key: str, type_: str, payload: dict[str, Any], catalogue: Catalogue) -> bool:
    try:
        return target(key) in parse_payload(type_, payload, catalogue).targets()
    except Refused:
        return False


def _short(row: dict[str, Any]) -> dict[str, Any]:
    value, default = _readable(row["value"]), _readable(row["default"])
    bounds = (
        "-" if row["least"] is None else f"{_readable(row['least'])} … {_readable(row['most'])}"
    )
    return {
        "key": row["key"],
        "value": value if row["value"] == row["default"] else f"{value}, default {default}",
        "allowed": bounds,
        "class": row["class"],
    }


def _readable(value: object) -> str:
    """Midnights as dates, and of a document what it decides, so that a line is enough for a key."""
    if isinstance(value, dict):
        return str(value.get("mode", "a document"))
    return re.sub(r"T00:00:00(\.0+)?Z$", "", shown(value))


def _key(capability: Capability) -> str:
    return capability.key
