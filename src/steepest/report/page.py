"""A page as plain data, and how it becomes one HTML file that needs nothing else: styles, scripts and plotly.js within.

plotly.js lies in the page once, packed (2 MB instead of 5), and is unpacked by the browser. A content security policy
lets nothing run but the page's own scripts and nothing be loaded from anywhere; Jinja escapes every text.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import math
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

from ..mistake import Failure
from .charts import COLOURS, Chart

MOST_ROWS = 300
"""Rows of a table."""


class Cell(NamedTuple):
    """A table's cell: its text, and the number by which it is sorted, if it is one."""

    text: str
    value: float | None = None


@dataclass(frozen=True)
class Table:
    """A table that can be sorted by each column. about: a sentence below, such as how many rows are left out."""

    caption: str
    columns: tuple[str, ...]
    rows: list[list[Cell]]
    about: str = ""

    @property
    def numeric(self) -> list[bool]:
        """Which columns hold numbers."""
        return [any(row[place].value is not None for row in self.rows) for place in range(len(self.columns))]


def left_out(many: int) -> str:
    """A sentence below a table that could have so many rows."""
    return f"{MOST_ROWS:,} of {many:,} are shown here; the folder has all." if many > MOST_ROWS else ""


class Tile(NamedTuple):
    """A figure of second rank: what, its value, and its interval or n."""

    name: str
    value: str
    detail: str = ""


class Picture(NamedTuple):
    """An image (a `data:` address; empty where there is none) with its title and a line below."""

    source: str
    title: str
    detail: str


@dataclass(frozen=True)
class Section:
    """A part of the page. facts: name and value; texts: title and text as it was typed or stored.

    beside: where there is room, its charts and tables stand side by side.
    """

    title: str
    about: str = ""
    charts: list[Chart] = field(default_factory=list)
    pictures: list[Picture] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    facts: list[tuple[str, str]] = field(default_factory=list)
    texts: list[tuple[str, str]] = field(default_factory=list)
    beside: bool = False


@dataclass(frozen=True)
class Page:
    """One page: kind ("run", "sweep", …), title, the headline with its interval, and the rest in order."""

    kind: str
    title: str
    headline: Tile
    summary: str
    tiles: list[Tile]
    notices: list[str]
    sections: list[Section]

    @property
    def charts(self) -> list[Chart]:
        return [chart for section in self.sections for chart in section.charts]


def render(page: Page) -> str:
    """The page as HTML."""
    from jinja2 import Environment, StrictUndefined

    here = files(__package__)
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters["json"] = _json
    (plotly, library), script = _plotly(), (here / "page.js").read_text(encoding="utf-8")
    return environment.from_string((here / "page.html").read_text(encoding="utf-8")).render(
        page=page,
        charts={chart.name: {"data": chart.data, "layout": chart.layout} for chart in page.charts},
        style=_palette() + (here / "page.css").read_text(encoding="utf-8"),
        script=script,
        plotly=plotly,
        hashes=[_hash(script.encode()), library],
    )


def _json(value: Any) -> str:
    """JSON that can stand in a script element: none of its characters ends it."""
    text = json.dumps(_without_nan(value), separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _without_nan(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _palette() -> str:
    """The colours as properties, which the style sheet and the charts use."""
    light, dark = ("".join(f"--{name}:{pair[shade]};" for name, pair in COLOURS.items()) for shade in (False, True))
    return f":root{{{light}}}\n@media (prefers-color-scheme:dark){{:root:not(.print){{{dark}}}}}\n"


@cache
def _plotly() -> tuple[str, str]:
    """plotly.js packed, and its hash: from the Python package of that name, which ships the full bundle only."""
    spec = find_spec("plotly")
    if spec is None or spec.origin is None:
        raise Failure("the report's charts come with Plotly, which is not installed: pip install plotly")
    library = (Path(spec.origin).parent / "package_data" / "plotly.min.js").read_bytes()
    return base64.b64encode(gzip.compress(library, 6, mtime=0)).decode(), _hash(library)


def _hash(code: bytes) -> str:
    return base64.b64encode(hashlib.sha256(code).digest()).decode()
