from importlib.metadata import entry_points

import click
import pytest
from click.testing import CliRunner

from claimwright.cli.main import GROUP, main


def test_every_installed_room_brings_its_command_and_help() -> None:
    commands = [entry.name for entry in entry_points(group=GROUP)]

    listing = CliRunner().invoke(main, ["--help"])

    assert listing.exit_code == 0, listing.output
    assert commands
    for name in commands:
        assert name in listing.output


@pytest.mark.parametrize("name", sorted(entry.name for entry in entry_points(group=GROUP)))
def test_a_command_explains_itself(name: str) -> None:
    shown = CliRunner().invoke(main, [name, "--help"])

    assert shown.exit_code == 0, shown.output
    assert "Usage:" in shown.output


def test_an_unknown_command_is_refused_by_name() -> None:
    refused = CliRunner().invoke(main, ["gpus"])

    assert refused.exit_code == 2
    assert "gpus" in refused.output


def test_an_interruption_ends_with_status_130() -> None:
    @click.command()
    def endless() -> None:
        raise KeyboardInterrupt

    main.add_command(endless, "endless")
    try:
        ended = CliRunner().invoke(main, ["endless"])
    finally:
        del main.commands["endless"]

    assert (ended.exit_code, "interrupted" in ended.output) == (130, True)


@pytest.mark.parametrize("name", sorted(entry.name for entry in entry_points(group=GROUP)))
def test_no_help_text_shows_the_marks_of_its_source(name: str) -> None:
    group = main.get_command(click.Context(main), name)
    names = sorted(getattr(group, "commands", {}))

    for words in ([name], *([name, each] for each in names)):
        assert "\\b" not in CliRunner().invoke(main, [*words, "--help"]).output, words
