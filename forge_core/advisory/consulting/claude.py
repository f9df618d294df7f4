"""Claude through its SDK: one call, one reply, whatever the other side does.

Known of the SDK and guarded against here: its timeout holds for each read, so an answer that drips
would never end; it obeys a wish to wait for a day; a page of HTML comes back as a text, JSON of
another shape as a message of nothing, and broken JSON as an error that is not its own; redirects
are followed, with the key.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, Final

import anthropic
import httpx2
from anthropic.types import Message
from anthropic.types.messages import MessageBatch

from forge_core.advisory.analysis import Usage
from forge_core.advisory.consulting.prompt import Prompt
from forge_core.advisory.consulting.reply import NoAnswer, Reply
from forge_core.advisory.consulting.transport import BoundedTransport
from forge_core.advisory.terms import Terms

_CONNECT_SECONDS: Final = 5.0
_BATCH_SECONDS: Final = 60.0
_STATUSES: Final = {401: "KEY_REFUSED", 402: "KEY_REFUSED", 403: "KEY_REFUSED", 404: "NO_MODEL",
                    413: "TOO_LARGE", 429: "RATE_LIMITED"}  # fmt: skip
_PASSING: Final = frozenset({408, 409, 429})
_OWN_FAULT: Final = frozenset({400, 413, 422})
_TOKENS_MOST: Final = 100_000_000
"""Of one call; who says more says nothing."""


Request = tuple[Prompt, dict[str, Any], Terms]
"""One call: its prompt, the schema of its answer, and on what terms."""


class Claude:
    """For many threads. Making one is slow: it reads the certificates of all authorities."""

    def __init__(self, key: str, base_url: str | None = None) -> None:
        self._client = anthropic.Anthropic(
            api_key=key,
            base_url=base_url,
            default_headers={"accept-encoding": "identity"},
            max_retries=0,  # the job tries again, and never waits as long as it is told to
            http_client=anthropic.DefaultHttpxClient(
                transport=BoundedTransport(), follow_redirects=False, trust_env=False
            ),
        )

    def close(self) -> None:
        """End its connections."""
        self._client.close()

    def ask(self, prompt: Prompt, schema: dict[str, Any], terms: Terms) -> Reply:
        """One call, ended after ``terms.seconds`` whatever comes. Never raises for the service."""
        began = time.monotonic()
        try:
            with _failing():
                message: object = self._client.messages.create(
                    **_params(prompt, schema, terms), timeout=_within(terms.seconds)
                )
        except NoAnswer as failure:
            return Reply.failed(failure)
        return _read(message, round((time.monotonic() - began) * 1_000))

    def send(self, requests: Mapping[str, Request]) -> str:
        """Hand over a batch; the id to collect it by. ``NoAnswer`` when it is not taken."""
        given: Any = [
            {"custom_id": name, "params": _params(*request)} for name, request in requests.items()
        ]
        with _failing():
            batch: object = self._client.messages.batches.create(
                requests=given, timeout=_within(_BATCH_SECONDS)
            )
        if not isinstance(batch, MessageBatch) or not isinstance(batch.id, str):
            raise _not_a_message(type(batch).__name__)
        return batch.id

    def collect(self, batch: str) -> dict[str, Reply] | None:
        """What came of a batch, by the names given; None while it is under way. ``NoAnswer``."""
        with _failing():
            state: object = self._client.messages.batches.retrieve(
                batch, timeout=_within(_BATCH_SECONDS)
            )
            if not isinstance(state, MessageBatch):
                raise _not_a_message(type(state).__name__)
            if state.processing_status != "ended":
                return None
            results = self._client.messages.batches.results(batch, timeout=_within(_BATCH_SECONDS))
            return {one.custom_id: _result(one.result) for one in results}


_made: dict[str, Claude] = {}
_making = threading.Lock()


def claude(key: str) -> Claude:
    """The one of this process; where the service is, the SDK reads from ANTHROPIC_BASE_URL."""
    with _making:
        if key not in _made:
            forget_clients()
            _made[key] = Claude(key)
        return _made[key]


def forget_clients() -> None:
    """Whoever asks next makes a new one."""
    while _made:
        _made.popitem()[1].close()


@contextmanager
def _failing() -> Iterator[None]:
    """Whatever the SDK raises as a ``NoAnswer``."""
    try:
        yield
    except anthropic.AnthropicError as error:
        raise _why(error) from error
    except NoAnswer:
        raise
    except Exception as error:
        # Of a body that is no JSON, no UTF-8, too deep or oddly labelled the SDK raises anything.
        raise _not_a_message(type(error).__name__) from error


def _params(prompt: Prompt, schema: dict[str, Any], terms: Terms) -> dict[str, Any]:
    return {
        "model": terms.model,
        "max_tokens": terms.answer_tokens,
        "system": [
            {"type": "text", "text": prompt.fixed, "cache_control": {"type": "ephemeral"}},
            {"type": "text", "text": prompt.own},
        ],
        "messages": [{"role": "user", "content": prompt.user}],
        "output_config": {
            "effort": terms.effort.value,
            "format": {"type": "json_schema", "schema": schema},
        },
    }


def _within(seconds: float) -> httpx2.Timeout:
    return httpx2.Timeout(seconds, connect=_CONNECT_SECONDS)


def _result(result: object) -> Reply:
    """Of a request that was errored, canceled or expired nothing was paid."""
    message = getattr(result, "message", None)
    if message is None:
        return Reply.failed(NoAnswer("NOT_DONE", "the batch has no answer for it"))
    return _read(message, 0)


def _read(message: object, took: int) -> Reply:
    if not isinstance(message, Message):
        return Reply.failed(_not_a_message(type(message).__name__))
    usage = _usage(message, took)
    if message.stop_reason == "refusal":
        return Reply(None, NoAnswer("MODEL_REFUSED", "the model declined to answer"), usage)
    if message.stop_reason in ("max_tokens", "model_context_window_exceeded"):
        return Reply(None, NoAnswer("TRUNCATED", "the answer does not fit"), usage)
    blocks: object = message.content
    parts = [
        text
        for block in (blocks if isinstance(blocks, list) else ())
        if getattr(block, "type", None) == "text"
        and isinstance(text := getattr(block, "text", None), str)
    ]
    if message.stop_reason not in ("end_turn", "stop_sequence") or not "".join(parts).strip():
        return Reply(None, _not_a_message("no text"), usage)
    return Reply("".join(parts), None, usage)


def _usage(message: Message, took: int) -> Usage | None:
    told: object = message.usage

    def tokens(name: str) -> int:
        number = getattr(told, name, None)
        return number if type(number) is int and number > 0 else 0

    kinds = ("input_tokens", "output_tokens", "cache_read_input_tokens",
             "cache_creation_input_tokens")  # fmt: skip
    if not 0 < sum(map(tokens, kinds)) <= _TOKENS_MOST:
        return None
    return Usage(
        calls=1,
        input_tokens=tokens("input_tokens"),
        output_tokens=tokens("output_tokens"),
        cache_read_tokens=tokens("cache_read_input_tokens"),
        cache_written_tokens=tokens("cache_creation_input_tokens"),
        latency_ms=took,
    )


def _why(error: anthropic.AnthropicError) -> NoAnswer:
    """By class and status: messages are the service's words, and change."""
    if isinstance(error, anthropic.APITimeoutError):
        return NoAnswer("TIMED_OUT", "no answer in time", outage=True, again=True, paid=True)
    if isinstance(error, anthropic.APIStatusError):
        status = error.status_code
        passing = status in _PASSING or status >= 500
        code = _STATUSES.get(status, "SERVICE_FAILED" if passing else "REQUEST_REFUSED")
        return NoAnswer(
            code,
            f"the service answers {status}",
            outage=status not in _OWN_FAULT,
            again=passing,
            after=_wish(error.response.headers.get("retry-after")),
        )
    if isinstance(error.__cause__, httpx2.DecodingError):
        return _not_a_message("packed or too long")
    if isinstance(error, anthropic.APIConnectionError):
        return NoAnswer(
            "UNREACHABLE", "the service is not reached", outage=True, again=True, paid=True
        )
    return _not_a_message(type(error).__name__)


def _wish(retry_after: str | None) -> timedelta | None:
    try:
        seconds = float(retry_after or "")
    except ValueError:
        return None
    return timedelta(seconds=min(seconds, 86_400)) if seconds > 0 else None


def _not_a_message(what: str) -> NoAnswer:
    return NoAnswer(
        "NOT_A_MESSAGE", f"not an answer of the API: {what}", outage=True, again=True, paid=True
    )
