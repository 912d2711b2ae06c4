"""A few words of SVG, escaped; styles come from the page's own CSS classes."""

from __future__ import annotations

from collections.abc import Iterable

from markupsafe import Markup, escape


def element(tag: str, content: Markup | str = "", /, **attributes: str | float | None) -> Markup:
    """Make one element; `class_` stands for class, an underscore for a hyphen, None leaves one out."""
    written = Markup("").join(
        Markup(' {}="{}"').format(name.rstrip("_").replace("_", "-"), _value(value))
        for name, value in attributes.items()
        if value is not None
    )
    return Markup("<{0}{1}>{2}</{0}>").format(Markup(tag), written, content)  # noqa: S704 - our own tag names


def join(parts: Iterable[Markup]) -> Markup:
    """Put elements after each other."""
    return Markup("").join(parts)


def text(x: float, y: float, content: str, **attributes: str | float | None) -> Markup:
    """Write text at a point."""
    return element("text", escape(content), x=x, y=y, **attributes)


def line(x1: float, y1: float, x2: float, y2: float, **attributes: str | float | None) -> Markup:
    """Draw a line."""
    return element("line", x1=x1, y1=y1, x2=x2, y2=y2, **attributes)


def figure(width: int, height: int, content: Iterable[Markup], *, label: str) -> Markup:
    """Wrap a drawing; `label` is what a screen reader says."""
    body = element("title", escape(label)) + join(content)
    return element("svg", body, viewBox=f"0 0 {width} {height}", role="img", class_="chart")


def _value(value: str | float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)
