"""Faults over time: scripts that a node runs, load, the kernel's log, and `claimwright node fault`.

What the faults are is in `model.faults`; here is when they happen. `ScriptProfile` is a script as text, `ScriptRun`
runs it on any clock, `ScriptService` inside a node process.
"""

from claimwright.emulator.faults.script import ScriptProfile, Step

__all__ = ["ScriptProfile", "Step"]
