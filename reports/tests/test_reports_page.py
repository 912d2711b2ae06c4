from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from importlib.resources import files
from pathlib import Path

import jsonschema
import pytest

from claimwright.reports.errors import MixedSeriesError, SamplesError
from claimwright.reports.rendering import benchmark_lines, page, table
from claimwright.reports.report import Report, build, content, to_json
from claimwright.reports.samples import Sample, SampleWriter, read_samples

VOID = {"meta", "br", "link", "img", "input", "hr"}


class Structure(HTMLParser):
    """Checks nesting, and gathers what a test asks about."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)

    def named(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def parse(html: str) -> Structure:
    structure = Structure()
    structure.feed(html)
    structure.close()
    assert structure.open == []
    return structure


@pytest.fixture(scope="module")
def report(
    block: dict[str, object],
    samples_of: Callable[..., Iterator[Sample]],
    tmp_path_factory: pytest.TempPathFactory,
) -> Report:
    path = tmp_path_factory.mktemp("report") / "run-a.jsonl"
    with SampleWriter(path, block) as writer:
        for sample in samples_of("run-a"):
            writer.write(sample)
    return build([read_samples(path)])


def test_the_page_is_whole_and_fetches_nothing(report: Report) -> None:
    html = page(report)
    structure = parse(html)
    assert not {"script", "link", "img", "iframe", "object", "base"} & {name for name, _ in structure.tags}
    for name, attributes in structure.tags:
        assert not {"src", "srcset", "xlink:href", "action", "onload", "onclick"} & attributes.keys(), name
        assert (attributes.get("href") or "#").startswith("#"), name
    assert "@import" not in html
    assert "http" not in html
    assert "url(#" in html
    assert html.count("url(") == html.count("url(#")


def test_links_lead_to_places_on_the_page(report: Report) -> None:
    structure = parse(page(report))
    places = {attributes["id"] for _, attributes in structure.tags if "id" in attributes}
    assert {str(link["href"]).removeprefix("#") for link in structure.named("a")} <= places


def test_every_plot_says_how_many_on_what_and_that_it_is_emulated(report: Report) -> None:
    structure = parse(page(report))
    captions = page(report).split("<figcaption>")[1:]
    assert len(captions) == 5
    assert len(captions) == len(structure.named("figure"))
    for caption in captions:
        assert "n = " in caption
        assert "emulated hardware" in caption
        assert report.environments[0]["machine"]["cpu"] in caption


def test_every_drawing_says_what_it_is_to_a_reader_without_eyes(report: Report) -> None:
    html = page(report)
    drawings = [attributes for attributes in parse(html).named("svg") if attributes.get("class") == "chart"]
    assert drawings
    assert all(attributes["role"] == "img" for attributes in drawings)
    assert html.count('class="chart"><title>') == len(drawings)


def test_every_budget_has_a_row_and_failures_are_counted(report: Report) -> None:
    html = page(report)
    verdicts = [verdict for entry in report.series for verdict in entry.verdicts]
    rows = html.split('<table class="verdicts">')[1].split("</table>")[0]
    assert rows.count("<tr>") == 1 + len(verdicts) == 8
    assert "2 error" in html
    assert "2 failed" in html


def test_series_are_told_apart_without_colour(report: Report) -> None:
    html = page(report)
    assert "stroke-dasharray" in html
    assert 'class="hatch scheduled_to_sandbox"' in html
    assert ">\u2713 within<" in html


def test_the_same_samples_give_the_same_bytes(write_run: Callable[..., Path]) -> None:
    path = write_run(prepares=60)
    first, second = (build([read_samples(path)]) for _ in range(2))
    assert page(first) == page(second)
    assert to_json(first) == to_json(second)


@pytest.mark.capability("000-26")
def test_the_json_keeps_to_the_shipped_schema(report: Report) -> None:
    schema = json.loads(files("claimwright.reports").joinpath("schema/report-v1.json").read_text("utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(json.loads(to_json(report)), schema)
    broken = content(report) | {"hardware": "imaginary"}
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(broken, schema)


def test_runs_are_resampled_as_runs_and_counted(write_run: Callable[..., Path]) -> None:
    report = build(
        [
            read_samples(write_run(name, seed=seed, prepares=100))
            for name, seed in (("a", 1), ("b", 2), ("c", 3))
        ]
    )
    prepare = report.series[0]
    assert (prepare.runs, prepare.resampled, len(prepare.clusters)) == (3, "runs", 3)
    assert len(prepare.values) == 300


def test_emulated_and_real_hardware_never_share_a_report(write_run: Callable[..., Path]) -> None:
    paths = [write_run("a", prepares=5, pods=1), write_run("b", hardware="real", prepares=5, pods=1)]
    with pytest.raises(MixedSeriesError, match=r"emulated: a\.jsonl; real: b\.jsonl"):
        build([read_samples(path) for path in paths])


def test_a_run_without_events_makes_no_report(tmp_path: Path, block: dict[str, object]) -> None:
    SampleWriter(tmp_path / "empty.jsonl", block).close()
    with pytest.raises(SamplesError, match=r"no samples in .*empty\.jsonl"):
        build([read_samples(tmp_path / "empty.jsonl")])


def test_what_was_not_measured_is_told(report: Report, write_run: Callable[..., Path]) -> None:
    assert report.not_measured == ()
    part = build([read_samples(write_run("few", pods=0, prepares=5))])
    assert part.not_measured == ("L-START",)
    assert "not measured: L-START" in table(part)
    assert "Not measured in these runs: L-START" in page(part)


def test_a_torn_file_and_notes_are_told_on_the_page(write_run: Callable[..., Path]) -> None:
    path = write_run(prepares=20)
    path.write_bytes(path.read_bytes() + b'{"kind":"note","text":"a <b> note"}\n{"kind":"sa')
    html = page(build([read_samples(path)]))
    assert "the last line is torn" in html
    assert "a &lt;b&gt; note" in html


def test_few_samples_print_their_maximum_in_place_of_p99(
    write_run: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("claimwright.reports.statistics.RESAMPLES", 10)
    report = build([read_samples(write_run(prepares=999))])
    serial = report.series[0]
    assert serial.estimate("p99") is None
    assert serial.estimate("max") is not None
    assert [verdict.judged_by for verdict in serial.verdicts] == ["p50", "max"]


def test_all_failed_is_a_series_without_numbers_and_a_page_all_the_same(
    tmp_path: Path, block: dict[str, object], write_run: Callable[..., Path]
) -> None:
    path = write_run(prepares=5, pods=0)
    path.write_text(path.read_text().replace('"outcome":"ok"', '"outcome":"timeout"'))
    report = build([read_samples(path)])
    assert all(entry.failed and not entry.values for entry in report.series)
    assert {verdict.outcome.value for entry in report.series for verdict in entry.verdicts} == {"failures"}
    parse(page(report))
    assert "no event succeeded" in table(report)


def test_benchstat_lines_are_of_gos_format(report: Report) -> None:
    lines = benchmark_lines(report).splitlines()
    assert lines[0] == "hardware: emulated"
    first = next(line for line in lines if line.startswith("BenchmarkLPrepK/"))
    name, count, value, unit = first.split(" ")
    assert (name, count, unit) == ("BenchmarkLPrepK/in_flight=1/load=serial", "240", "ns/op")
    assert 1e6 < float(value) < 2e6
    serial = [line for line in lines if line.startswith(name + " ")]
    assert len(serial) == 5
