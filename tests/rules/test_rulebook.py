"""The rules of the immune system as governance may set them, and how far they are answered."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forge_core.capabilities.declaration import CapabilityClass
from forge_core.clock import rfc3339
from forge_core.errors import Refused
from forge_core.immune.answer import Circumstances, Why, answer_to
from forge_core.immune.detectors.finding import Subject
from forge_core.immune.rulebook import (
    ALLOWLIST_KEY,
    CAPABILITIES,
    GOVERNED,
    RESPONSES_KEY,
    RULEBOOK,
    InForce,
    Mode,
    Rung,
)

NOW = datetime(2026, 11, 1, tzinfo=UTC)
BY_KEY = {one.key: one for one in CAPABILITIES}


def test_everything_that_may_be_set_is_a_rule_and_takes_the_protected_track():
    assert {one.klass for one in CAPABILITIES} == {CapabilityClass.RULE}
    assert {one.key for one in RULEBOOK} == set(BY_KEY) - {RESPONSES_KEY, ALLOWLIST_KEY}


@pytest.mark.parametrize("rule", RULEBOOK, ids=lambda rule: rule.rule.name)
def test_every_term_holds_its_bounds_and_what_is_left_out_stands_at_its_default(rule):
    check = BY_KEY[rule.key].check
    default = check({})
    assert default["mode"] == rule.mode
    for name, term in rule.terms.items():
        for edge in (term.least, term.most):
            assert check({name: edge}) == {**default, name: edge}
        step = 1 if isinstance(term.default, int) else Fraction(1, 1_000)
        for beyond in (Fraction(term.least) - step, Fraction(term.most) + step):
            value = int(beyond) if isinstance(term.default, int) else f"{float(beyond):.3f}"
            with pytest.raises(Refused, match="VALUE_TYPE"):
                check({name: value})


@pytest.mark.parametrize(
    "value",
    [
        {"mode": "enforced"},
        {"rate": 0.5},
        {"rate": "NaN"},
        {"rate": "0." + "1" * 30},
        {"least_calls": True},
        {"least_calls": "10"},
        {"more": 1},
        [],
        "enforce",
    ],
)
def test_a_document_that_is_wrong_is_refused(value):
    with pytest.raises(Refused, match="VALUE_TYPE"):
        BY_KEY["immune.overlay.failure_rate"].check(value)


def test_of_two_modes_the_lower_one_holds():
    for mode in Mode:
        in_force = InForce.of({RESPONSES_KEY: {"mode": mode.value}})
        assert all(
            in_force.modes[one.rule.name] is min(mode, one.mode, key=list(Mode).index)
            for one in RULEBOOK
        )
        assert bool(in_force.terms) is (mode is not Mode.OFF)
    alone = InForce.of({"immune.auth.guessing": {"mode": "off"}})
    assert set(GOVERNED) - set(alone.terms) == {"auth.guessing"}


@pytest.mark.parametrize(
    ("allowed", "subject", "holds"),
    [
        ({"overlay": "scout"}, Subject("overlay", "scout"), True),
        ({"overlay": "scout"}, Subject("member", "scout"), False),
        ({"member": "tara"}, Subject("member", "tara"), True),
        ({"network": "192.0.2.0/24"}, Subject("address", "192.0.2.7"), True),
        ({"network": "192.0.2.0/24"}, Subject("address", "192.0.3.7"), False),
        ({"network": "::ffff:192.0.2.0/120"}, Subject("address", "192.0.2.7"), True),
        ({"network": "2001:db8::/32"}, Subject("address", "2001:db8:1:2::/64"), True),
        ({"network": "2001:db8::1"}, Subject("address", "2001:db8::/64"), True),
        ({"network": "2001:db8::/32"}, Subject("address", "192.0.2.7"), False),
    ],
)
def test_the_allowlist_holds_whom_it_names_until_its_end(allowed, subject, holds):
    def allows(entry, now):
        value = BY_KEY[ALLOWLIST_KEY].check({"allowed": [entry]})
        return InForce.of({ALLOWLIST_KEY: value}).allows(subject, now)

    assert allows(allowed, NOW) is holds
    until = {**allowed, "until": rfc3339(NOW)}
    assert allows(until, NOW - timedelta(seconds=1)) is holds
    assert allows(until, NOW) is False


circumstances = st.builds(
    Circumstances,
    mode=st.sampled_from([Mode.OBSERVE, Mode.ENFORCE]),
    earlier=st.integers(0, 3),
    known=st.booleans(),
    allowed=st.booleans(),
    paused=st.booleans(),
    core=st.booleans(),
    last_provider=st.booleans(),
    within_blast_radius=st.booleans(),
)


@given(st.sampled_from(RULEBOOK), circumstances)
def test_nobody_is_touched_unless_everything_speaks_for_it(rule, given_):
    answer = answer_to(rule, given_)
    clear = Circumstances(Mode.ENFORCE, given_.earlier)

    assert not answer.rung.touches or given_ == clear
    assert answer.rung.height <= answer_to(rule, clear).rung.height
    assert (answer.why is Why.LADDER) == (answer == answer_to(rule, clear))
    if answer.pending is not None:
        assert answer.rung is Rung.WARN
        assert answer.pending == answer_to(rule, clear).rung


@pytest.mark.parametrize("rule", RULEBOOK, ids=lambda rule: rule.rule.name)
def test_a_ladder_is_climbed_and_has_an_end(rule):
    clear = Circumstances(Mode.ENFORCE)
    climbed = [answer_to(rule, replace(clear, earlier=n)).rung for n in range(5)]

    assert climbed[: len(rule.ladder)] == list(rule.ladder)
    assert set(climbed[len(rule.ladder) :]) <= {rule.ladder[-1]}
