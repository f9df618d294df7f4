"""What every type of proposal does, as its preview says, and everything that it is refused for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from pydantic import BaseModel, ConfigDict

from forge_core.capabilities.declaration import Capability, CapabilityClass
from forge_core.clock import parse_moment, rfc3339
from forge_core.database import transaction
from forge_core.errors import Refused
from forge_core.exact import parse_decimal, to_decimal_string
from forge_core.ids import uuid7
from forge_core.immune.rulebook import ALLOWLIST_KEY
from forge_core.wiring import CATALOGUE
from tests.conftest import _servers
from tests.core.conftest import _house
from tests.core.factories import FULL_FOUNDERS, House, catalogue_with
from tests.core.full_house import (
    CASES,
    GRANT,
    MODULE,
    PARAMETER,
    PAUSE,
    REGISTRATION,
    SOURCE,
    SWITCH,
    Case,
    carried,
    clock_stopped,
    done,
    effects,
    now_rows,
    planned,
    platform_key,
    prepare,
    preview,
    queued,
    reason,
    ripe,
    setting,
    standing,
    tried,
    undo,
    warned,
)


@pytest.fixture(scope="module")
def full_shared(pytestconfig: pytest.Config, full_template: str) -> Iterator[House]:
    """One house for what leaves nothing behind but drafts."""
    with _house(_servers(pytestconfig), full_template, FULL_FOUNDERS) as house:
        yield house


# The effect


@pytest.mark.parametrize("name", CASES)
def test_an_executed_proposal_does_what_it_says(full_house, name):
    case = CASES[name]
    prepare(full_house, case)
    assert full_house.sql(case.shows) == list(case.was)

    proposal = done(full_house, case.proposer, **case.given)

    assert full_house.sql(case.shows) == case.expected(proposal)
    rows = full_house.derived_rows()
    full_house.refold()
    assert full_house.derived_rows() == rows


@pytest.mark.parametrize("name", CASES)
def test_a_preview_is_exactly_what_happens(full_house, name):
    """The effects that are recorded, and every derived row with every column."""
    case = CASES[name]
    prepare(full_house, case)
    proposal = queued(full_house, case.proposer, **case.given)
    ripe(full_house, proposal)
    before = full_house.derived_rows()

    with clock_stopped(full_house):
        shown = preview(full_house, proposal)
        assert full_house.derived_rows() == before  # a preview leaves no trace
        full_house.perform("enforcement.execute")

    assert full_house.status(proposal) == "executed"
    happened = effects(full_house, proposal)
    assert happened == [{**effect, "type": case.type} for effect in shown.effects]
    assert now_rows(full_house) == shown.rows


def test_every_type_of_proposal_has_its_case():
    types = {case.type for case in CASES.values()} - {"grant_award"}
    assert types == set(CATALOGUE.types) - {"rollback"}


# Every key


def another(declared: Capability) -> Any:
    """A legal value beside the default, near it; None where the bounds allow one value only."""
    default: Any = declared.default
    if declared.type == "boolean":
        return not default
    if declared.model is not None:
        if "mode" not in default:
            return {"allowed": [{"network": "192.0.2.0/24"}]}
        return {**default, "mode": "off"}
    if declared.type == "time":
        return rfc3339(parse_moment(default) + timedelta(days=1))
    if declared.type == "integer":
        near = [default + 1, default - 1]
    else:
        step = parse_decimal("0.01")
        near = [to_decimal_string(parse_decimal(default) + by) for by in (step, -step)]
    for value in near:
        if not refused(partial(declared.check, value)):
            return value
    return None


def refused(check: Callable[[], object]) -> bool:
    try:
        check()
    except Refused:
        return True
    return False


def of_class(*classes: CapabilityClass) -> list[Capability]:
    return [one for one in CATALOGUE if one.klass in classes]


def setting_all(declared: list[Capability], value: Callable[[Capability], Any]) -> dict[str, Any]:
    changes = [(one.key, value(one)) for one in declared]
    actions = [{"key": key, "new_value": new} for key, new in changes if new is not None]
    return {"actions": actions}


def values_of(house: House) -> dict[str, Any]:
    return dict(house.sql("SELECT key, value FROM setting_values"))


ORDINARY_KEYS = of_class(CapabilityClass.ORDINARY)
NUMBERS = of_class(CapabilityClass.ORDINARY, CapabilityClass.PROTOCOL)
RULES = of_class(CapabilityClass.RULE, CapabilityClass.TREASURY)
NUMBERED = [one for one in RULES if one.model is None]
DOCUMENTS = [one for one in RULES if one.model is not None and one.key != ALLOWLIST_KEY]
"""Several actions nest deeper than one, and too deep for the allowlist."""
SWITCHES = of_class(CapabilityClass.FEATURE)


def test_every_key_is_of_a_class_that_is_changed_here():
    assert len(NUMBERS) + len(RULES) + len(SWITCHES) == len(CATALOGUE) > 70


@pytest.mark.parametrize(
    "value",
    [another, lambda one: one.check(one.least), lambda one: one.check(one.most)],
    ids=["another", "least", "most"],
)
@pytest.mark.parametrize("declared", [ORDINARY_KEYS, NUMBERS], ids=["ordinary", "with protocol"])
def test_every_parameter_takes_every_legal_value_and_is_put_back(full_house, declared, value):
    """INV-36, INV-39: at both ends of its bounds as well."""
    payload = setting_all(declared, value)
    before = standing(full_house)

    proposal = done(full_house, type="configuration", payload=payload)

    assert values_of(full_house) == {one.key: value(one) for one in declared}
    assert len(effects(full_house, proposal)) == len(declared)
    undo(full_house, proposal)
    assert full_house.status(proposal) == "rolled_back"
    assert standing(full_house) == before


def test_every_feature_is_switched_and_put_back(full_house):
    """INV-36."""
    changes = {one.key: not one.default for one in SWITCHES}
    actions = [
        {"feature": key.removeprefix("feature."), "enabled": on} for key, on in changes.items()
    ]
    before = standing(full_house)

    proposal = done(full_house, type="feature_activation", payload={"actions": actions})

    assert values_of(full_house) == changes
    undo(full_house, proposal)
    assert standing(full_house) == before


def test_every_rule_is_changed_at_once_and_put_back_under_the_rules_it_set(full_house):
    """INV-36, INV-38."""
    payload = setting_all(NUMBERED, another)
    fixed = {one.key for one in NUMBERED if another(one) is None}
    before = standing(full_house)

    proposal = done(full_house, type="governance_rule", payload=payload)

    assert fixed == {
        "trust.weight.QUARANTINE",
        "track.emergency.voting_hours",
        "track.emergency.voting_hours_least",
    }
    assert set(values_of(full_house)) == {one.key for one in NUMBERED} - fixed
    rollback = undo(full_house, proposal)
    assert full_house.column(rollback, "terms ->> 'reviewers'") == "6"
    assert full_house.status(proposal) == "rolled_back"
    assert standing(full_house) == before


def test_every_document_is_changed_at_once_and_put_back(full_house):
    """INV-36."""
    before = standing(full_house)
    payload = setting_all(DOCUMENTS, another)

    proposal = done(full_house, type="governance_rule", payload=payload)

    assert values_of(full_house) == {one.key: another(one) for one in DOCUMENTS}
    undo(full_house, proposal)
    assert full_house.status(proposal) == "rolled_back"
    assert standing(full_house) == before


# As many as the default hours already: it goes up together with them only.
ALONE = [
    one
    for one in SWITCHES + RULES
    if another(one) is not None and one.key != "track.protected.voting_hours_least"
]


@pytest.mark.parametrize("declared", ALONE, ids=lambda one: one.key)
def test_each_feature_and_rule_alone_is_previewed_as_it_would_be(full_shared, declared):
    value = another(declared)
    given = {
        CapabilityClass.FEATURE: (
            "feature_activation",
            {"feature": declared.key.removeprefix("feature."), "enabled": value},
        )
    }.get(declared.klass, ("governance_rule", {"key": declared.key, "new_value": value}))
    proposal = full_shared.propose("carl", type=given[0], payload=given[1])

    with transaction(full_shared.app) as session:
        (step,) = planned(session, CATALOGUE, proposal)

    change = step.planned
    assert (change.target, change.before, change.after) == (
        f"setting:{declared.key}",
        declared.default,
        declared.check(value),
    )


def beyond(declared: Capability, *, up: bool) -> Any:
    """The smallest step over a bound."""
    sign, bound = (1, declared.most) if up else (-1, declared.least)
    if declared.type == "time":
        return rfc3339(parse_moment(bound) + sign * timedelta(microseconds=1))
    if declared.type == "integer":
        return int(str(bound)) + sign
    return to_decimal_string(parse_decimal(bound) + sign * parse_decimal("0.000001"))


TYPES = {
    CapabilityClass.ORDINARY: "configuration",
    CapabilityClass.PROTOCOL: "configuration",
    CapabilityClass.RULE: "governance_rule",
    CapabilityClass.TREASURY: "governance_rule",
}


def test_every_bound_is_inclusive_and_one_step_beyond_it_is_refused_at_creation(full_house):
    """INV-39: for every key that has bounds, through the real command."""
    bounded = [one for one in CATALOGUE if one.least is not None]
    cases = {
        (one.key, edge): value
        for one in bounded
        for edge, value in (
            ("least", one.check(one.least)),
            ("most", one.check(one.most)),
            ("below", beyond(one, up=False)),
            ("above", beyond(one, up=True)),
        )
    }
    ids = {case: uuid7() for case in cases}
    commands = [
        {
            "command_id": str(ids[key, edge]),
            "kind": "proposals.create",
            "actor": "carl",
            "payload": {
                "type": TYPES[CATALOGUE.get(key).klass],
                "title": "A title",
                "description": "What for.",
                "payload": {"key": key, "new_value": value},
            },
        }
        for (key, edge), value in cases.items()
    ]
    full_house.submit_many(commands)
    while full_house.perform("proposals.create").full:
        pass

    answers = {case: full_house.answer(id_) for case, id_ in ids.items()}
    for (key, edge), answer in answers.items():
        at_default = cases[key, edge] == CATALOGUE.get(key).default
        within = (None, "NO_CHANGE") if at_default else (None,)
        expected = ("VALUE_OUT_OF_RANGE",) if edge in ("below", "above") else within
        assert answer.code in expected, (key, edge, answer)
    assert len(cases) == 4 * len(bounded) > 200


def test_bounds_are_checked_again_at_execution(full_house):
    """INV-39: a declaration that became narrower meanwhile."""
    full_house.use(catalogue_with(platform_key()))
    proposal = queued(
        full_house, "tara", type="configuration", payload={"key": "platform.colour", "new_value": 9}
    )
    full_house.use(catalogue_with(platform_key(most=8)))

    full_house.ripen(proposal)

    assert full_house.column(proposal, "failure") == "VALUE_OUT_OF_RANGE"
    assert values_of(full_house) == {}


def test_a_key_that_is_not_declared_any_more_fails_by_name(full_house):
    full_house.use(catalogue_with(platform_key()))
    proposal = queued(
        full_house, "tara", type="configuration", payload={"key": "platform.colour", "new_value": 9}
    )
    full_house.use(CATALOGUE)

    full_house.ripen(proposal)

    assert full_house.column(proposal, "failure") == "UNKNOWN_CAPABILITY"


def test_a_key_that_moved_to_a_stricter_class_is_not_changed_by_what_passed_a_weaker_track(
    full_house,
):
    full_house.use(catalogue_with(platform_key()))
    payload = {"key": "platform.colour", "new_value": 9}
    proposal = queued(full_house, "tara", type="configuration", payload=payload)
    draft = full_house.propose("tara", type="configuration", payload=payload)
    full_house.use(catalogue_with(platform_key(klass=CapabilityClass.PROTOCOL)))

    full_house.ripen(proposal)
    opened = full_house.command("proposals.activate", "tara", {"proposal_id": draft})

    assert full_house.column(proposal, "failure") == "TRACK_CHANGED"
    assert opened.code == "TRACK_CHANGED"
    assert values_of(full_house) == {}


# What only the present state speaks against: warned of at creation, failed at execution

LOW = {"key": "difficulty", "new_value": 6, "old_value": 5}
OTHER_PARAMETER = {
    "kind": "parameter",
    "name": "hue",
    "declaration": {**PARAMETER.payload["declaration"], "module": "nowhere"},
}


def renamed(case: Case, **changes: Any) -> dict[str, Any]:
    return {**case.payload, **changes}


def rule(key: str, new: object) -> tuple[str, dict[str, Any]]:
    return ("governance_rule", {"key": key, "new_value": new})


IMPOSSIBLE: Mapping[str, tuple[str, Mapping[str, Any], str, tuple[Case, ...]]] = {
    "a value that is another": ("configuration", LOW, "STALE_VALUE", ()),
    "an order between keys": (
        "configuration",
        {
            "actions": [
                {"key": "min_airdrop_amount", "new_value": 100},
                {"key": "max_airdrop_amount", "new_value": "99.9"},
            ]
        },
        "VALUES_CONTRADICT",
        (),
    ),
    "an order between keys, one of them changed": (
        "configuration",
        {"key": "max_airdrop_amount", "new_value": 19},
        "VALUES_CONTRADICT",
        (setting("min_airdrop_amount", "20"),),
    ),
    "an order between rules": (
        *rule("track.routine.voting_hours_least", 73),
        "VALUES_CONTRADICT",
        (),
    ),
    "a member unknown": (
        "trust_adjustment",
        {"member": "nobody", "current_trust": "SANDBOX", "new_trust": "STANDARD"},
        "MEMBER_UNKNOWN",
        (),
    ),
    "a level that is another": (
        "trust_adjustment",
        {"member": "sam", "current_trust": "STANDARD", "new_trust": "TRUSTED"},
        "STALE_VALUE",
        (),
    ),
    "the trust of an overlay unknown": (
        "trust_adjustment",
        {"overlay": "scout", "current_trust": "SANDBOX", "new_trust": "STANDARD"},
        "OVERLAY_UNKNOWN",
        (),
    ),
    "the trust of an overlay that is another": (
        "trust_adjustment",
        {"overlay": "scout", "current_trust": "STANDARD", "new_trust": "SANDBOX"},
        "STALE_VALUE",
        (REGISTRATION,),
    ),
    "an overlay twice": (
        "overlay_registration",
        REGISTRATION.payload,
        "OVERLAY_EXISTS",
        (REGISTRATION,),
    ),
    "the version of an overlay unknown": (
        "overlay_update",
        {"overlay": "scout", "current_version": "1.0.0", "new_version": "1.0.1"},
        "OVERLAY_UNKNOWN",
        (),
    ),
    "the version of a module unknown": (
        "overlay_update",
        {"module": "ledger", "current_version": "1.0.0", "new_version": "1.0.1"},
        "MODULE_UNKNOWN",
        (),
    ),
    "a version that is another": (
        "overlay_update",
        {"module": "ledger", "current_version": "0.9.0", "new_version": "1.0.1"},
        "STALE_VALUE",
        (MODULE,),
    ),
    "more than there is": (
        "treasury_allocation",
        {"recipient": "guild", "amount": "100.000000000000000001"},
        "INSUFFICIENT_BALANCE",
        (),
    ),
    "more than there is, together": (
        "treasury_allocation",
        {
            "actions": [
                {"recipient": "guild", "amount": "99.99"},
                {"recipient": "school", "amount": "0.02"},
            ]
        },
        "INSUFFICIENT_BALANCE",
        (),
    ),
    "a parameter of the code": (
        "registry_extension",
        renamed(PARAMETER, name="difficulty"),
        "EXTENSION_EXISTS",
        (),
    ),
    "a parameter under a feature's key": (
        "registry_extension",
        renamed(PARAMETER, name="feature.airdrops"),
        "EXTENSION_EXISTS",
        (),
    ),
    "a feature of the code": (
        "registry_extension",
        renamed(SWITCH, name="airdrops"),
        "EXTENSION_EXISTS",
        (),
    ),
    "a feature under a parameter's key": (
        "registry_extension",
        SWITCH.payload,
        "EXTENSION_EXISTS",
        (
            Case(
                "registry_extension",
                renamed(PARAMETER, name="feature.lanterns"),
                "SELECT 1",
            ),
        ),
    ),
    "a type of the code": (
        "registry_extension",
        renamed(GRANT, name="policy"),
        "EXTENSION_EXISTS",
        (),
    ),
    "a source twice": ("registry_extension", SOURCE.payload, "EXTENSION_EXISTS", (SOURCE,)),
    "one name for two": (
        "registry_extension",
        renamed(SOURCE, name="colour"),
        "EXTENSION_EXISTS",
        (PARAMETER,),
    ),
    "a module twice": ("registry_extension", MODULE.payload, "EXTENSION_EXISTS", (MODULE,)),
    "a parameter of a module unknown": (
        "registry_extension",
        OTHER_PARAMETER,
        "MODULE_UNKNOWN",
        (),
    ),
    "an adjustment too large": (
        "emergency",
        {"action": "adjust", "key": "block_reward", "new_value": "18.000001"},
        "ADJUSTMENT_TOO_LARGE",
        (),
    ),
    "an adjustment of what is another": (
        "emergency",
        {"action": "adjust", "key": "block_reward", "new_value": 12, "old_value": 13},
        "STALE_VALUE",
        (),
    ),
    "an adjustment against an order": (
        "emergency",
        {"action": "adjust", "key": "max_airdrop_amount", "new_value": 50},
        "VALUES_CONTRADICT",
        (setting("min_airdrop_amount", "51"),),
    ),
    "a pause longer than the rule allows": (
        "emergency",
        {"action": "pause", "hours": 25},
        "VALUE_OUT_OF_RANGE",
        (setting("emergency.pause_hours", 24, "governance_rule"),),
    ),
    "a resumption without a pause": ("emergency", {"action": "resume"}, "NO_CHANGE", ()),
}


@pytest.mark.parametrize("name", IMPOSSIBLE)
def test_what_the_state_forbids_is_warned_of_and_fails_without_effect(full_house, name):
    """INV-31, INV-32: warning, preview and failure say the same, and nothing has changed."""
    type_, payload, code, before = IMPOSSIBLE[name]
    prepare(full_house, Case(type_, payload, before=before))
    assert warned(full_house, type=type_, payload=payload) == code
    (*_, created) = full_house.entries("proposal.created")
    assert created["data"]["simulation"] == code
    proposal = queued(full_house, type=type_, payload=payload)
    was = now_rows(full_house)
    ripe(full_house, proposal)

    with pytest.raises(Refused) as refusal:
        preview(full_house, proposal)
    full_house.perform("enforcement.execute")

    assert refusal.value.code == code
    assert (full_house.status(proposal), full_house.column(proposal, "failure")) == ("failed", code)
    assert refusal.value.message == reason(full_house, proposal)
    assert effects(full_house, proposal) == []
    assert now_rows(full_house) == was


def test_a_proposal_without_a_warning_says_that_it_is_possible(full_house):
    assert (
        warned(full_house, type="configuration", payload={"key": "difficulty", "new_value": 5})
        is None
    )
    (created,) = full_house.entries("proposal.created")
    assert created["data"]["simulation"] == "possible"


def test_several_actions_happen_all_or_not_at_all(full_house):
    """INV-30: whichever of them fails."""
    first = {"key": "rate_limit.CORE", "new_value": 7}
    second = {"key": "rate_limit.TRUSTED", "new_value": 7}
    for stale_at in range(3):
        actions = [first, second]
        actions.insert(stale_at, {"key": "rate_limit.SANDBOX", "new_value": 7, "old_value": 8})
        proposal = carried(full_house, "tara", type="configuration", payload={"actions": actions})

        assert full_house.column(proposal, "failure") == "STALE_VALUE"
        assert effects(full_house, proposal) == []
        assert values_of(full_house) == {}
    assert full_house.entries("setting.changed") == []


RIVALS: Mapping[str, tuple[str, Mapping[str, Any], Mapping[str, Any]]] = {
    "a parameter": (
        "configuration",
        {"key": "difficulty", "new_value": 5},
        {"key": "difficulty", "new_value": 6},
    ),
    "a feature": (
        "feature_activation",
        {"feature": "airdrops", "enabled": False},
        {"feature": "airdrops", "enabled": False},
    ),
    "a rule": (
        "governance_rule",
        {"key": "track.routine.quorum", "new_value": "0.4"},
        {"key": "track.routine.quorum", "new_value": "0.5"},
    ),
    "a level": (
        "trust_adjustment",
        {"member": "stan", "current_trust": "STANDARD", "new_trust": "TRUSTED"},
        {"member": "stan", "current_trust": "STANDARD", "new_trust": "SANDBOX"},
    ),
    "a role": (
        "role_change",
        {"member": "stan", "role": "admin", "holds": True},
        {"member": "stan", "role": "admin", "holds": True},
    ),
}


@pytest.mark.parametrize("name", RIVALS)
def test_of_two_live_proposals_on_one_key_the_later_fails_as_stale(full_house, name):
    """INV-34: each of them voted, and where its track asks for it reviewed and signed off."""
    type_, one, other = RIVALS[name]
    proposals = [full_house.open("carl", type=type_, payload=payload) for payload in (one, other)]
    for proposal in proposals:
        full_house.approve(proposal)
    for proposal in proposals:
        full_house.end_voting(proposal)
        if full_house.status(proposal) == "approved":
            full_house.through_gates(proposal)
    first, second = proposals
    targets = full_house.sql("SELECT DISTINCT target FROM proposal_targets")
    assert len(targets) == 1
    full_house.ripen(first)
    after = now_rows(full_house)

    full_house.ripen(second)

    assert full_house.status(first) == "executed"
    assert full_house.column(second, "failure") == "STALE_VALUE"
    assert now_rows(full_house) == after


def test_a_proposal_carries_up_to_64_actions_in_their_order(full_house):
    texts = [f"Rule {number}." for number in range(64)]
    policies = [{"text": text} for text in texts]

    proposal = done(full_house, "tara", type="policy", payload={"actions": policies})

    found = full_house.sql(
        "SELECT body FROM policies JOIN texts ON commitment = policies.text ORDER BY action"
    )
    assert [body for (body,) in found] == texts
    assert [effect["action"] for effect in effects(full_house, proposal)] == list(range(64))


# What is refused whatever the state


def of(type_: str, **payload: Any) -> tuple[str, dict[str, Any]]:
    return (type_, payload)


def declared(case: Case, **changes: Any) -> tuple[str, dict[str, Any]]:
    """An extension with changes to its declaration; None leaves a key out."""
    declaration = {**case.payload["declaration"], **changes}
    kept = {key: value for key, value in declaration.items() if value is not None}
    return (case.type, {**case.payload, "declaration": kept})


MEMBER = {"member": "sam", "current_trust": "SANDBOX", "new_trust": "STANDARD"}
ALLOCATION = {"recipient": "guild", "amount": "1"}
ADJUST = {"action": "adjust", "key": "block_reward", "new_value": 12}

FORBIDDEN: Mapping[str, tuple[tuple[str, Any], str]] = {
    "no known type": (of("decree", text="x"), "UNKNOWN_PROPOSAL_TYPE"),
    "another type inside": (of("policy", text="x", type="emergency"), "TYPE_MISMATCH"),
    "another type inside an action": (
        of("policy", actions=[{"text": "x"}, {"text": "y", "type": "emergency"}]),
        "TYPE_MISMATCH",
    ),
    "no actions": (of("policy", actions=[]), "ACTIONS_COUNT"),
    "one action in a list": (of("policy", actions=[{"text": "x"}]), "ACTIONS_COUNT"),
    "65 actions": (of("policy", actions=[{"text": "x"}] * 65), "ACTIONS_COUNT"),
    "actions that are no list": (of("policy", actions={"text": "x"}), "PAYLOAD_WRONG_TYPE"),
    "an action that is no object": (of("policy", actions=["x", "y"]), "PAYLOAD_NOT_OBJECT"),
    "actions and more": (of("policy", actions=[{}, {}], text="x"), "PAYLOAD_UNKNOWN_KEY"),
    "actions in an action": (of("policy", actions=[{}, {"actions": []}]), "PAYLOAD_UNKNOWN_KEY"),
    "one key twice": (
        of("configuration", actions=[{"key": "difficulty", "new_value": n} for n in (5, 6)]),
        "ACTIONS_CONFLICT",
    ),
    "one member twice": (
        of("trust_adjustment", actions=[MEMBER, {**MEMBER, "new_trust": "TRUSTED"}]),
        "ACTIONS_CONFLICT",
    ),
    "a key unknown": (of("configuration", key="hardness", new_value=5), "UNKNOWN_CAPABILITY"),
    "a feature unknown": (
        of("feature_activation", feature="dragons", enabled=True),
        "UNKNOWN_CAPABILITY",
    ),
    "an integer as a float": (of("configuration", key="difficulty", new_value=5.0), "VALUE_TYPE"),
    "an integer as true": (of("configuration", key="difficulty", new_value=True), "VALUE_TYPE"),
    "an integer as text": (of("configuration", key="difficulty", new_value="5"), "VALUE_TYPE"),
    "a decimal as a float": (of("configuration", key="block_reward", new_value=5.5), "VALUE_TYPE"),
    "a decimal as true": (of("configuration", key="block_reward", new_value=True), "VALUE_TYPE"),
    "no number": (of("configuration", key="block_reward", new_value="NaN"), "NUMBER_INVALID"),
    "infinity": (of("configuration", key="block_reward", new_value="Infinity"), "NUMBER_INVALID"),
    "a time without its offset": (
        of("governance_rule", key="fiat_unlock.opens_at", new_value="2026-03-12T00:00:00"),
        "VALUE_TYPE",
    ),
    "a switch as a number": (
        of("governance_rule", key="track.routine.tie_passes", new_value=0),
        "VALUE_TYPE",
    ),
    "a feature as a number": (
        of("feature_activation", feature="airdrops", enabled=0),
        "PAYLOAD_WRONG_TYPE",
    ),
    "a rule by configuration": (
        of("configuration", key="track.protected.approval", new_value="0.51"),
        "TYPE_MISMATCH",
    ),
    "a rule among parameters": (
        of(
            "configuration",
            actions=[
                {"key": "difficulty", "new_value": 5},
                {"key": "trust.weight.CORE", "new_value": 900},
            ],
        ),
        "TYPE_MISMATCH",
    ),
    "a feature by configuration": (
        of("configuration", key="feature.airdrops", new_value=False),
        "TYPE_MISMATCH",
    ),
    "a parameter by governance_rule": (
        of("governance_rule", key="difficulty", new_value=5),
        "TYPE_MISMATCH",
    ),
    "a parameter as a feature": (
        of("feature_activation", feature="../difficulty", enabled=True),
        "UNKNOWN_CAPABILITY",
    ),
    "CORE by vote": (
        of("trust_adjustment", **{**MEMBER, "new_trust": "CORE"}),
        "CORE_NOT_GRANTED",
    ),
    "CORE for an overlay": (
        of("trust_adjustment", overlay="scout", current_trust="SANDBOX", new_trust="CORE"),
        "CORE_NOT_GRANTED",
    ),
    "a level as it is": (of("trust_adjustment", **{**MEMBER, "new_trust": "SANDBOX"}), "NO_CHANGE"),
    "a level unknown": (
        of("trust_adjustment", **{**MEMBER, "new_trust": "GOD"}),
        "TRUST_LEVEL_UNKNOWN",
    ),
    "a member and an overlay": (
        of("trust_adjustment", **MEMBER, overlay="scout"),
        "PAYLOAD_WRONG_TYPE",
    ),
    "neither member nor overlay": (
        of("trust_adjustment", current_trust="SANDBOX", new_trust="STANDARD"),
        "PAYLOAD_WRONG_TYPE",
    ),
    "one's own level": (
        of("trust_adjustment", member="carl", current_trust="TRUSTED", new_trust="TRUSTED"),
        "NO_CHANGE",
    ),
    "a feature as it is": (
        of("feature_activation", feature="airdrops", enabled=True),
        "NO_CHANGE",
    ),
    "a role of nobody": (
        of("role_change", member="nobody", role="admin", holds=True),
        "MEMBER_UNKNOWN",
    ),
    "a role held": (of("role_change", member="otto", role="operator", holds=True), "NO_CHANGE"),
    "a role not held": (of("role_change", member="otto", role="admin", holds=False), "NO_CHANGE"),
    "a feature and a parameter of one key": (
        of(
            "registry_extension",
            actions=[SWITCH.payload, renamed(PARAMETER, name="feature.lanterns")],
        ),
        "ACTIONS_CONFLICT",
    ),
    "a role unknown": (of("role_change", member="sam", role="king", holds=True), "ROLE_UNKNOWN"),
    "one's own role": (of("role_change", member="carl", role="admin", holds=True), "OWN_RAISE"),
    "an overlay and a module": (
        of(
            "overlay_update",
            overlay="a",
            module="b",
            current_version="1.0.0",
            new_version="1.0.1",
        ),
        "PAYLOAD_WRONG_TYPE",
    ),
    "a version as it is": (
        of("overlay_update", module="b", current_version="1.0.0", new_version="1.0.0"),
        "NO_CHANGE",
    ),
    "no version": (
        of("overlay_update", module="b", current_version="1.0.0", new_version="two"),
        "VERSION_INVALID",
    ),
    "an amount of zero": (
        of("treasury_allocation", **{**ALLOCATION, "amount": "0.00"}),
        "AMOUNT_NOT_POSITIVE",
    ),
    "a negative amount": (
        of("treasury_allocation", **{**ALLOCATION, "amount": -1}),
        "AMOUNT_NOT_POSITIVE",
    ),
    "an amount as a float": (
        of("treasury_allocation", **{**ALLOCATION, "amount": 1.5}),
        "NUMBER_INVALID",
    ),
    "an amount that is no number": (
        of("treasury_allocation", **{**ALLOCATION, "amount": "NaN"}),
        "NUMBER_INVALID",
    ),
    "an amount as true": (
        of("treasury_allocation", **{**ALLOCATION, "amount": True}),
        "NUMBER_INVALID",
    ),
    "the treasury to itself": (
        of("treasury_allocation", **{**ALLOCATION, "recipient": "treasury"}),
        "NO_CHANGE",
    ),
    "an extension of no kind": (
        of("registry_extension", kind="law", name="x", declaration={}),
        "PAYLOAD_WRONG_TYPE",
    ),
    "least above most": (declared(PARAMETER, least=5, most=4), "EXTENSION_INVALID"),
    "a default out of bounds": (declared(PARAMETER, default=10), "EXTENSION_INVALID"),
    "a default of another type": (declared(PARAMETER, default="1"), "EXTENSION_INVALID"),
    "a bogus type": (declared(PARAMETER, type="complex"), "PAYLOAD_WRONG_TYPE"),
    "a bogus class": (declared(PARAMETER, klass="emergency"), "PAYLOAD_WRONG_TYPE"),
    "one bound only": (declared(PARAMETER, most=None), "EXTENSION_INVALID"),
    "a number without bounds": (declared(PARAMETER, least=None, most=None), "EXTENSION_INVALID"),
    "a switch with bounds": (
        declared(PARAMETER, type="boolean", default=True),
        "EXTENSION_INVALID",
    ),
    "a bound as a float": (declared(PARAMETER, most=9.5), "EXTENSION_INVALID"),
    "a declaration with more": (declared(PARAMETER, apply="os.system"), "EXTENSION_INVALID"),
    "a declaration with less": (declared(PARAMETER, description=None), "EXTENSION_INVALID"),
    "a name that is no key": (
        of("registry_extension", **renamed(PARAMETER, name="a:b")),
        "EXTENSION_INVALID",
    ),
    "a type without fields": (declared(GRANT, fields={}), "EXTENSION_INVALID"),
    "a type with 21 fields": (
        declared(GRANT, fields={f"f{n}": "text" for n in range(21)}),
        "EXTENSION_INVALID",
    ),
    "a field of no type": (declared(GRANT, fields={"why": "float"}), "EXTENSION_INVALID"),
    "a field named type": (declared(GRANT, fields={"type": "text"}), "EXTENSION_INVALID"),
    "a field named actions": (declared(GRANT, fields={"actions": "text"}), "EXTENSION_INVALID"),
    "a field of the model": (declared(GRANT, fields={"json": "text"}), "EXTENSION_INVALID"),
    "a field in capitals": (declared(GRANT, fields={"Why": "text"}), "EXTENSION_INVALID"),
    "a type in capitals": (
        of("registry_extension", **renamed(GRANT, name="Grant")),
        "EXTENSION_INVALID",
    ),
    "a module without a way back": (declared(MODULE, rollback=None), "EXTENSION_INVALID"),
    "a module of no version": (declared(MODULE, version="new"), "VERSION_INVALID"),
    "an emergency of no kind": (of("emergency", action="panic"), "PAYLOAD_WRONG_TYPE"),
    "a pause of no hours": (of("emergency", action="pause", hours=0), "VALUE_OUT_OF_RANGE"),
    "a pause of more than a week": (
        of("emergency", action="pause", hours=169),
        "VALUE_OUT_OF_RANGE",
    ),
    "a pause without its hours": (of("emergency", action="pause"), "PAYLOAD_MISSING_KEY"),
    "a resumption with hours": (of("emergency", action="resume", hours=1), "PAYLOAD_UNKNOWN_KEY"),
    "an adjustment without a value": (
        of("emergency", action="adjust", key="block_reward"),
        "PAYLOAD_MISSING_KEY",
    ),
    "an adjustment of a rule": (
        of("emergency", **{**ADJUST, "key": "track.protected.quorum", "new_value": "0.2"}),
        "TYPE_MISMATCH",
    ),
    "an adjustment of a feature": (
        of("emergency", **{**ADJUST, "key": "feature.airdrops", "new_value": False}),
        "TYPE_MISMATCH",
    ),
    "an adjustment of a key unknown": (
        of("emergency", **{**ADJUST, "key": "hardness"}),
        "UNKNOWN_CAPABILITY",
    ),
    "an adjustment beyond its bounds": (
        of("emergency", **{**ADJUST, "new_value": 51}),
        "VALUE_OUT_OF_RANGE",
    ),
    "an adjustment to what is": (of("emergency", **ADJUST), "NO_CHANGE"),
    "two rollbacks": (
        of("rollback", actions=[{"proposal": "p-1"}, {"proposal": "p-2"}]),
        "ACTIONS_COUNT",
    ),
    "a rollback of nothing": (of("rollback", proposal="p-1"), "PROPOSAL_UNKNOWN"),
}


@pytest.mark.parametrize("name", FORBIDDEN)
def test_what_is_wrong_in_itself_is_refused_at_creation(full_shared, name):
    (type_, payload), code = FORBIDDEN[name]
    entries = full_shared.one("SELECT count(*) FROM ledger_entries")

    assert tried(full_shared, type=type_, payload=payload).code == code
    assert full_shared.one("SELECT count(*) FROM ledger_entries") == entries


@pytest.mark.parametrize(
    ("type_", "payload", "least"),
    [
        ("configuration", {"key": "difficulty", "new_value": 5}, "TRUSTED"),
        ("policy", {"text": "x"}, "TRUSTED"),
        ("trust_adjustment", MEMBER, "TRUSTED"),
        ("overlay_registration", REGISTRATION.payload, "STANDARD"),
        (
            "overlay_update",
            {"overlay": "scout", "current_version": "1.0.0", "new_version": "1.0.1"},
            "STANDARD",
        ),
        ("feature_activation", {"feature": "airdrops", "enabled": False}, "TRUSTED"),
        ("treasury_allocation", ALLOCATION, "TRUSTED"),
        ("governance_rule", {"key": "track.routine.quorum", "new_value": "0.4"}, "CORE"),
        ("role_change", {"member": "sam", "role": "reviewer", "holds": True}, "CORE"),
        ("registry_extension", SOURCE.payload, "CORE"),
        ("emergency", PAUSE.payload, "CORE"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_each_type_takes_its_trust(full_shared, type_, payload, least):
    """The seeds' table: one level below is not enough."""
    by_level = {"CORE": "carl", "TRUSTED": "tara", "STANDARD": "stan", "SANDBOX": "sam"}
    levels = list(by_level)
    below = levels[levels.index(least) + 1]

    assert tried(full_shared, by_level[least], type=type_, payload=payload).state == "done"
    assert tried(full_shared, by_level[below], type=type_, payload=payload).code == "TRUST_TOO_LOW"


# Hooks of the platform's own declarations


def test_hooks_see_the_change_in_its_own_transaction(full_house):
    """Applied and undone once each, by the proposal and action whose effect it is."""
    seen: list[tuple[object, ...]] = []

    def hook(change: Any) -> None:
        stored = change.session.connection().exec_driver_sql(
            "SELECT value FROM setting_values WHERE key = 'platform.colour'"
        )
        row = stored.one_or_none()
        seen.append(
            (
                change.direction,
                change.before,
                change.after,
                None if row is None else row.value,
                change.proposal,
                change.origin,
                change.action,
            )
        )

    full_house.use(catalogue_with(platform_key(apply=hook, undo=hook)))
    actions = [
        {"key": "rate_limit.CORE", "new_value": 7},
        {"key": "platform.colour", "new_value": 9},
    ]
    proposal = done(full_house, "tara", type="configuration", payload={"actions": actions})
    rollback = undo(full_house, proposal, "tara")

    assert full_house.status(proposal) == "rolled_back"
    assert seen == [
        ("apply", 1, 9, 9, proposal, proposal, 1),
        ("undo", 9, 1, None, rollback, proposal, 1),
    ]


class Lamp(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")

    watts: int
    colours: tuple[str, ...] = ()


def test_a_document_is_checked_stored_and_put_back_whole(full_house):
    """A key with a pydantic model instead of a type."""
    lamp = platform_key(
        "platform.lamp", type=None, model=Lamp, default={"watts": 5}, least=None, most=None
    )
    full_house.use(catalogue_with(lamp))
    bright = {"watts": 60, "colours": ["red"]}

    wrong = tried(
        full_house,
        "tara",
        type="configuration",
        payload={"key": "platform.lamp", "new_value": {"watts": "60"}},
    )
    proposal = done(
        full_house,
        "tara",
        type="configuration",
        payload={"key": "platform.lamp", "new_value": bright},
    )

    assert wrong.code == "VALUE_TYPE"
    assert values_of(full_house) == {"platform.lamp": bright}
    undo(full_house, proposal, "tara")
    assert values_of(full_house) == {}
