"""What the anthropic SDK makes of each behaviour that the Messages API may show."""

from __future__ import annotations

import json
import os
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import anthropic
import httpx2
import pytest
from anthropic.types import Message
from pydantic import BaseModel, Field, ValidationError

from tests.advice import messages_api as on_the_wire
from tests.advice.messages_api import Answer, Behaviour, MessagesApi, always, fails, says, slowly
from tests.support import until


class Advice(BaseModel):
    support: bool
    confidence: float = Field(ge=0, le=1)


GOOD = '{"support": true, "confidence": 0.5}'
NO_AUTHORITIES = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""Reading the usual ones takes most of the time that a client takes to make."""
QUESTION: dict[str, Any] = {
    "model": "claude-of-the-tests",
    "max_tokens": 1_000,
    "messages": [{"role": "user", "content": "Is this wise?"}],
}


@pytest.fixture(autouse=True)
def _no_credentials_of_a_developer(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for variable in [name for name in os.environ if name.startswith("ANTHROPIC_")]:
        monkeypatch.delenv(variable)
    monkeypatch.setenv("HOME", str(tmp_path))  # where a developer's profile may be
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture
def api() -> Iterator[MessagesApi]:
    with MessagesApi(says(GOOD)) as api:
        yield api


def client_of(api: MessagesApi, **options: Any) -> anthropic.Anthropic:
    settings: dict[str, Any] = {"api_key": "test-key", "max_retries": 0, "timeout": 10}
    if "http_client" not in options:
        settings["http_client"] = anthropic.DefaultHttpxClient(verify=NO_AUTHORITIES)
    return anthropic.Anthropic(base_url=api.url, **settings | options)


def ask(api: MessagesApi, **options: Any) -> Any:
    with client_of(api, **options) as client:
        return client.messages.create(**QUESTION)


def outcome(call: Callable[[], object]) -> type:
    """The class of what is raised, or else of what comes back."""
    try:
        answer = call()
    except Exception as error:  # noqa: BLE001 - anything may come, and which it is, is the question
        return type(error)
    return Message if isinstance(answer, Message) else type(answer)


LOST = anthropic.APIConnectionError
LATE = anthropic.APITimeoutError
INVALID = anthropic.APIResponseValidationError
NO_JSON = json.JSONDecodeError

ANSWERS = {
    # behaviour: create(), create() of a client that validates strictly, parse()
    "good": (says(GOOD), Message, Message, Message),
    "good, later": (slowly(0.1, says(GOOD)), Message, Message, Message),
    "good, too late": (slowly(60, says(GOOD)), LATE, LATE, LATE),
    "never starts": (on_the_wire.never_starts(), LATE, LATE, LATE),
    "hangs up": (on_the_wire.hangs_up(), LOST, LOST, LOST),
    "resets": (on_the_wire.resets(says(GOOD)), LOST, LOST, LOST),
    "resets a lot": (on_the_wire.resets(on_the_wire.says_a_lot(300_000)), LOST, LOST, LOST),
    "HTML": (on_the_wire.shows_page(), str, INVALID, AttributeError),
    "HTML as an error": (on_the_wire.shows_page(502), *[anthropic.InternalServerError] * 3),
    "other shape": (on_the_wire.sends_other_shape(), Message, INVALID, TypeError),
    "a list": (always(Answer(b"[1]")), list, INVALID, AttributeError),
    "null": (always(Answer(b"null")), type(None), type(None), AttributeError),
    "empty body": (on_the_wire.sends_empty_body(), NO_JSON, NO_JSON, NO_JSON),
    "broken JSON": (on_the_wire.sends_broken_json(), NO_JSON, NO_JSON, NO_JSON),
    "bottomless JSON": (on_the_wire.sends_bottomless_json(), *[RecursionError] * 3),
    "invalid UTF-8": (on_the_wire.sends_invalid_utf8(GOOD), *[UnicodeDecodeError] * 3),
    "said to be gzip": (always(Answer(b"{}", headers={"content-encoding": "gzip"})), *[LOST] * 3),
    "mislabelled": (on_the_wire.mislabels(GOOD), Message, Message, Message),
    "a lot": (on_the_wire.says_a_lot(), Message, Message, ValidationError),
    "no content": (on_the_wire.says_nothing(), Message, Message, Message),
    "prose": (on_the_wire.says_prose(), Message, Message, ValidationError),
    "other schema": (on_the_wire.says_other_schema(), Message, Message, ValidationError),
    "in parts": (on_the_wire.says_in_parts(GOOD[:9], GOOD[9:]), Message, Message, ValidationError),
    "said twice": (on_the_wire.says_in_parts(GOOD, GOOD), Message, Message, Message),
    "max_tokens": (on_the_wire.runs_out_of_tokens(GOOD), Message, Message, ValidationError),
    "context full": (on_the_wire.runs_out_of_context(GOOD), Message, Message, ValidationError),
    "refusal": (on_the_wire.refuses(), Message, Message, ValidationError),
    "refusal, no category": (on_the_wire.refuses(None), Message, Message, ValidationError),
    "refusal, new category": (on_the_wire.refuses("new"), Message, INVALID, ValidationError),
    "thinks first": (on_the_wire.thinks_first(GOOD), Message, Message, Message),
    "unknown block": (on_the_wire.thinks_first(GOOD, "musing"), Message, INVALID, UserWarning),
    "unknown stop reason": (says(GOOD, stop_reason="new"), Message, INVALID, Message),
    "unknown field": (says(GOOD, novelty={"a": 1}), Message, Message, Message),
    "no usage": (says(GOOD, usage=None), Message, INVALID, Message),
    "text is null": (
        on_the_wire.message([{"type": "text", "text": None}]),
        *(Message, INVALID, ValidationError),
    ),
}


@pytest.mark.parametrize(("behaviour", "create", "strict", "parse"), ANSWERS.values(), ids=ANSWERS)
def test_what_an_answer_becomes(
    api: MessagesApi, behaviour: Behaviour, create: type, strict: type, parse: type
) -> None:
    api.plays(behaviour)
    options = {"timeout": 0.3 if create is LATE else 10}
    with (
        client_of(api, **options) as client,
        client_of(api, **options, _strict_response_validation=True) as careful,
    ):
        assert outcome(lambda: client.messages.create(**QUESTION)) is create
        assert outcome(lambda: careful.messages.create(**QUESTION)) is strict
        assert outcome(lambda: client.messages.parse(**QUESTION, output_format=Advice)) is parse


ERRORS = {
    400: anthropic.BadRequestError,
    401: anthropic.AuthenticationError,
    402: anthropic.PaymentRequiredError,
    403: anthropic.PermissionDeniedError,
    404: anthropic.NotFoundError,
    408: anthropic.RequestTimeoutError,
    409: anthropic.ConflictError,
    413: anthropic.ContentTooLargeError,
    418: anthropic.APIStatusError,
    422: anthropic.UnprocessableEntityError,
    429: anthropic.RateLimitError,
    500: anthropic.InternalServerError,
    501: anthropic.HTTPNotImplementedError,
    502: anthropic.InternalServerError,
    503: anthropic.ServiceUnavailableError,
    504: anthropic.GatewayTimeoutError,
    529: anthropic.OverloadedError,
}


@pytest.mark.parametrize(("status", "error"), ERRORS.items(), ids=str)
def test_an_error_has_the_class_of_its_status(
    api: MessagesApi, status: int, error: type[anthropic.APIStatusError]
) -> None:
    api.plays(fails(status))
    with pytest.raises(anthropic.APIStatusError) as raised:
        ask(api)
    assert type(raised.value) is error
    assert raised.value.status_code == status
    assert raised.value.type == on_the_wire.ERROR_TYPES.get(status, "api_error")
    assert str(raised.value.request_id).startswith("req_")
    assert raised.value.error_code is None


def test_an_error_code_makes_a_class_of_its_own(api: MessagesApi) -> None:
    api.plays(fails(429, details={"error_code": "enforced_spend_limit_reached"}))
    with pytest.raises(anthropic.RateLimitError) as raised:
        ask(api)
    assert raised.value.error_code == "enforced_spend_limit_reached"
    assert type(raised.value).__name__ == "EnforcedSpendLimitReachedError"


def test_a_good_answer_tells_text_and_usage(api: MessagesApi) -> None:
    answer = ask(api)
    assert [block.text for block in answer.content] == [GOOD]
    assert (answer.model, answer.stop_reason) == (QUESTION["model"], "end_turn")
    assert answer.usage.cache_read_input_tokens == 1_000
    assert answer._request_id.startswith("req_")


def test_a_refusal_tells_its_category(api: MessagesApi) -> None:
    api.plays(on_the_wire.refuses("cyber"))
    answer = ask(api)
    assert (answer.stop_reason, answer.stop_details.category) == ("refusal", "cyber")


def test_an_unknown_block_keeps_its_type_and_has_no_text(api: MessagesApi) -> None:
    api.plays(on_the_wire.thinks_first(GOOD, "musing"))
    thought, text = ask(api).content
    assert (thought.type, text.type, text.text) == ("musing", "text", GOOD)
    assert thought.thinking == "Let me see."


def test_another_shape_becomes_a_message_of_nothing(api: MessagesApi) -> None:
    api.plays(on_the_wire.sends_other_shape())
    answer = ask(api)
    assert (answer.id, answer.content, answer.stop_reason, answer.usage) == (None,) * 4


def test_no_content_is_parsed_as_nothing(api: MessagesApi) -> None:
    api.plays(on_the_wire.says_nothing())
    with client_of(api) as client:
        assert client.messages.parse(**QUESTION, output_format=Advice).parsed_output is None


def test_no_timeout_ends_an_answer_that_drips(api: MessagesApi) -> None:
    """The timeout is one of each read: only who watches the time of the whole gets away."""
    api.plays(on_the_wire.never_ends())
    with ThreadPoolExecutor() as pool:
        asking = pool.submit(outcome, lambda: ask(api, timeout=0.6))
        with pytest.raises(TimeoutError):
            asking.result(1.5)
        api.close()
        assert asking.result(5) is LOST


def test_a_deadline_ends_an_answer_that_drips(api: MessagesApi) -> None:
    """A transport of the client's own can look at the clock between two reads."""
    api.plays(on_the_wire.never_ends())

    class Impatient(httpx2.HTTPTransport):
        def handle_request(self, request: httpx2.Request) -> httpx2.Response:
            deadline = time.monotonic() + 0.4
            response = super().handle_request(request)
            assert isinstance(response.stream, httpx2.SyncByteStream)
            response.stream = Bounded(response.stream, deadline)
            return response

    class Bounded(httpx2.SyncByteStream):
        def __init__(self, stream: httpx2.SyncByteStream, deadline: float) -> None:
            self._stream = stream
            self._deadline = deadline

        def __iter__(self) -> Iterator[bytes]:
            for part in self._stream:
                if time.monotonic() > self._deadline:
                    raise httpx2.ReadTimeout("The answer takes too long as a whole.")
                yield part

        def close(self) -> None:
            self._stream.close()

    http_client = anthropic.DefaultHttpxClient(transport=Impatient(verify=NO_AUTHORITIES))
    assert outcome(lambda: ask(api, http_client=http_client)) is LATE
    until(lambda: api.at_once == 0)


def test_who_is_not_there_is_a_lost_connection(api: MessagesApi) -> None:
    api.close()
    assert outcome(lambda: ask(api)) is LOST


def test_a_missing_key_is_noticed_at_the_first_call(api: MessagesApi) -> None:
    with client_of(api, api_key=None) as client, pytest.raises(TypeError, match="authentication"):
        client.messages.create(**QUESTION)
    assert api.requests == []


def test_a_folder_of_profiles_without_one_stops_the_constructor(
    api: MessagesApi, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Not so with a key: then nothing else is looked for."""
    monkeypatch.setenv("ANTHROPIC_CONFIG_DIR", str(tmp_path))
    with pytest.raises(anthropic.CredentialsError):
        anthropic.Anthropic(base_url=api.url)
    assert isinstance(ask(api), Message)


def test_a_retry_waits_as_long_as_the_api_says(
    api: MessagesApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    naps: list[float] = []
    monkeypatch.setattr("anthropic._base_client.time.sleep", naps.append)
    api.plays([fails(429, retry_after=86_400), says(GOOD)])
    assert isinstance(ask(api, max_retries=1), Message)
    assert naps == [86_400]
    assert [r.headers["x-stainless-retry-count"] for r in api.requests] == ["0", "1"]


def test_the_api_can_forbid_a_retry(api: MessagesApi) -> None:
    api.plays([fails(529, headers={"x-should-retry": "false"}), says(GOOD)])
    assert outcome(lambda: ask(api, max_retries=2)) is anthropic.OverloadedError
    assert len(api.requests) == 1


def test_without_retries_the_wish_to_wait_is_in_the_error(api: MessagesApi) -> None:
    api.plays(fails(429, retry_after=86_400))
    with pytest.raises(anthropic.RateLimitError) as raised:
        ask(api)
    assert raised.value.response.headers["retry-after"] == "86400"


def test_requests_are_kept_without_the_key(api: MessagesApi) -> None:
    ask(api)
    (request,) = api.requests
    assert request.body == QUESTION
    assert request.headers["authorization"] == "redacted"
    assert request.headers["anthropic-version"] == "2026-10-21"
    assert "test-key" not in repr(request)


def test_a_behaviour_sees_the_request(api: MessagesApi) -> None:
    api.plays(lambda body: says(body["messages"][0]["content"])(body))
    assert ask(api).content[0].text == "Is this wise?"


def test_behaviours_follow_each_other_and_the_last_stays(api: MessagesApi) -> None:
    api.plays([says("one"), fails(500), says("three")])
    with client_of(api) as client:
        seen = [outcome(lambda: client.messages.create(**QUESTION)) for _ in range(4)]
    assert seen == [Message, anthropic.InternalServerError, Message, Message]


def test_another_path_is_not_found(api: MessagesApi) -> None:
    with client_of(api) as client, pytest.raises(anthropic.NotFoundError):
        client.messages.count_tokens(model="m", messages=QUESTION["messages"])


def test_what_a_behaviour_raises_is_raised_on_leaving() -> None:
    def stumbles(body: Any) -> Answer:
        raise KeyError(body["model"])

    with pytest.raises(KeyError, match=QUESTION["model"]), MessagesApi(stumbles) as api:
        assert outcome(lambda: ask(api)) is LOST


def test_calls_one_after_the_other_are_never_two_at_once(api: MessagesApi) -> None:
    for _ in range(10):
        ask(api)
    assert (len(api.requests), api.most_at_once, api.at_once) == (10, 1, 0)


def test_calls_at_once_are_counted(api: MessagesApi) -> None:
    together = threading.Barrier(4)

    def meets(body: Any) -> Answer:
        together.wait(10)
        return says(GOOD)(body)

    api.plays(meets)
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: ask(api), range(4)))
    assert [type(answer) for answer in answers] == [Message] * 4
    assert (api.most_at_once, api.at_once) == (4, 0)


def test_who_gave_up_is_not_counted_any_more(api: MessagesApi) -> None:
    api.plays(on_the_wire.never_starts())
    assert outcome(lambda: ask(api, timeout=0.1)) is LATE
    until(lambda: api.at_once == 0)


WHOLE = b"POST /v1/messages HTTP/1.1\r\ncontent-length: 13\r\n\r\n" + b'{"model":"m"}'


@pytest.mark.parametrize(
    ("behaviour", "sent"),
    [
        pytest.param(says(GOOD), b"", id="nothing sent yet"),
        pytest.param(says(GOOD), WHOLE[:-5], id="request half sent"),
        pytest.param(says(GOOD), WHOLE, id="waiting for the next request"),
        pytest.param(slowly(60, says(GOOD)), WHOLE, id="answering slowly"),
        pytest.param(on_the_wire.never_starts(), WHOLE, id="never answering"),
        pytest.param(on_the_wire.never_ends(), WHOLE, id="answering for ever"),
        pytest.param(on_the_wire.says_a_lot(), WHOLE, id="answer not taken"),
    ],
)
def test_closing_ends_whatever_is_under_way(behaviour: Behaviour, sent: bytes) -> None:
    before = set(threading.enumerate())
    with MessagesApi(behaviour) as api:
        address = ("127.0.0.1", int(api.url.rpartition(":")[2]))
        with closing(socket.create_connection(address, timeout=10)) as connection:
            connection.sendall(sent)
            until(lambda: len(set(threading.enumerate()) - before) == 2)
            if sent == WHOLE:
                until(lambda: api.requests)
            began = time.monotonic()
            api.close()
            assert time.monotonic() - began < 1
            assert set(threading.enumerate()) == before
            with suppress(ConnectionResetError):
                while connection.recv(1 << 20):
                    pass


def test_an_answer_may_be_changed_in_any_way(api: MessagesApi) -> None:
    api.plays(lambda body: replace(says(GOOD)(body), headers={"request-id": "req_mine"}))
    assert ask(api)._request_id == "req_mine"
