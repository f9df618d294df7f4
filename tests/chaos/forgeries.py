"""Messages that nobody of the house sent, as bytes for a queue's list in the broker."""

from __future__ import annotations

import base64
import gzip
import json
import pickle
import uuid
import zlib
from typing import Any

from forge_core.jobs.prune import KEEP_DEAD_LETTERS

TASK = "proposals.create"
NO_EMBED: dict[str, Any] = {"callbacks": None, "errbacks": None, "chain": None, "chord": None}
SIGNATURE = {"task": "proposals.create", "args": [], "kwargs": {}, "options": {}, "immutable": True}

MORE_THAN_PREFETCHED = 20
"""A worker reserves at most 8: one message left unacknowledged a copy would silence it."""

MANY = KEEP_DEAD_LETTERS // 2
"""Of each sort for each queue: several times what is kept, by all of them together."""


def wake_up(task: str = TASK, **changes: Any) -> bytes:
    """A wake-up as Celery writes it, with changes.

    A change named ``headers_``, ``properties_`` or ``top_`` + key replaces that key (dashes as
    underscores); ``body`` replaces the JSON body.
    """
    identity = changes.pop("id", str(uuid.uuid4()))
    body = changes.pop("body", [[], {}, NO_EMBED])
    packed = body if isinstance(body, bytes) else json.dumps(body).encode()
    message: dict[str, Any] = {
        "body": base64.b64encode(packed).decode(),
        "content-encoding": "utf-8",
        "content-type": "application/json",
        "headers": {
            "lang": "py",
            "task": task,
            "id": identity,
            "eta": None,
            "expires": None,
            "retries": 0,
            "timelimit": [None, None],
            "root_id": identity,
            "parent_id": None,
            "argsrepr": "()",
            "kwargsrepr": "{}",
            "origin": "gen1@elsewhere",
            "ignore_result": True,
        },
        "properties": {
            "correlation_id": identity,
            "delivery_mode": 2,
            "delivery_info": {"exchange": "", "routing_key": "proposals"},
            "priority": 0,
            "body_encoding": "base64",
            "delivery_tag": str(uuid.uuid4()),
        },
    }
    for name, value in changes.items():
        where, key = name.split("_", 1)
        if where == "top":
            message[key.replace("_", "-")] = value
        else:
            message[where][key] = value
    return json.dumps(message).encode()


def without(part: str, key: str) -> bytes:
    """A wake-up that lacks one key."""
    message = json.loads(wake_up())
    del message[part][key]
    return json.dumps(message).encode()


def nested(depth: int) -> bytes:
    return b"[" * depth + b"]" * depth


def carrying() -> dict[str, bytes]:
    """Messages that carry something beyond a wake-up: each becomes a dead letter."""
    return {
        "arguments": wake_up(body=[["do it"], {}, NO_EMBED]),
        "keyword arguments": wake_up(body=[[], {"proposal_id": "x"}, NO_EMBED]),
        "callbacks": wake_up(body=[[], {}, {"callbacks": [SIGNATURE]}]),
        "error callbacks": wake_up(body=[[], {}, {"errbacks": [SIGNATURE]}]),
        "a chain": wake_up(body=[[], {}, {"chain": [SIGNATURE]}]),
        "a chord": wake_up(body=[[], {}, {"chord": SIGNATURE}]),
        "callbacks among the headers": wake_up(body=[[], {}, {}], headers_callbacks=[SIGNATURE]),
        "a chain among the headers": wake_up(body=[[], {}, {}], headers_chain=[SIGNATURE]),
        "a chord among the headers": wake_up(body=[[], {}, {}], headers_chord=SIGNATURE),
        "an eta": wake_up(headers_eta="2030-01-01T00:00:00+00:00"),
        "an eta that is none": wake_up(headers_eta={"year": 2030}),
        "time limits": wake_up(headers_timelimit=[0.001, 0.001]),
        "time limits that are none": wake_up(headers_timelimit=7),
        "an unknown task": wake_up("os.system"),
        "a task of Celery's own": wake_up("celery.backend_cleanup"),
        "a task name that cannot be hashed": wake_up(headers_task=["proposals.create"]),
        "a task name of a megabyte": wake_up("x" * 1_000_000),
        "no task name": without("headers", "task"),
        "no id": without("headers", "id"),
        "an id that is none": wake_up(headers_id={"id": 1}),
        "an id of a megabyte": wake_up(id="x" * 1_000_000),
        "an id that writes on terminals": wake_up(id="\x1b[2J\nINFO all is well"),
        "a shadow name": wake_up(headers_shadow="enforcement.execute"),
        "protocol 1": wake_up(
            top_headers={}, body={"task": TASK, "id": "1", "args": [], "kwargs": {}, "eta": None}
        ),
        "protocol 1 with arguments": wake_up(
            top_headers={}, body={"task": TASK, "id": "1", "args": ["now"], "kwargs": {}}
        ),
        "pickle": wake_up(
            body=pickle.dumps(([], {}, NO_EMBED)), top_content_type="application/x-python-serialize"
        ),
        "yaml": wake_up(body=b"- []\n- {}\n- {}\n", top_content_type="application/x-yaml"),
        "an unknown content type": wake_up(top_content_type="application/x-surprise"),
        "a content type that is none": wake_up(top_content_type=["application/json"]),
        "an encoding that inflates": wake_up(
            body=zlib.compress(b"0" * 50_000_000),
            top_content_type="application/data",
            top_content_encoding="zlib",
        ),
        "an encoding that is none": wake_up(top_content_encoding=5),
        "a compressed body": wake_up(
            body=gzip.compress(b"0" * 50_000_000), headers_compression="gzip"
        ),
        "an unknown compression": wake_up(headers_compression="snail"),
        "a body that is no JSON": wake_up(body=b"{"),
        "a body of another shape": wake_up(body={"args": []}),
        "a body nested deeply": wake_up(body=nested(200_000)),
        "a body with a bad decimal": wake_up(
            body=[[{"__type__": "decimal", "__value__": "many"}], {}, NO_EMBED]
        ),
        "an embed of another shape": wake_up(body=[[], {}, ["callbacks"]]),
        "a body of ten megabytes": wake_up(body=[["x" * 10_000_000], {}, NO_EMBED]),
        "broken base64": wake_up(top_body="!"),
        "a body that is a number": wake_up(top_body=5),
        "an unknown body encoding": wake_up(properties_body_encoding="rot13"),
        "headers that are a list": wake_up(top_headers=["task", TASK]),
        "headers that are a text": wake_up(top_headers=TASK),
        "no headers": wake_up(top_headers=None),
        "properties that are a list": wake_up(top_properties=[]),
        "no delivery tag": without("properties", "delivery_tag"),
        "a delivery tag of null": wake_up(properties_delivery_tag=None),
        "a delivery tag of true": wake_up(properties_delivery_tag=True),
        "a delivery tag that cannot be hashed": wake_up(properties_delivery_tag=["tag"]),
        "no delivery info": without("properties", "delivery_info"),
        "delivery info that is a text": wake_up(properties_delivery_info="proposals"),
        "a consumer tag that cannot be hashed": wake_up(
            properties_delivery_info={"exchange": "", "routing_key": "x", "consumer_tag": []},
            body=[["do it"], {}, NO_EMBED],
        ),
        "an expiry that is no date": wake_up(headers_expires="tomorrow"),
        "an expiry that is an object": wake_up(headers_expires={"at": 1}),
        "an expiry that is a number": wake_up(headers_expires=1.5),
    }


def garbage() -> dict[str, bytes]:
    """What is no message at all: each becomes a dead letter."""
    return {
        "not JSON": b"wake up!",
        "binary": bytes(range(256)),
        "half a message": wake_up()[:200],
        "null": b"null",
        "a number": b"1",
        "a text": b'"proposals.create"',
        "an empty list": b"[]",
        "an empty object": b"{}",
        "a lone surrogate": b'"\\ud800"',
        "a NUL": b'{"task": "\\u0000"}',
        "infinity": b"-Infinity",
        "an integer of 5,000 digits": b"9" * 5_000,
        "lists nested deeply": nested(200_000),
        "objects nested deeply": b'{"a":' * 200_000 + b"1" + b"}" * 200_000,
        "a bad decimal": b'{"__type__": "decimal", "__value__": "many"}',
        "an unknown type": b'{"__type__": "os.system", "__value__": "true"}',
        "a type that cannot be hashed": b'{"__type__": [], "__value__": 1}',
        "ten megabytes": b"x" * 10_000_000,
        "ten megabytes of JSON": b'"' + b"x" * 10_000_000 + b'"',
    }


def odd_wake_ups() -> dict[str, bytes]:
    """Wake-ups with oddities that no longer matter once only the name goes on."""
    return {
        "as Celery writes it": wake_up(),
        "for another queue": wake_up("votes.count"),
        "of a sweep": wake_up("jobs.sweep"),
        "long expired": wake_up(headers_expires="2001-01-01T00:00:00+00:00"),
        "expired, without a zone": wake_up(headers_expires="2001-01-01T00:00:00"),
        "tried before": wake_up(headers_retries=10**300),
        "of another language": wake_up(headers_lang="c++"),
        "with a root that is an object": wake_up(headers_root_id={"a": 1}),
        "with a group": wake_up(headers_group="g", headers_group_index=-1),
        "wanting a result": wake_up(headers_ignore_result=False, properties_reply_to="proposals"),
        "stamped": wake_up(headers_stamped_headers=["s"], headers_stamps={"s": "1"}),
        "stamped with a number": wake_up(headers_stamped_headers=5, headers_stamps=5),
        "described at length": wake_up(headers_argsrepr="x" * 1_000_000),
        "described by an object": wake_up(headers_argsrepr={"a": 1}, headers_kwargsrepr=[1]),
        "of a strange priority": wake_up(properties_priority="highest"),
        "always with one id": wake_up(id="00000000-0000-4000-8000-000000000000"),
        "always with one tag": wake_up(properties_delivery_tag="tag"),
        "sent again": wake_up(headers_redelivered=True),
        "with a header of its own": wake_up(headers_trace="1"),
    }


def command(method: Any = "ping", **changes: Any) -> bytes:
    """A control command as Celery broadcasts it; changes as for `wake_up`, or to the command."""
    body = {"method": method, "arguments": {}, "destination": None, "pattern": None}
    body |= {"matcher": None} | changes.pop("command", {})
    given = {"headers_clock": 1, "headers_expires": 0, "body": body} | changes
    return wake_up(**given)


def commands() -> dict[str, bytes]:
    """Control commands that would stop or slow a worker if it obeyed."""
    queues = ("proposals", "votes", "maintenance")
    return {
        "shutdown": command("shutdown"),
        **{
            f"no more {queue}": command("cancel_consumer", command={"arguments": {"queue": queue}})
            for queue in queues
        },
        "another queue": command("add_consumer", command={"arguments": {"queue": "elsewhere"}}),
        "revoke": command("revoke", command={"arguments": {"task_id": ["1"], "terminate": True}}),
        "rate limit": command(
            "rate_limit", command={"arguments": {"task_name": TASK, "rate_limit": "1/h"}}
        ),
        "time limit": command(
            "time_limit", command={"arguments": {"task_name": TASK, "hard": 0.001, "soft": 0.001}}
        ),
        "smaller pool": command("pool_shrink", command={"arguments": {"n": 2}}),
        "bigger pool": command("pool_grow", command={"arguments": {"n": 500}}),
        "restart": command("pool_restart", command={"arguments": {"modules": ["os"]}}),
        "autoscale": command("autoscale", command={"arguments": {"max": 0, "min": 0}}),
        "no events": command("disable_events"),
        "an election": command("election", command={"arguments": {"id": 1, "topic": 1}}),
        "unknown": command("obey"),
        "unhashable": command(["shutdown"]),
        "no method": wake_up(body={"arguments": {}}, headers_clock=1),
        "no command": wake_up(body=[1, 2], headers_clock=1),
        "bad arguments": command("stats", command={"arguments": ["x"]}),
        "surplus arguments": command("stats", command={"arguments": {"surplus": 1}}),
        "a strange destination": command(command={"destination": 7}),
        "a reply to nowhere": command(command={"reply_to": {"exchange": [], "routing_key": {}}}),
        "a reply into a queue": command(
            command={"reply_to": {"exchange": "", "routing_key": "votes"}, "ticket": "1"}
        ),
        "a slow pattern": command(command={"pattern": "((([a-z@]+)+)+)+!", "matcher": "pcre"}),
        "an unknown matcher": command(command={"pattern": "x", "matcher": "psychic"}),
        "a clock of 4,300 digits": command(headers_clock=10**4_299 * 9 + (10**4_299 - 1)),
        "a clock that is a text": command(headers_clock="noon"),
        "a clock of infinity": command(headers_clock=float("inf")),
        "pickle": command(top_content_type="application/x-python-serialize"),
    }
