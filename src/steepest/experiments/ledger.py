"""The ledger of a study: which trials there are, and what came of them, in an Optuna storage.

SQLite in the study's folder, or a PostgreSQL server. Every trial is one of Optuna's, its settings, seed and result as
user attributes, so that Optuna's own tools read it too. What a person waits for (lists, reports, going on) is read in
one query. Importing this loads neither Optuna nor torch.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..mistake import Mistake
from ..recipe import Value
from .settings import key

if TYPE_CHECKING:
    import optuna
    import sqlalchemy

RUNNING, DONE, FAILED, PRUNED = "running", "done", "failed", "pruned"
STATES = {"WAITING": RUNNING, "RUNNING": RUNNING, "COMPLETE": DONE, "FAIL": FAILED, "PRUNED": PRUNED}


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


class Ledger:
    """The trials of the study `name` in the database at `url`. One process at a time writes to it, within `alone`."""

    def __init__(self, url: str, name: str) -> None:
        kind = url.partition("://")[0].partition("+")[0]
        if kind not in ("sqlite", "postgresql", "postgres"):
            raise Mistake(f"a ledger is kept in sqlite:///FILE or postgresql://HOST/DATABASE: got {url!r}")
        self.name = name
        self.file = Path(url.removeprefix("sqlite:///")) if kind == "sqlite" else None
        self.url = url if self.file else "postgresql+psycopg://" + url.partition("://")[2]
        self._study: optuna.Study | None = None
        self._engine: sqlalchemy.Engine | None = None

    def __str__(self) -> str:
        """Where it lies, without a password."""
        from sqlalchemy import make_url

        return str(self.file) if self.file else make_url(self.url).render_as_string(hide_password=True)

    def about(self) -> dict[str, Any] | None:
        """What the study is, as `create` was told; None where there is none of this name."""
        found = self._query(
            "SELECT a.value_json FROM study_user_attributes a JOIN studies s ON s.study_id = a.study_id "
            "WHERE s.study_name = :name AND a.key = 'about'"
        )
        return dict(json.loads(found[0][0])) if found else None

    def trials(self) -> list[Trial]:
        """Every trial that was ever begun, by number."""
        found: dict[int, dict[str, Any]] = {}
        for number, state, value in self._query(
            "SELECT t.number, t.state, a.value_json FROM trials t JOIN studies s ON s.study_id = t.study_id "
            "JOIN trial_user_attributes a ON a.trial_id = t.trial_id "
            "WHERE s.study_name = :name AND a.key IN ('asked', 'given') ORDER BY t.number, a.key"
        ):
            found.setdefault(number, {"number": number, "state": STATES[state]}).update(json.loads(value))
        return [Trial(**fields) for fields in found.values()]

    def curve(self, number: int) -> list[dict[str, float]]:
        """The curve of a trial that has no run folder; empty where it has one."""
        found = self._query(
            "SELECT a.value_json FROM trials t JOIN studies s ON s.study_id = t.study_id "
            "JOIN trial_user_attributes a ON a.trial_id = t.trial_id "
            "WHERE s.study_name = :name AND t.number = :number AND a.key = 'curve'",
            number=number,
        )
        return list(json.loads(found[0][0])) if found else []

    def create(self, about: Mapping[str, Any], maximise: bool) -> None:
        """Begins the study, or says anew what it is."""
        with _clearly(self):
            direction = "maximize" if maximise else "minimize"
            optuna = _library()
            made = optuna.create_study(
                storage=self._storage(), study_name=self.name, direction=direction, load_if_exists=True
            )
            made.set_user_attr("about", dict(about))

    def study(self, **parts: Any) -> optuna.Study:
        """Optuna's own study. parts: its sampler, its pruner."""
        if self._study is None or parts:
            with _clearly(self):
                storage = self._study._storage if self._study else self._storage()
                self._study = _library().load_study(study_name=self.name, storage=storage, **parts)
        return self._study

    def add(self, settings: Mapping[str, Value | None], seed: int, params: Mapping[str, Any] | None = None) -> Trial:
        """A new trial, running from now. params: Optuna's (name: (value, distribution)), for its samplers."""
        with _clearly(self):
            study, kinds = self.study(), _library()
            template = kinds.trial.create_trial(
                state=kinds.trial.TrialState.RUNNING,
                params={name: value for name, (value, _) in (params or {}).items()},
                distributions={name: kind for name, (_, kind) in (params or {}).items()},
                user_attrs={"asked": {"settings": dict(settings), "seed": seed}},
            )
            trial_id = study._storage.create_new_trial(study._study_id, template_trial=template)
            return Trial(study._storage.get_trial_number_from_id(trial_id), dict(settings), seed)

    def report(self, number: int, step: int, value: float) -> None:
        """A value of a running trial on its way, for pruners."""
        with _clearly(self):
            self._stored().set_trial_intermediate_value(self._id(number), step, value)

    def should_prune(self, number: int) -> bool:
        """Whether the study's pruner would end a running trial now."""
        with _clearly(self):
            study = self.study()
            return bool(study.pruner.prune(study, self._stored().get_trial(self._id(number))))

    def tell(self, trial: Trial, value: float | None, curve: Sequence[Mapping[str, float]] = ()) -> None:
        """The end of a trial, whose state says how it ended. value: what the study looks at; None where it failed."""
        with _clearly(self):
            stored, trial_id, states = self._stored(), self._id(trial.number), _library().trial.TrialState
            given = {"figures": dict(trial.figures), "run": trial.run, "problem": trial.problem}
            if curve:
                stored.set_trial_user_attr(trial_id, "curve", [dict(point) for point in curve])
            stored.set_trial_user_attr(trial_id, "given", given)
            state = next(states[name] for name, ours in STATES.items() if ours == trial.state)
            stored.set_trial_state_values(trial_id, state, None if value is None else [value])

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Within, no other process writes to this study: that one is refused. A killed process holds nothing."""
        busy = Mistake(f"the study {self.name} is being run by another process")
        with contextlib.ExitStack() as held:
            if self.file:
                self.file.parent.mkdir(parents=True, exist_ok=True)
                lock = held.enter_context(self.file.with_name(f".{self.name}.lock").open("wb"))
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    raise busy from None
            else:
                import sqlalchemy

                with _clearly(self):
                    server = held.enter_context(self._reading().connect())
                    ask = sqlalchemy.text("SELECT pg_try_advisory_lock(hashtext(:name))")
                    if not server.execute(ask, {"name": f"steepest {self.name}"}).scalar():
                        raise busy
            yield

    def _id(self, number: int) -> int:
        """Optuna's id of a trial."""
        return int(self._stored().get_trial_id_from_study_id_trial_number(self.study()._study_id, number))

    def _stored(self) -> Any:
        return self.study()._storage

    def _storage(self) -> Any:
        """Optuna's storage, its tables made where there are none."""
        if self.file:
            self.file.parent.mkdir(parents=True, exist_ok=True)
        made = _library().storages.RDBStorage(self.url, engine_kwargs={"pool_pre_ping": True})
        _swift(made.engine)
        return made

    def _reading(self) -> sqlalchemy.Engine:
        if self._engine is None:
            import sqlalchemy

            self._engine = sqlalchemy.create_engine(self.url)
        return self._engine

    def _query(self, text: str, **values: Any) -> list[Any]:
        """The rows of a query; none where the database has no tables yet."""
        if self.file and not self.file.exists():
            return []
        import sqlalchemy

        with _clearly(self), self._reading().connect() as connection:
            if not sqlalchemy.inspect(connection).has_table("trials"):
                return []
            return list(connection.execute(sqlalchemy.text(text), values | {"name": self.name}))


def _library() -> Any:
    """Optuna, which says nothing by itself."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna


def _swift(engine: sqlalchemy.Engine) -> None:
    """SQLite keeps a log of changes, synced to disk now and then, and never torn: a few times faster than its default.

    A power cut can cost the last moments' rows, but no run folder, from which they are made again.
    """
    import sqlalchemy

    if engine.dialect.name == "sqlite":

        @sqlalchemy.event.listens_for(engine, "connect")
        def connected(connection: Any, record: Any) -> None:
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=NORMAL")

        engine.dispose()


@contextlib.contextmanager
def _clearly(ledger: Ledger) -> Iterator[None]:
    """What the database or Optuna find wrong, as one sentence."""
    import sqlalchemy

    try:
        yield
    except ModuleNotFoundError as error:
        raise Mistake(f"a ledger in PostgreSQL needs {error.name}: pip install 'steepest[postgresql]'") from None
    except sqlalchemy.exc.SQLAlchemyError as error:
        why = str(getattr(error, "orig", None) or error).strip().splitlines()[0]
        raise Mistake(f"the ledger {ledger} cannot be used: {why}") from error
    except RuntimeError as error:
        if "table schema" not in str(error):
            raise
        raise Mistake(f"the ledger {ledger} was written by another version of Optuna: {error}") from error
