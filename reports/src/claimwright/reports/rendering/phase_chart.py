"""Where the start of a pod goes: one bar per pod, cut into phases, and two pods shown large."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from markupsafe import Markup

from claimwright.reports.rendering import svg
from claimwright.reports.rendering.axes import Axis, linear
from claimwright.reports.rendering.numbers import plain, tick_label, with_unit
from claimwright.reports.statistics import quantile

PHASES: Mapping[str, str] = {
    "create_to_claim": "claim made from its template",
    "claim_to_allocated": "scheduler allocates devices",
    "allocated_to_scheduled": "pod bound to the node",
    "scheduled_to_sandbox": "driver prepares, sandbox made",
    "sandbox_to_running": "container starts",
    "scheduled_to_running": "driver prepares, sandbox and container start",
}
WIDTH = 1000
LEFT, RIGHT = 92, 986
LARGE, SMALL = 34, 7
MOST_PODS = 60

Pod = Mapping[str, float]


def phase_chart(pods: Sequence[Pod]) -> Markup:
    """Draw the pods of L-START in the order of creation; at most `MOST_PODS`, evenly chosen."""
    if not pods:
        return Markup("")
    shown = _evenly(pods, MOST_PODS)
    axis = linear(max(pod["total"] for pod in pods), LEFT, RIGHT, wanted=8)
    large = _chosen(pods)
    top = 12 + len(large) * (LARGE + 14)
    bottom = top + 8 + len(shown) * (SMALL + 2)
    parts = [
        *_grid(axis, bottom),
        *(part for row, (name, pod) in enumerate(large) for part in _large(name, pod, row, axis)),
        svg.text(
            LEFT - 8,
            top + 14,
            f"{len(shown)} pods" if len(shown) > 1 else "1 pod",
            class_="tick",
            text_anchor="end",
        ),
        *(
            bar
            for row, pod in enumerate(shown)
            for bar in _bars(pod, top + 6 + row * (SMALL + 2), SMALL, axis)
        ),
        *_legend(pods, bottom + 44),
    ]
    label = f"Phases of the start of {len(pods)} pods, in milliseconds"
    return svg.figure(WIDTH, bottom + 50 + 22 * ((len(_seen(pods)) + 1) // 2), parts, label=label)


def seen_phases(pods: Sequence[Pod]) -> list[str]:
    """Name the phases that these pods went through, in order."""
    return _seen(pods)


def _seen(pods: Sequence[Pod]) -> list[str]:
    return [phase for phase in PHASES if any(phase in pod for pod in pods)]


def _evenly(pods: Sequence[Pod], most: int) -> Sequence[Pod]:
    if len(pods) <= most:
        return pods
    return [pods[index * len(pods) // most] for index in range(most)]


def _chosen(pods: Sequence[Pod]) -> list[tuple[str, Pod]]:
    """Pick the pods nearest to the median and to p95: real pods, whose phases add up."""
    totals = sorted(pod["total"] for pod in pods)
    wanted = {"median pod": 0.5} if len(pods) < 20 else {"median pod": 0.5, "p95 pod": 0.95}
    return [(name, _nearest(pods, quantile(totals, share))) for name, share in wanted.items()]


def _nearest(pods: Sequence[Pod], total: float) -> Pod:
    return min(pods, key=lambda pod: abs(pod["total"] - total))


def _grid(axis: Axis, bottom: float) -> Iterable[Markup]:
    for tick in axis.ticks:
        yield svg.line(axis.scale(tick), 6, axis.scale(tick), bottom + 4, class_="grid")
        yield svg.text(axis.scale(tick), bottom + 18, tick_label(tick), class_="tick", text_anchor="middle")
    yield svg.text(
        RIGHT, bottom + 33, "ms since the pod was due to be created", class_="tick", text_anchor="end"
    )


def _large(name: str, pod: Pod, row: int, axis: Axis) -> Iterable[Markup]:
    y = 8 + row * (LARGE + 14)
    yield svg.text(LEFT - 8, y + 15, name, class_="legend", text_anchor="end")
    yield svg.text(LEFT - 8, y + 30, with_unit(pod["total"], "ms"), class_="tick", text_anchor="end")
    yield from _bars(pod, y, LARGE, axis)
    yield from _hatches(pod, y, axis)
    at = 0.0
    for phase in _seen([pod]):
        length = pod[phase]
        label = plain(length)
        if axis.scale(length) - LEFT > 9 * len(label) + 6:
            middle = (axis.scale(at) + axis.scale(at + length)) / 2
            yield svg.text(middle, y + LARGE / 2 + 5, label, class_="on-bar", text_anchor="middle")
        at += length


def _bars(pod: Pod, y: float, height: float, axis: Axis) -> Iterable[Markup]:
    at = 0.0
    for phase in _seen([pod]):
        x, end = axis.scale(at), axis.scale(at + pod[phase])
        hint = svg.element("title", f"{PHASES[phase]}: {with_unit(pod[phase], 'ms')}")
        yield _rect(x, y, end - x, height, style=f"bar {phase}", content=hint)
        at += pod[phase]


def _hatches(pod: Pod, y: float, axis: Axis) -> Iterable[Markup]:
    """Lay a pattern over the phases: they are told apart without colour as well."""
    at = 0.0
    for phase in _seen([pod]):
        width = axis.scale(at + pod[phase]) - axis.scale(at)
        yield _rect(axis.scale(at), y, width, LARGE, style=f"hatch {phase}")
        at += pod[phase]


def _rect(
    x: float, y: float, width: float, height: float, *, style: str, content: Markup | str = ""
) -> Markup:
    size = {"width": float(max(width, 0.4)), "height": float(height)}
    return svg.element("rect", content, x=float(x), y=float(y), class_=style, **size)


def _legend(pods: Sequence[Pod], top: float) -> Iterable[Markup]:
    for index, phase in enumerate(_seen(pods)):
        x = LEFT + (index % 2) * 450
        y = top + (index // 2) * 22
        middle = quantile(sorted(pod[phase] for pod in pods if phase in pod), 0.5)
        yield _rect(x, y, 26, 13, style=f"bar {phase}")
        yield _rect(x, y, 26, 13, style=f"hatch {phase}")
        yield svg.text(x + 36, y + 11, f"{PHASES[phase]}: median {with_unit(middle, 'ms')}", class_="legend")
