"""Report: one page a run or a study, with plots and tables, that opens offline. Loads no torch."""

from __future__ import annotations

from pathlib import Path

__all__ = ["write"]


def write(path: Path | str, out: Path | str | None = None, png: bool = False) -> Path:
    """Writes the page of a run folder or a study folder and gives its place.

    out: a file, or a folder for `report.html`; by default the folder that is reported. png: each chart also as a PNG
    and an SVG file beside the page, named as the page and the chart (needs the extra `report` and a Chrome or
    Chromium). Raises Mistake for a folder that is neither, damaged files, a place that cannot be written, and pictures
    that cannot be drawn; the page is there then already.
    """
    from ..mistake import Mistake
    from ..run import Run, writing
    from .page import render

    path = Path(path)
    if (path / "run.json").is_file():
        from .run_page import page_of_run

        page = page_of_run(Run(path))
    elif (path / "study.json").is_file():
        from .study_page import page_of_study

        page = page_of_study(path)
    else:
        raise Mistake(f"{path} is neither a run folder nor a study folder: it has no run.json and no study.json")
    place = Path(out) if out is not None else path
    place = place / "report.html" if place.is_dir() else place
    if not place.parent.is_dir():
        raise Mistake(f"cannot write {place}: there is no folder {place.parent}")
    text = render(page)
    with writing(place) as temporary:
        temporary.write_text(text, encoding="utf-8")
    if png:
        from .pictures import draw

        draw(page.charts, place)
    return place
