"""The recipes that ship, each a TOML file in this folder whose first comment lines say what it is. No torch."""

from __future__ import annotations

from pathlib import Path

from ..mistake import Mistake, unknown
from ..recipe import Recipe, read

HERE = Path(__file__).parent


def names() -> tuple[str, ...]:
    """The names of the recipes that ship."""
    return tuple(sorted(path.stem for path in HERE.glob("*.toml")))


def load(recipe: str | Path) -> Recipe:
    """A recipe by its name, or from a TOML or JSON file."""
    if str(recipe) in names():
        return read(HERE / f"{recipe}.toml")
    path = Path(recipe)
    if path.suffix in (".toml", ".json"):
        if not path.is_file():
            raise Mistake(f"there is no recipe file {path}")
        return read(path)
    raise unknown("recipe", str(recipe), names())


def about(name: str) -> str:
    """What a shipped recipe says of itself: the comment lines at the top of its file."""
    if name not in names():
        raise unknown("recipe", name, names())
    lines = (HERE / f"{name}.toml").read_text(encoding="utf-8").splitlines()
    head = lines[: next((place for place, line in enumerate(lines) if not line.startswith("#")), len(lines))]
    return "\n".join(line.removeprefix("#").strip() for line in head)
