"""A time that is given is one moment, or refused with what would be one."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from forge_core.clock import parse_moment
from forge_core.errors import Refused


def test_a_moment_is_the_same_whatever_its_offset():
    noon = datetime(2027, 1, 5, 12, tzinfo=UTC)
    assert parse_moment("2027-01-05T12:00:00Z") == noon
    assert parse_moment("2027-01-05T14:00:00+02:00") == noon
    assert parse_moment(None) is None


@pytest.mark.parametrize("given", ["yesterday", "2027-01-05", "2027-01-05T12:00:00"])
def test_what_is_no_moment_is_refused_under_its_name_with_an_example(given):
    with pytest.raises(Refused) as refused:
        parse_moment(given, name="--since")
    assert refused.value.message == (
        f"--since is '{given}'; give date, time and offset from UTC, such as 2027-01-05T12:00:00Z"
    )
