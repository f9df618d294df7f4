from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forge_core.errors import Refused
from forge_core.members.levels import (
    DEFAULT_WEIGHTS,
    Role,
    TrustLevel,
    can_access,
    parse_level,
    parse_role,
)

SEED = {"CORE": (100, "5"), "TRUSTED": (80, "3"), "STANDARD": (60, "1"), "SANDBOX": (40, "0.5")}
SEED["QUARANTINE"] = (0, "0")


def test_scores_and_weights_are_the_seeds():
    assert {str(level): (level.score, DEFAULT_WEIGHTS[level]) for level in TrustLevel} == SEED


@given(st.sampled_from(TrustLevel), st.sampled_from(TrustLevel))
def test_levels_are_ordered_by_trust_never_by_spelling(one, other):
    assert (one < other, one <= other, one > other, one >= other) == (
        one.score < other.score,
        one.score <= other.score,
        one.score > other.score,
        one.score >= other.score,
    )
    assert can_access(one, other) == (one.score >= other.score)


def test_a_level_is_not_ordered_against_plain_text():
    with pytest.raises(TypeError):
        sorted([TrustLevel.CORE, "QUARANTINE"])


@pytest.mark.parametrize("value", ["core", "CORE ", "", "ADMIN", None, 100, True, ["CORE"]])
def test_an_unknown_level_is_refused_by_name(value):
    with pytest.raises(Refused, match="the trust levels are CORE, TRUSTED, STANDARD") as refused:
        parse_level("new_trust", value)
    assert refused.value.code == "TRUST_LEVEL_UNKNOWN"


@pytest.mark.parametrize("value", ["Admin", "", "owner", None, 1, ["admin"]])
def test_an_unknown_role_is_refused_by_name(value):
    with pytest.raises(Refused, match="the roles are admin, guardian, reviewer") as refused:
        parse_role("role", value)
    assert refused.value.code == "ROLE_UNKNOWN"


def test_known_names_are_read():
    assert [parse_level("level", str(level)) for level in TrustLevel] == list(TrustLevel)
    assert [parse_role("role", str(role)) for role in Role] == list(Role)
