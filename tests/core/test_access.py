"""Tokens: good for what they were issued for, until they end or are revoked; kept as a hash."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from forge_core.access import tokens
from forge_core.access.tokens import NotLetIn, OutOfScope, Scope
from forge_core.database import transaction
from forge_core.errors import Refused

WEEK = timedelta(days=7)


@pytest.fixture
def issued(house):
    with transaction(house.app) as session:
        return tokens.issue(session, "portal", [Scope.READ], WEEK)


def let_in(house, token, scope=Scope.READ):
    """As the gateway asks: as the role that can write nothing."""
    with transaction(house.reader) as session:
        tokens.require_token(session, token, scope)


def test_a_token_lets_its_holder_in(house, issued):
    let_in(house, issued.token)


def test_what_is_kept_opens_nothing(house, issued):
    (row,) = house.sql("SELECT access_tokens::text, encode(secret_hash, 'hex') FROM access_tokens")

    assert issued.token not in row[0]
    for kept in (row[1], "forge_" + row[1], issued.id):
        with pytest.raises(NotLetIn):
            let_in(house, kept)


@pytest.mark.parametrize(
    "change",
    [str.upper, str.lower, lambda one: one[:-1], lambda one: one + "x", lambda one: f" {one}"],
    ids=["upper", "lower", "shorter", "longer", "with a space"],
)
def test_nearly_is_not_enough(house, issued, change):
    with pytest.raises(NotLetIn):
        let_in(house, change(issued.token))


@pytest.mark.parametrize("token", ["", "forge_", "é" * 49, "forge_" + "\x00" * 43, "x" * 100_000])
def test_anything_else_is_not_let_in_either(house, token):
    with pytest.raises(NotLetIn):
        let_in(house, token)


def test_one_that_ended_opens_nothing(house, issued):
    house.sql("UPDATE access_tokens SET issued_at = now() - interval '8 d', expires_at = now()")
    with pytest.raises(NotLetIn):
        let_in(house, issued.token)


def test_one_for_something_else_does_not_open_this(house, issued):
    house.sql("UPDATE access_tokens SET scopes = '{vote}'")
    with pytest.raises(OutOfScope, match="for vote; here read"):
        let_in(house, issued.token)


def test_one_that_is_revoked_opens_nothing_and_once_more_is_fine(house, issued):
    with transaction(house.app) as session:
        tokens.revoke(session, issued.id)
        before = tokens.tokens(session, limit=1)[0]
        tokens.revoke(session, issued.id)
        assert tokens.tokens(session, limit=1) == [before]

    assert not before["opens"]
    with pytest.raises(NotLetIn):
        let_in(house, issued.token)


def test_one_that_is_not_there_cannot_be_revoked(house):
    with pytest.raises(Refused, match="TOKEN_UNKNOWN"), transaction(house.app) as session:
        tokens.revoke(session, "nothing")


def test_a_sandboxs_clock_ends_no_token(house, issued):
    house.advance(days=30)

    let_in(house, issued.token)


@pytest.mark.parametrize(
    ("holder", "scopes", "lasts", "code"),
    [
        ("a b", [Scope.READ], WEEK, "ID_INVALID"),
        ("portal", [], WEEK, "TOKEN_SCOPES"),
        ("portal", [Scope.READ], timedelta(0), "TOKEN_LIFETIME"),
        ("portal", [Scope.READ], timedelta(days=367), "TOKEN_LIFETIME"),
    ],
)
def test_what_cannot_be_issued_is_refused(house, holder, scopes, lasts, code):
    with pytest.raises(Refused, match=code), transaction(house.app) as session:
        tokens.issue(session, holder, scopes, lasts)


def test_the_reader_cannot_issue_itself_one(house):
    with (
        pytest.raises(DBAPIError, match="read-only transaction"),
        transaction(house.reader) as session,
    ):
        tokens.issue(session, "thief", [Scope.READ], WEEK)


@pytest.mark.usefixtures("issued")
def test_the_database_refuses_a_token_without_a_scope_or_an_end(house):
    for change in ("scopes = '{}'", "expires_at = issued_at", "secret_hash = 'short'"):
        with pytest.raises(DBAPIError, match="check"), transaction(house.app) as session:
            session.execute(text(f"UPDATE access_tokens SET {change}"))
