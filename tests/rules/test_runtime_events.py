"""Events of the overlay runtime: every type is read, and everything else is refused by name."""

from __future__ import annotations

import json
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forge_core.errors import Refused
from forge_core.immune.intake.events import (
    AHEAD_MOST,
    BATCH_MOST,
    KEPT,
    MESSAGE_MOST,
    read_event,
    read_message,
)

NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)
TICK = timedelta(microseconds=1)

DATA = {
    "overlay.invoked": {
        "overlay": "scout",
        "function": "look",
        "success": False,
        "error": "Timeout",
        "fault": "overlay",
        "execution_ms": 12,
        "fuel": 5_000,
        "memory": 65_536,
        "caller": "ada",
    },
    "overlay.registered": {"overlay": "scout"},
    "overlay.activated": {"overlay": "scout"},
    "overlay.stopped": {"overlay": "scout"},
    "auth.attempted": {"ip": "192.0.2.7", "member": "ada", "success": False, "user_agent": "x/1"},
    "api.request_window": {"member": "ada", "limit": 100, "used": 90, "refused": 3},
    "data.downloaded": {"member": "ada", "items": ["a", "b"]},
    "resource.sampled": {
        "host": "h1",
        "memory": 81.5,
        "disk": 20,
        "queue_depth": 3,
        "connections": 40,
    },
}


def event(type_="overlay.invoked", data=None, **attributes):
    return {
        "specversion": "1.0",
        "id": "e-1",
        "source": "runtime/1",
        "type": type_,
        "time": NOW.isoformat(),
        "data": {**DATA[type_], **(data or {})},
        **attributes,
    }


def refusal(raw):
    with pytest.raises(Refused) as refused:
        read_event(raw, NOW)
    assert str(refused.value).encode()
    return refused.value


@pytest.mark.parametrize("type_", DATA)
def test_every_type_is_read(type_):
    read = read_event(event(type_), NOW)

    assert (read.type, read.id, read.source, read.time) == (type_, "e-1", "runtime/1", NOW)
    assert read.data.model_dump(mode="json") == DATA[type_]


def test_what_a_newer_runtime_adds_is_passed_over():
    read = read_event(event(data={"colour": "red"}, traceparent="00-1", subject="x"), NOW)

    assert not hasattr(read.data, "colour")


def test_an_address_is_kept_as_it_is_counted():
    read = read_event(event("auth.attempted", {"ip": "2001:db8::1"}), NOW)

    assert read.data.ip == "2001:db8::/64"


@pytest.mark.parametrize(
    ("type_", "field", "values"),
    [
        ("overlay.invoked", "overlay", ["", " ", "a b", "x" * 201, "a\0b", "a\u200bb", None, 7]),
        ("overlay.invoked", "function", ["x" * 301, "a\nb", 7]),
        ("overlay.invoked", "success", ["true", 1, None]),
        ("overlay.invoked", "fault", [None, "me", True]),
        ("overlay.invoked", "execution_ms", [-1, 1.5, "12", True, 86_400_001, 2**70]),
        ("overlay.invoked", "fuel", [-1, 2**53, 1.0]),
        ("overlay.invoked", "caller", ["", 7]),
        ("auth.attempted", "member", ["", "a b", 7]),
        ("auth.attempted", "user_agent", ["x" * 301, "a\x1b[2J"]),
        ("api.request_window", "limit", [0, -1, 2**53]),
        ("api.request_window", "used", [-1, None, "9"]),
        ("data.downloaded", "items", [[], ["a"] * 1_001, ["a", ""], "a", None]),
        ("resource.sampled", "memory", [-0.1, 100.1, float("nan"), float("inf"), "x", None]),
        ("resource.sampled", "host", ["", None]),
    ],
)
def test_values_out_of_shape_are_refused_and_named(type_, field, values):
    for value in values:
        refused = refusal(event(type_, {field: value}))
        assert refused.code == "EVENT_INVALID"
        # Who is to blame is a matter of two fields.
        assert refused.message.startswith((f"data.{field}", "data: fault"))


def test_a_success_is_nobodys_fault():
    read_event(event(data={"success": True, "fault": None}), NOW)

    assert "blame" in refusal(event(data={"success": True})).message


@pytest.mark.parametrize(
    "raw",
    [None, 7, "x", [], {}, event(specversion="0.3"), event(type="overlay.exploded"),
     event(type=None), event(id=""), event(source=None), {**event(), "data": []}, event(time=7)],
)  # fmt: skip
def test_what_is_no_event_of_ours_is_refused(raw):
    assert refusal(raw).code == "EVENT_INVALID"


def test_attributes_that_are_missing_are_named():
    for attribute in event():
        raw = event()
        del raw[attribute]
        assert attribute in refusal(raw).message


@pytest.mark.parametrize(("ip", "time"), [("localhost", NOW.isoformat()), ("192.0.2.7", "soon")])
def test_addresses_and_times_have_refusals_of_their_own(ip, time):
    code = refusal(event("auth.attempted", {"ip": ip}, time=time)).code

    assert code == ("TIME_INVALID" if time == "soon" else "ADDRESS_INVALID")


@pytest.mark.parametrize(
    ("moment", "code"),
    [
        (NOW + AHEAD_MOST, None),
        (NOW + AHEAD_MOST + TICK, "EVENT_AHEAD"),
        (NOW - KEPT, None),
        (NOW - KEPT - TICK, "EVENT_TOO_OLD"),
    ],
)
def test_times_too_far_from_ours_are_refused(moment, code):
    raw = event(time=moment.isoformat())
    if code is None:
        assert read_event(raw, NOW).time == moment
    else:
        assert refusal(raw).code == code


def test_a_message_is_one_event_or_a_batch():
    one = json.dumps(event()).encode()

    assert read_message(one) == [event()]
    assert read_message(b"[" + one + b"," + one + b"]") == [event(), event()]
    assert read_message(b"[]") == []


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "MESSAGE_UNREADABLE"),
        (b"{", "MESSAGE_UNREADABLE"),
        (b"\xff\xfe", "MESSAGE_UNREADABLE"),
        (b'{"id": NaN}', "MESSAGE_UNREADABLE"),
        (b'["\\ud800"]', "MESSAGE_UNREADABLE"),
        (b"[" * 10_000, "MESSAGE_UNREADABLE"),
        (b"[" + b"{}," * BATCH_MOST + b"{}]", "MESSAGE_TOO_LARGE"),
        (b'"' + b"x" * MESSAGE_MOST + b'"', "MESSAGE_TOO_LARGE"),
    ],
)
def test_what_is_no_message_is_refused(body, code):
    with pytest.raises(Refused) as refused:
        read_message(body)

    assert refused.value.code == code


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=9), inner),
    max_leaves=10,
)


@given(st.sampled_from([*DATA]), st.sampled_from([*event(), "data"]), JSON)
def test_whatever_is_sent_is_an_event_or_a_refusal(type_, attribute, value):
    with suppress(Refused):
        assert read_event(event(type_) | {attribute: value}, NOW).id
