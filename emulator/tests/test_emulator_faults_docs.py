"""docs/fault-scripts.md: its scripts do what it says, its refusals are refused so, its commands and table are true."""

from __future__ import annotations

import asyncio
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from claimwright.emulator.commands import node as node_command
from claimwright.emulator.errors import ProfileError
from claimwright.emulator.faults.reference import with_table
from claimwright.emulator.faults.running import ScriptRun
from claimwright.emulator.faults.script import ScriptProfile
from claimwright.emulator.faults.words import words_of
from claimwright.emulator.model import NodeModel, build_node, load_node_profile, parse_profile
from claimwright.emulator.model.faults import parse

_DOCUMENT = Path(__file__).parents[2] / "docs/fault-scripts.md"
_TEXT = _DOCUMENT.read_text(encoding="utf-8")
_BLOCKS = re.findall(r"```yaml\n# (run on|refused:) ([^\n]*)\n(.*?)```", _TEXT, re.DOTALL)
_COMMANDS = re.findall(r"^    claimwright (node .*)$", _TEXT, re.MULTILINE)


class InstantClock:
    """Time that passes only when somebody sleeps."""

    moment = 0.0

    def now(self) -> float:
        return self.moment

    async def sleep_until(self, moment: float) -> None:
        await asyncio.sleep(0)
        self.moment = max(self.moment, moment)


@pytest.mark.parametrize(
    ("profile", "text"), [(where, text) for kind, where, text in _BLOCKS if kind == "run on"]
)
def test_each_script_does_what_it_expects_and_leaves_no_fault(profile: str, text: str) -> None:
    model = NodeModel(build_node(load_node_profile(profile), "node"))
    run = ScriptRun(model, parse_profile(ScriptProfile, text, "doc.yaml"), InstantClock())
    asyncio.run(run.run())
    assert (run.done, run.left) == (run.script.count, 0)
    assert not model.snapshot().faults


@pytest.mark.parametrize(
    ("said", "text"), [(where, text) for kind, where, text in _BLOCKS if kind == "refused:"]
)
def test_each_refusal_reads_as_written(said: str, text: str) -> None:
    with pytest.raises(ProfileError) as refused:
        parse_profile(ScriptProfile, text, "bad.yaml")
    assert said in str(refused.value)


def test_the_examples_are_there() -> None:
    assert len(_BLOCKS) == _TEXT.count("```yaml")
    assert len(_BLOCKS) >= 5
    assert len(_COMMANDS) >= 7


@pytest.mark.parametrize("line", _COMMANDS)
def test_each_command_exists_with_its_options(line: str) -> None:
    words = shlex.split(line, comments=True)[1:]
    command: click.Command = node_command
    context = click.Context(command)
    while isinstance(command, click.Group):
        name = words.pop(0)
        found = command.get_command(context, name)
        assert found is not None, f"no command {name!r}"
        command, context = found, click.Context(found, parent=context)
    command.parse_args(context, list(words))
    if command.name == "inject":
        given = words_of([word for word in words if not word.startswith("--")])
        assert parse(given.name, given.parameters).name == given.name


def test_the_table_of_classes_is_up_to_date() -> None:
    assert with_table(_TEXT) == _TEXT, f"write with_table({_DOCUMENT.name}) back to it"


def _pages() -> Iterator[str]:
    for page in ("emulator/README.md", "CHANGELOG.md"):
        yield (_DOCUMENT.parents[1] / page).read_text(encoding="utf-8")


def test_the_page_is_linked() -> None:
    assert all("docs/fault-scripts.md" in page for page in _pages())
