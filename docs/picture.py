"""Makes docs/run.svg: a picture of a real `steepest train digits`, as it stands in a terminal when it is done.

    python docs/picture.py

The command runs in a pseudo-terminal, so that it draws its progress bar; what it wrote is drawn by rich.
"""

from __future__ import annotations

import fcntl
import io
import os
import pty
import re
import struct
import subprocess
import sys
import tempfile
import termios
from pathlib import Path

from rich.console import Console
from rich.text import Text

COMMAND = ("steepest", "train", "digits")
ROWS, COLUMNS = 24, 100


def output(command: tuple[str, ...]) -> str:
    """What a command writes to a terminal of ROWS × COLUMNS."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
    environment = os.environ | {"TERM": "xterm-256color", "COLORTERM": "truecolor", "COLUMNS": str(COLUMNS)}
    program = str(Path(sys.executable).parent / command[0])
    with tempfile.TemporaryDirectory() as folder:
        running = subprocess.Popen(
            [program, *command[1:]], stdin=theirs, stdout=theirs, stderr=theirs, cwd=folder, env=environment
        )
        os.close(theirs)
        written = b""
        try:
            while part := os.read(ours, 1 << 16):
                written += part
        except OSError:  # how Linux tells that the other end is closed
            pass
        os.close(ours)
    if running.wait():
        sys.exit(f"{' '.join(command)} ended with status {running.returncode}")
    return written.decode()


def screen(written: str) -> list[str]:
    """The lines that stand in the end: a carriage return or an erasure begins its line anew, cursor-up goes back."""
    lines, row = [""], 0
    for part in re.split(r"(\r?\n|\r|\x1b\[\d*A|\x1b\[2K|\x1b\[\?25[lh])", written):
        if part.endswith("A") and part.startswith("\x1b["):
            row -= int(part[2:-1] or 1)
        elif part.endswith("\n"):
            row += 1
            lines += [""] * (row + 1 - len(lines))
        elif part in ("\r", "\x1b[2K"):
            lines[row] = lines[row] if part == "\r" else ""
        elif not part.startswith("\x1b[?25"):
            lines[row] += part
    return lines


def main() -> None:
    lines = screen(output(COMMAND))
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True, color_system="truecolor")
    console.print(Text.assemble(("$ ", "bold green"), (" ".join(COMMAND), "bold")))
    for line in lines:
        console.print(Text.from_ansi(line))
    path = Path(__file__).with_name("run.svg")
    path.write_text(console.export_svg(title=" ".join(COMMAND)), encoding="utf-8")


if __name__ == "__main__":
    main()
