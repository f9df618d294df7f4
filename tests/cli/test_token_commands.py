"""`forge token`: made and shown once, listed without what opens, revoked."""

from __future__ import annotations

import pytest

from forge_core.access.tokens import NotLetIn, Scope, require_token
from forge_core.database import transaction
from tests.cli.conftest import Forge
from tests.core.factories import House


def let_in(house: House, token: str) -> None:
    with transaction(house.reader) as session:
        require_token(session, token, Scope.READ)


def test_a_token_is_printed_once_and_opens(forge: Forge, house: House) -> None:
    said = forge("token", "issue", "portal", "--days", 2)
    token = said.out.strip()

    assert said.status == 0
    assert "for portal, until" in said.err
    assert token not in said.err
    let_in(house, token)
    assert forge("token", "list", "--json").json[0]["holder"] == "portal"
    assert token not in forge("token", "list", "--json").out


def test_a_token_that_is_revoked_is_listed_as_such(forge: Forge, house: House) -> None:
    issued = forge("token", "issue", "portal", "--json").json
    assert forge("token", "list", "--json").json[0]["opens"] is True

    assert forge("token", "revoke", issued["id"]).out == f"{issued['id']} opens nothing any more\n"

    (row,) = forge("token", "list", "--json").json
    assert (row["id"], row["holder"], row["scopes"], row["opens"]) == (
        issued["id"], "portal", ["read"], False,
    )  # fmt: skip
    assert issued["id"] in forge("token", "list").out
    with pytest.raises(NotLetIn):
        let_in(house, issued["token"])


@pytest.mark.parametrize("holder", ["[/x]", "[bold]", "[link=http://e]x"])
def test_a_holders_name_is_no_markup(forge: Forge, house: House, holder: str) -> None:
    said = forge("token", "issue", holder)

    assert f"for {holder}, until" in said.err
    let_in(house, said.out.strip())


def test_what_is_wrong_is_one_line(forge: Forge, house: House) -> None:
    assert forge("token", "list").out == "there are no tokens\n"
    for words, status, says in (
        (["issue", "two words"], 1, "ID_INVALID"),
        (["revoke", "\udcff"], 1, "ID_INVALID"),
        (["issue", "portal", "--days", "367"], 2, "366"),
        (["revoke", "nothing"], 1, "TOKEN_UNKNOWN"),
    ):
        said = forge("token", *words)
        assert (said.status, said.out) == (status, "")
        assert says in said.err
    assert house.one("SELECT count(*) FROM access_tokens") == 0
