"""Many proposals read by a slow model, while others are voted on, decided and executed.

Nothing that decides waits for the model, and no more is asked at once or spent than is set.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from benchmarks.figure import TIMES, Figure
from benchmarks.house import ALICE, House, running_house
from forge_core.advisory.constitution import Principle
from forge_core.advisory.terms import KEY
from forge_workers.client import Ballot

AT_ONCE = 16
MEMBERS = 8
TOKENS = 1_500
"""What each answer says that it took."""
CALLS = 2
"""For each proposal: read whole, and by its payload alone."""


def measure(*, proposals: int, votings: int, seconds: float) -> list[Figure]:
    """The same votings twice: by themselves, and while so many other proposals are read."""
    allowed = proposals * CALLS * TOKENS * 9 // 10
    with model(seconds) as api, running_house() as house:
        _on_terms(house, mode="off")
        house.add_members(MEMBERS)
        alone = _latencies(house, votings)
        _on_terms(house, at_once=AT_ONCE, tokens_a_day=allowed)
        ids = house.open_votings(proposals)
        with house.pace(proposals) as read:
            house.until(lambda: _advised(house, ids) > 0)  # the model is at it
            beside = _latencies(house, votings)
            still = proposals - _advised(house, ids)
            house.until(lambda: _advised(house, ids) == proposals)
        spent = house.number("SELECT sum(tokens) FROM consultations")
        fell_back = house.number("SELECT count(*) FROM advice WHERE source = 'fallback'")
    parts = {
        "read by the model or given up": read().shown("proposals"),
        "still to be read when the last voting had ended": f"{still:,}",
    }
    return [
        *(
            Figure(
                f"{what}, 99 of 100 of {votings}, while {proposals:,} proposals are read",
                _late(beside[what]),
                "s",
                "<=",
                goal,
                {
                    "by themselves": _shown(alone[what]),
                    "meanwhile": _shown(beside[what]),
                    **parts,
                },
            )
            for what, goal in GOALS.items()
        ),
        Figure(
            f"requests at once, of {AT_ONCE} that are allowed",
            api.most_at_once / AT_ONCE,
            TIMES,
            "<=",
            1,
            {"most": f"{api.most_at_once}", "requests": f"{api.requests:,}"},
        ),
        Figure(
            "tokens, of those that are allowed",
            spent / allowed,
            TIMES,
            "<=",
            1,
            {
                "allowed": f"{allowed:,}",
                "spent": f"{spent:,}",
                "proposals for which rules answered instead": f"{fell_back:,}",
            },
        ),
    ]


GOALS = {
    "a ballot is accepted": 0.2,
    "a ballot is counted": 1.0,
    "a voting is decided after its end": 2.0,
    "what is approved is executed": 2.0,
}


def _latencies(house: House, votings: int) -> dict[str, list[float]]:
    """Votings one after the other: ballots as a client sees them, the rest as the rows say."""
    accepted, counted = [], []
    ids = house.open_votings(votings)
    for id_ in ids:
        for voter in (ALICE, *(f"m{n}" for n in range(MEMBERS))):
            began = time.perf_counter()
            answer = house.client.vote(Ballot(id_, voter, "for"))
            accepted.append(time.perf_counter() - began)
            assert answer.accepted, answer.message  # noqa: S101
        house.until(lambda: not house.number("SELECT count(*) FROM ballot_inbox"))
        counted.append(time.perf_counter() - began)
        house.query("SET session_replication_role = replica")
        house.query("UPDATE proposals SET closes_at = forge_now() WHERE id = %s", id_)
        house.query("SET session_replication_role = origin")
    house.until(lambda: _in(house, ids, "executed") == len(ids))
    rows = house.query(
        "SELECT extract(epoch FROM decided_at - closes_at), extract(epoch FROM applied_at"
        " - decided_at) FROM proposals JOIN effects ON proposal_id = id WHERE id = ANY(%s)",
        ids,
    )
    decided = [float(str(row[0])) for row in rows]
    executed = [float(str(row[1])) for row in rows]
    return dict(zip(GOALS, (accepted, counted, decided, executed), strict=True))


def _in(house: House, ids: list[str], status: str) -> int:
    return house.number(
        "SELECT count(*) FROM proposals WHERE id = ANY(%s) AND status = %s", ids, status
    )


def _advised(house: House, ids: list[str]) -> int:
    """Of how many more was said than the rules' advice."""
    return house.number(
        "SELECT count(*) FROM advice WHERE number > 1 AND proposal_id = ANY(%s)", ids
    )


def _on_terms(house: House, **terms: object) -> None:
    house.query(
        "INSERT INTO setting_values (key, value, version, proposal_id, changed_at)"
        " VALUES (%s, %s, 1, 'p-bench', clock_timestamp())"
        " ON CONFLICT (key) DO UPDATE SET value = excluded.value",
        KEY,
        json.dumps(terms),
    )


def _shown(values: list[float]) -> str:
    return f"half within {_half(values):.3f} s, 99 % within {_late(values):.3f} s"


def _half(values: list[float]) -> float:
    return sorted(values)[len(values) // 2]


def _late(values: list[float]) -> float:
    return sorted(values)[len(values) * 99 // 100]


class Model(ThreadingHTTPServer):
    """Says the same to everybody, after a while."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, seconds: float) -> None:
        super().__init__(("127.0.0.1", 0), _Answering)
        self.seconds = seconds
        self.requests = 0
        self.most_at_once = 0
        self._at_once = 0
        self._lock = threading.Lock()

    @contextmanager
    def counted(self) -> Iterator[None]:
        with self._lock:
            self.requests += 1
            self._at_once += 1
            self.most_at_once = max(self.most_at_once, self._at_once)
        try:
            yield
        finally:
            with self._lock:
                self._at_once -= 1


class _Answering(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Model

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        with self.server.counted():
            time.sleep(self.server.seconds)
            body = json.dumps(_message(asked["model"])).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nobody reads it."""


def _message(model_: str) -> dict[str, Any]:
    answer = {
        "recommendation": "support",
        "confidence": 0.8,
        "summary": "It is as good as the one before.",
        "scores": [{"principle": one, "score": 90, "reasoning": "Fine."} for one in Principle],
        "risks": [],
        "benefits": [],
        "modifications": [],
    }
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": model_,
        "content": [{"type": "text", "text": json.dumps(answer)}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {"input_tokens": TOKENS - 300, "output_tokens": 300},
    }


@contextmanager
def model(seconds: float) -> Iterator[Model]:
    """An API that the house asks while the block lasts."""
    with Model(seconds) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        os.environ["ANTHROPIC_API_KEY"] = "none"
        os.environ["ANTHROPIC_BASE_URL"] = f"http://127.0.0.1:{server.server_address[1]}"
        try:
            yield server
        finally:
            del os.environ["ANTHROPIC_API_KEY"], os.environ["ANTHROPIC_BASE_URL"]
            server.shutdown()
            thread.join()
