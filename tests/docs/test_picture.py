"""The picture of a run: what a terminal would show in the end of what a command wrote."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import picture
import pytest
from rich.console import Console
from rich.live import Live


def test_lines_stay_in_their_order() -> None:
    assert picture.screen("one\r\ntwo\nthree") == ["one", "two", "three"]


def test_an_erased_line_is_written_anew() -> None:
    assert picture.screen("kept\n 10 %\r\x1b[2K 20 %\nend") == ["kept", " 20 %", "end"]


def test_going_up_rewrites_the_lines_above() -> None:
    assert picture.screen("a\nb\r\x1b[2K\x1b[1A\x1b[2Kc\nd") == ["c", "d"]


def test_the_cursors_hiding_leaves_no_trace() -> None:
    assert picture.screen("\x1b[?25lbar\n\x1b[?25hend") == ["bar", "end"]


def test_colours_are_kept() -> None:
    assert picture.screen("\x1b[31mred\x1b[0m") == ["\x1b[31mred\x1b[0m"]


@pytest.mark.parametrize("height", [1, 2, 3])
def test_what_rich_draws_last_is_what_stands(height: int) -> None:
    written = io.StringIO()
    console = Console(file=written, force_terminal=True, width=40, color_system=None)
    with Live("", console=console, auto_refresh=False) as live:
        for number in range(3):
            live.update("\n".join(f"{number} line {row}" for row in range(height)), refresh=True)
    console.print("done")
    shown = [line for line in picture.screen(written.getvalue()) if line]
    assert shown == [*(f"2 line {row}" for row in range(height)), "done"]


def test_a_command_sees_a_terminal_of_the_said_width(tmp_path: Path) -> None:
    (tmp_path / "said").write_text(
        f"#!{sys.executable}\nimport os, sys\nprint(sys.stderr.isatty(), os.get_terminal_size().columns)\n"
    )
    (tmp_path / "said").chmod(0o755)
    assert picture.output((str(tmp_path / "said"),)).split() == ["True", str(picture.COLUMNS)]


def test_a_command_that_fails_makes_no_picture() -> None:
    with pytest.raises(SystemExit, match="status 2"):
        picture.output(("steepest", "no-such-command"))
