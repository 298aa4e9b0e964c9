"""Charts as files, PNG and SVG: drawn by a Chrome or Chromium of this machine, which Kaleido drives."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..mistake import Mistake
from .charts import Chart, plain, resolved

FORMS = ("png", "svg")
WIDTH = 900
"""Pixels of an SVG; a PNG has twice as many."""


def draw(charts: Sequence[Chart], page: Path) -> list[Path]:
    """Writes each chart beside its page: ``report-accuracy.png`` and ``report-accuracy.svg`` beside ``report.html``.

    Raises Mistake without Kaleido, without a browser, and for a place that cannot be written.
    """
    try:
        import kaleido
        from choreographer.errors import BrowserClosedError, BrowserFailedError, ChromeNotFoundError
    except ImportError:
        raise Mistake(f"{page} is written, but pictures need Kaleido: pip install 'steepest[report]'") from None
    wanted = [(chart, page.with_name(f"{page.stem}-{chart.name}.{form}"), form) for chart in charts for form in FORMS]
    figures = [
        {"fig": figure(chart), "path": str(place), "opts": {"format": form, "scale": 2 if form == "png" else 1}}
        for chart, place, form in wanted
    ]
    try:
        kaleido.write_fig_from_object_sync(figures)
    except ChromeNotFoundError:
        raise Mistake(
            f"{page} is written, but pictures need Chrome or Chromium, which is not on this machine"
        ) from None
    except (BrowserFailedError, BrowserClosedError, OSError) as error:
        raise Mistake(f"{page} is written, but its pictures are not: {error}") from error
    return [place for _, place, _ in wanted]


def figure(chart: Chart) -> dict[str, Any]:
    """A chart that stands alone, on white and with its title."""
    shape = chart.layout | {"width": WIDTH, "paper_bgcolor": "--page"}
    margin = chart.layout["margin"]
    shape["margin"] = margin | {
        "t": margin["t"] + 60,
        "l": margin["l"] + 12,
        "r": margin["r"] + 12,
        "b": margin["b"] + 12,
    }
    shape["height"] += 80
    shape["title"] = {"text": plain(chart.title), "x": 0.02, "xanchor": "left"}
    shape["legend"] = chart.layout["legend"] | {"yref": "container", "y": 0.01, "yanchor": "bottom"}
    found: dict[str, Any] = resolved({"data": chart.data, "layout": shape})
    return found
