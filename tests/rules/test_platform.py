"""What a platform declares in modules of its own is had as a whole, or named with what is wrong."""

from __future__ import annotations

import pytest

from forge_core.capabilities import protocol
from forge_core.capabilities.platform import VARIABLE, with_platform
from forge_core.errors import Misconfigured


@pytest.mark.parametrize(
    ("name", "code", "problem"),
    [
        ("absent_lamps", None, "cannot be imported: ModuleNotFoundError"),
        ("raising_lamps", "raise LookupError('no lamp')", "imported: LookupError: no lamp"),
        ("unwritten_lamps", "def lamps(:", "cannot be imported: SyntaxError"),
        ("empty_lamps", "", "has no tuple CAPABILITIES"),
        ("one_lamp", "CAPABILITIES = 1", "has no tuple CAPABILITIES"),
        ("named_lamps", "CAPABILITIES = ('lamp',)", "CAPABILITIES hold str, not a Capability"),
    ],
)
def test_a_module_that_cannot_be_had_is_named(name, code, problem, tmp_path, monkeypatch):
    if code is not None:
        (tmp_path / f"{name}.py").write_text(code, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv(VARIABLE, name)

    with pytest.raises(Misconfigured, match=f"^{VARIABLE} names {name}, ") as raised:
        with_platform(())
    assert problem in str(raised.value)


def test_a_key_that_there_is_already_is_named_with_its_module(tmp_path, monkeypatch):
    code = """
from forge_core.capabilities.protocol import CAPABILITIES as OURS

CAPABILITIES = OURS[:1]
"""
    (tmp_path / "same_lamps.py").write_text(code, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv(VARIABLE, "same_lamps")
    key = protocol.CAPABILITIES[0].key

    assert [one.key for one in with_platform(())] == [key]
    problem = f"same_lamps, which cannot be added: {key} is declared twice"
    with pytest.raises(Misconfigured, match=problem):
        with_platform(protocol.CAPABILITIES)
