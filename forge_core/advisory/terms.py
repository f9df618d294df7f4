"""On what terms a model is asked: one registered value of class ``rule``."""

from __future__ import annotations

import json
from enum import StrEnum
from functools import lru_cache
from typing import Annotated, Final

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints
from sqlalchemy import text
from sqlalchemy.orm import Session

from forge_core.capabilities.declaration import Capability, CapabilityClass
from forge_core.errors import Refused
from forge_core.exact import parse_decimal, to_decimal_string

KEY: Final = "advice.model"

_VALUE = text("SELECT value FROM setting_values WHERE key = :key")


def _price(value: str) -> str:
    try:
        price = parse_decimal(value)
    except Refused as refusal:
        raise ValueError(refusal.message) from refusal  # pydantic says where it stands
    if not 0 <= price <= _PRICE_MOST:
        raise ValueError(f"0 to {_PRICE_MOST:,} is allowed")
    return to_decimal_string(price)


_PRICE_MOST: Final = 1_000_000
_Price = Annotated[str, StringConstraints(max_length=20), AfterValidator(_price)]


class Mode(StrEnum):
    """Who is asked: nobody, one adviser, a council in one call, a council with a call for each."""

    OFF = "off"
    SINGLE = "single"
    COUNCIL = "council"
    COUNCIL_OF_CALLS = "council_of_calls"


class Effort(StrEnum):
    """How hard the model thinks; the API's own words."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"


class Terms(BaseModel):
    """``seconds`` are those of one call, ``answer_tokens`` its longest answer.

    ``tokens_a_day`` bounds all calls of a day (UTC); ``at_once`` how many are under way. Where
    ``batch_from`` or more wait, they are asked about in a batch; 0 is never. Prices are those of a
    million tokens, in any currency; 0 is unknown.
    """

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    mode: Annotated[Mode, Field(strict=False)] = Mode.SINGLE
    model: Annotated[str, StringConstraints(pattern=r"\A[a-zA-Z0-9._:@/-]{1,100}\z")] = (
        "claude-sonnet-5-5"
    )
    effort: Annotated[Effort, Field(strict=False)] = Effort.LOW
    seconds: Annotated[int, Field(ge=5, le=120)] = 20
    answer_tokens: Annotated[int, Field(ge=500, le=16_000)] = 3_000
    tokens_a_day: Annotated[int, Field(ge=0, le=1_000_000_000)] = 2_000_000
    at_once: Annotated[int, Field(ge=1, le=64)] = 4
    batch_from: Annotated[int, Field(ge=0, le=100_000)] = 0
    input_price: _Price = "0"
    output_price: _Price = "0"


CAPABILITIES: Final = (
    Capability(
        key=KEY,
        klass=CapabilityClass.RULE,
        description="whether a model advises beside the rules: which one, how hard it thinks, how "
        "long it may take, and how many tokens a day it may use",
        model=Terms,
        default={},
    ),
)


def terms_in_force(session: Session) -> Terms:
    """As governance has set them now."""
    value = session.execute(_VALUE, {"key": KEY}).scalar_one_or_none()
    return _parsed(json.dumps(value or {}))


@lru_cache(maxsize=8)
def _parsed(value: str) -> Terms:
    return Terms.model_validate_json(value)
