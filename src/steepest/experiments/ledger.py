"""The ledger of a study: which trials there are, and what came of them, in an Optuna storage.

SQLite in the study's folder, or a PostgreSQL server. Every trial is one of Optuna's, its settings, seed and result as
user attributes, so that Optuna's own tools read it too. What a person waits for (lists, reports, going on) is read in
one query, without Optuna. Importing this loads neither Optuna nor torch.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

from ..mistake import Mistake
from ..recipe import Value
from ..techniques.search.space import library, quietly
from .settings import key

if TYPE_CHECKING:
    import optuna

RUNNING, DONE, FAILED, PRUNED = "running", "done", "failed", "pruned"
STATES = {"WAITING": RUNNING, "RUNNING": RUNNING, "COMPLETE": DONE, "FAIL": FAILED, "PRUNED": PRUNED}
SCHEMA = "v3.2.0.a"
"""Of Optuna's tables as they are read here."""
OF_TRIALS = (
    "FROM trials t JOIN studies s ON s.study_id = t.study_id JOIN trial_user_attributes a ON a.trial_id = t.trial_id "
    "WHERE s.study_name = :name"
)
"""What a query about a study's trials looks at: each one's user attributes."""
DATABASES = ("sqlite3", "psycopg", "sqlalchemy", "optuna", "alembic")
"""Packages whose errors are the database's."""
PATIENCE_S = 10
"""How long a server may take to answer at first."""


@dataclass(frozen=True)
class Trial:
    """One training of a study.

    number: its place in the ledger, from 0. settings: what differs from the study's recipe. figures: what was measured,
    `val_accuracy` and so on; empty until it is over. run: its folder's name among the study's runs; None where it was
    trained as one of many in a stack. problem: why it failed.
    """

    number: int
    settings: Mapping[str, Value | None]
    seed: int
    state: str = RUNNING
    figures: Mapping[str, float] = field(default_factory=dict)
    run: str | None = None
    problem: str | None = None

    @property
    def key(self) -> str:
        """What tells it from all others of its study."""
        return key(self.settings, self.seed)

    @property
    def folder(self) -> str:
        """The name of its run folder: its settings and its seed decide it, so that no ledger is needed to find it."""
        return f"seed{self.seed}-{hashlib.sha256(self.key.encode()).hexdigest()[:12]}"


class Ledger:
    """The trials of the study `name` in a file (SQLite) or at an address (``postgresql://…``).

    One process at a time writes to it, within `alone`.
    """

    def __init__(self, place: Path | str, name: str) -> None:
        self.place, self.name = place, name
        if isinstance(place, str):
            without_password(place)
        self._stored: optuna.storages.RDBStorage | None = None
        self._study: optuna.Study | None = None
        self._study_id: int | None = None
        self._ids: dict[int, int] = {}

    def __str__(self) -> str:
        """Where it lies, without a password."""
        return str(self.place) if isinstance(self.place, Path) else without_password(self.place)

    def about(self) -> dict[str, Any] | None:
        """What the study is, as `create` was told; None where there is none of this name."""
        found = self._query(
            "SELECT a.value_json FROM study_user_attributes a JOIN studies s ON s.study_id = a.study_id "
            "WHERE s.study_name = :name AND a.key = 'about'"
        )
        return dict(found[0][0]) if found else None

    def trials(self) -> list[Trial]:
        """Every trial that was ever begun, by number. What it was told to have come to counts, whatever its state."""
        found: dict[int, dict[str, Any]] = {}
        for value, number, state in self._query(
            f"SELECT a.value_json, t.number, t.state {OF_TRIALS} AND a.key IN ('asked', 'given') "
            "ORDER BY t.number, a.key"
        ):
            found.setdefault(number, {"number": number, "state": STATES[state]}).update(value)
        return [Trial(**fields) for fields in found.values()]

    def curve(self, number: int) -> list[dict[str, float]]:
        """The curve of a trial that has no run folder; empty where it has one."""
        found = self._query(
            f"SELECT a.value_json {OF_TRIALS} AND t.number = :number AND a.key = 'curve'", number=number
        )
        return list(found[0][0]) if found else []

    def create(self, about: Mapping[str, Any], maximise: bool) -> None:
        """Begins the study, or says anew what it is."""
        with _clearly(self), quietly():
            direction = "maximize" if maximise else "minimize"
            made = library().create_study(
                storage=self._storage(), study_name=self.name, direction=direction, load_if_exists=True
            )
            made.set_user_attr("about", dict(about))

    def study(self, **parts: Any) -> optuna.Study:
        """Optuna's own study. parts: its sampler, its pruner."""
        if self._study is None or parts:
            with _clearly(self):
                self._study = library().load_study(study_name=self.name, storage=self._storage(), **parts)
        return self._study

    def add(self, settings: Mapping[str, Value | None], seed: int, params: Mapping[str, Any] | None = None) -> Trial:
        """A new trial, running from now. params: Optuna's (name: (value, distribution)), for its samplers."""
        with _clearly(self):
            kinds, stored = library().trial, self._storage()
            study_id = self._study_id = self._study_id or stored.get_study_id_from_name(self.name)
            template = kinds.create_trial(
                state=kinds.TrialState.RUNNING,
                params={name: value for name, (value, _) in (params or {}).items()},
                distributions={name: kind for name, (_, kind) in (params or {}).items()},
                user_attrs={"asked": {"settings": dict(settings), "seed": seed}},
            )
            trial_id = stored.create_new_trial(study_id, template_trial=template)
            import sqlalchemy

            with stored.engine.connect() as reading:  # Optuna's own way reads all that the trial has
                asked = sqlalchemy.text("SELECT number FROM trials WHERE trial_id = :trial_id")
                number = int(reading.execute(asked, {"trial_id": trial_id}).scalar_one())
            trial = Trial(number, dict(settings), seed)
            self._ids[trial.number] = trial_id
            return trial

    def report(self, number: int, step: int, value: float) -> None:
        """A value of a running trial on its way, for pruners."""
        with _clearly(self):
            self._storage().set_trial_intermediate_value(self._id(number), step, value)

    def should_prune(self, number: int) -> bool:
        """Whether the study's pruner would end a running trial now."""
        with _clearly(self):
            study = self.study()
            return bool(study.pruner.prune(study, self._storage().get_trial(self._id(number))))

    def tell(
        self, trial: Trial, value: float | None, curve: Sequence[Mapping[str, float]] = (), final: bool = True
    ) -> None:
        """The end of a trial, whose state says how it ended. value: what the study looks at; None where it failed.

        It is over as soon as what it came to is written; Optuna's own state follows, after a kill by telling it again.
        Not final, Optuna's state stays: it may be told another end.
        """
        with _clearly(self):
            stored, trial_id, states = self._storage(), self._id(trial.number), library().trial.TrialState
            given = {"state": trial.state, "figures": dict(trial.figures), "run": trial.run, "problem": trial.problem}
            if curve:
                stored.set_trial_user_attr(trial_id, "curve", [dict(point) for point in curve])
            stored.set_trial_user_attr(trial_id, "given", given)
            if not final:
                return
            state = next(states[name] for name, ours in STATES.items() if ours == trial.state)
            stored.set_trial_state_values(trial_id, state, None if value is None else [value])

    def half_told(self) -> list[int]:
        """The numbers of trials that are over, but whose state did not follow: a kill came between, or their end was
        not final."""
        return [
            number
            for _, number in self._query(
                f"SELECT a.value_json, t.number {OF_TRIALS} AND a.key = 'given' AND t.state = 'RUNNING'"
            )
        ]

    def close(self) -> None:
        """Leaves the database; of SQLite's, all is then in the one file."""
        if self._stored is not None:
            self._stored.remove_session()
            self._stored.engine.dispose()
            self._stored = self._study = None

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Within, no other process writes to this study on a server: that one is refused. A killed one holds nothing.

        A file is its study's, whose lock the folder has.
        """
        if isinstance(self.place, Path):
            yield
            return
        with contextlib.ExitStack() as held:
            with _clearly(self):
                import psycopg

                server = held.enter_context(
                    psycopg.connect(self.place, autocommit=True, connect_timeout=PATIENCE_S, **ALIVE)
                )
                mine = int.from_bytes(hashlib.sha256(f"steepest {self.name}".encode()).digest()[:8], signed=True)
                free = server.execute("SELECT pg_try_advisory_lock(%s)", (mine,)).fetchone()
            if free != (True,):
                raise Mistake(f"the study {self.name} is being run by another process")
            yield

    def _id(self, number: int) -> int:
        """Optuna's id of a trial."""
        if number not in self._ids:
            stored = self._storage()
            study_id = stored.get_study_id_from_name(self.name)
            self._ids[number] = int(stored.get_trial_id_from_study_id_trial_number(study_id, number))
        return self._ids[number]

    def _storage(self) -> optuna.storages.RDBStorage:
        """Optuna's storage, its tables made where there are none."""
        if self._stored is None:
            storage = library().storages.RDBStorage
            if isinstance(self.place, Path):
                self._stored = storage(f"sqlite:///{self.place.absolute()}")
                _swift(self._stored.engine)
            else:
                url = "postgresql+psycopg://" + self.place.partition("://")[2]
                told = {"connect_timeout": PATIENCE_S, **ALIVE}
                self._stored = storage(url, engine_kwargs={"pool_pre_ping": True, "connect_args": told})
        return self._stored

    def _query(self, text: str, **values: Any) -> list[tuple[Any, ...]]:
        """The rows of a query, the first column read from JSON; none where the database has no tables yet."""
        values |= {"name": self.name}
        with _clearly(self):
            if isinstance(self.place, Path):
                found = _from_file(self.place, text, values) if self.place.exists() else []
            else:
                found = _from_server(self.place, text, values)
            return [(json.loads(value), *rest) for value, *rest in found]


ALIVE: dict[str, Any] = {"keepalives_idle": 30, "keepalives_interval": 10, "keepalives_count": 3}
"""How soon a connection to a server that is gone is given up, in seconds and tries."""


def without_password(place: str) -> str:
    """The address of a PostgreSQL server without the password in it; anything else is refused."""
    try:
        parts = urlsplit(place)
        host, _ = parts.hostname, parts.port
    except ValueError:
        parts, host = urlsplit(""), None
    if parts.scheme not in ("postgresql", "postgres") or not parts.path.strip("/"):
        shown = f": got {place!r}" if "@" not in place else ""
        raise Mistake(f"a ledger elsewhere is at postgresql://USER@HOST/DATABASE{shown}")
    user = f"{parts.username}@" if parts.username else ""
    port = f":{parts.port}" if parts.port else ""
    query = "&".join(part for part in parts.query.split("&") if part and not part.startswith("password="))
    host = f"[{host}]" if host and ":" in host else host or ""
    return f"{parts.scheme}://{user}{host}{port}{parts.path}{'?' + query if query else ''}"


def _from_file(place: Path, text: str, values: Mapping[str, Any]) -> list[tuple[Any, ...]]:
    """The rows of a query to an SQLite file; what a killed process was writing is undone, where it can be written."""
    for how in ("mode=rw", "immutable=1"):
        with contextlib.closing(sqlite3.connect(f"file:{quote(str(place.absolute()))}?{how}", uri=True)) as open_:
            try:
                tables = open_.execute("SELECT name FROM sqlite_master WHERE name = 'alembic_version'").fetchall()
                if not tables:
                    return []
                _same_schema(open_.execute("SELECT version_num FROM alembic_version").fetchall())
                return open_.execute(text, values).fetchall()
            except sqlite3.OperationalError as error:
                if how == "immutable=1" or not re.search("unable to open|readonly", str(error)):
                    raise
    raise AssertionError


def _from_server(place: str, text: str, values: Mapping[str, Any]) -> list[tuple[Any, ...]]:
    """The rows of a query to a PostgreSQL server."""
    import psycopg

    with psycopg.connect(place, connect_timeout=PATIENCE_S) as open_:
        if open_.execute("SELECT to_regclass('alembic_version')").fetchone() == (None,):
            return []
        _same_schema(open_.execute("SELECT version_num FROM alembic_version").fetchall())
        asked: Any = re.sub(r":(\w+)", r"%(\1)s", text)
        return open_.execute(asked, values).fetchall()


def _same_schema(versions: Sequence[tuple[Any, ...]]) -> None:
    """Raises sqlite3.DatabaseError where Optuna's tables are not those that are read here."""
    if versions and versions[0][0] != SCHEMA:
        raise sqlite3.DatabaseError(f"its tables are Optuna's {versions[0][0]}, not {SCHEMA}: another version wrote it")


def _swift(engine: Any) -> None:
    """SQLite keeps a log of changes, synced to disk now and then, and never torn: a few times faster than its default.

    A power cut can cost the last moments' rows, but no run folder, from which they are made again.
    """
    import sqlalchemy

    @sqlalchemy.event.listens_for(engine, "connect")
    def connected(connection: Any, record: Any) -> None:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=NORMAL")

    engine.dispose()


@contextlib.contextmanager
def _clearly(ledger: Ledger) -> Iterator[None]:
    """What the database or Optuna find wrong, as one sentence."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise Mistake(f"a ledger in PostgreSQL needs {error.name}: pip install 'steepest[postgresql]'") from None
    except json.JSONDecodeError as error:
        raise Mistake(f"the ledger {ledger} is damaged: {error}") from error
    except Exception as error:
        if type(error).__module__.partition(".")[0] not in DATABASES:
            raise
        cause: BaseException = error
        while cause.__cause__ is not None:
            cause = cause.__cause__
        raise Mistake(f"the ledger {ledger} cannot be used: {str(cause).strip().splitlines()[0]}") from error
