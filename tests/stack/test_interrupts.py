"""The signal handler may run between any two instructions, also inside a write."""

from __future__ import annotations

import io
import sys

import pytest

from forge_workers.stack.interrupts import Interrupts


def test_an_interrupt_in_the_middle_of_a_write_is_still_an_interrupt(monkeypatch, capfd):
    """A buffered stream that is entered twice raises RuntimeError instead."""
    interrupts = Interrupts()

    class Interrupting(io.RawIOBase):
        def writable(self):
            return True

        def write(self, data):
            if not interrupts.ending.is_set():
                interrupts.receive(15, None)
            return len(data)

    stream = io.TextIOWrapper(io.BufferedWriter(Interrupting()))
    monkeypatch.setattr(sys, "stderr", stream)
    sys.stderr.write("serving until Ctrl-C\n")
    with pytest.raises(KeyboardInterrupt):
        sys.stderr.flush()
    stream.close()
    assert "stopping" in capfd.readouterr().err
