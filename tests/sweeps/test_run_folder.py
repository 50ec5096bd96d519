"""The folder of a launch, and that of a worker that joins a sweep."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from optuna.storages import RDBStorage
from postgresql import Server
from studies import study_spec
from sweep_specs import resolved_spec

from lit_dl.errors import ConfigError, LitError, StorageError
from sweeps.run_folder import check_same, join_folder, open_folder
from sweeps.spec.parse_spec import load_spec
from sweeps.spec.spec import SweepSpec
from sweeps.study.study import SharedStudy


@pytest.fixture
def spec(tmp_path: Path) -> SweepSpec:
    return resolved_spec(tmp_path, name=f"study-{time.time_ns()}")


@pytest.fixture
def shared(tmp_path: Path, server: Server, spec: SweepSpec, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The URL of a server with the study of the spec, launched elsewhere."""
    opened: list[RDBStorage] = []
    begin = RDBStorage.__init__

    def note(self: RDBStorage, *words: object, **options: object) -> None:
        opened.append(self)
        begin(self, *words, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(RDBStorage, "__init__", note)
    (tmp_path / "launcher").mkdir()
    SharedStudy(tmp_path / "launcher", spec, server.url, create=True)
    yield server.url
    for storage in opened:
        storage.remove_session()
        storage.engine.dispose()


def test_a_machine_without_a_folder_gets_one_from_the_study(tmp_path: Path, shared: str, spec: SweepSpec) -> None:
    folder = tmp_path / "here" / "run"
    assert join_folder(folder, spec.name, shared) == folder
    assert load_spec(folder / "spec.yaml").dump() == spec.dump()
    assert join_folder(folder, spec.name, shared) == folder  # another worker on that machine


def test_where_no_folder_is_named_it_is_called_as_the_study(
    tmp_path: Path, shared: str, spec: SweepSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert join_folder(None, spec.name, shared) == Path("runs") / spec.name


def test_the_folder_of_another_study_is_left_as_it_is(tmp_path: Path, shared: str, spec: SweepSpec) -> None:
    text = resolved_spec(tmp_path, name="another").dump()
    (tmp_path / "spec.yaml").write_text(text)
    with pytest.raises(StorageError, match="must not be the run folder of another study, 'another'"):
        join_folder(tmp_path, spec.name, shared)
    assert (tmp_path / "spec.yaml").read_text() == text


def test_a_study_that_is_not_there_is_answered_with_those_that_are(
    tmp_path: Path, shared: str, spec: SweepSpec
) -> None:
    with pytest.raises(
        StorageError, match=rf"must hold the study 'nobodys' of a sweeps launch; it holds .*{spec.name}"
    ):
        join_folder(tmp_path / "run", "nobodys", shared)
    assert not (tmp_path / "run").exists()


def test_the_launchers_folder_is_taken_as_it_is(tmp_path: Path, spec: SweepSpec) -> None:
    (tmp_path / "spec.yaml").write_text(spec.dump())
    SharedStudy(tmp_path, spec, create=True)
    assert join_folder(tmp_path, None, None) == tmp_path


def test_what_cannot_be_joined_says_why(tmp_path: Path, spec: SweepSpec) -> None:
    with pytest.raises(StorageError, match="RUN_DIR: must be given"):
        join_folder(None, None, None)
    with pytest.raises(StorageError, match=r"it has no spec.yaml"):
        join_folder(tmp_path / "none", None, None)
    (tmp_path / "spec.yaml").write_text(spec.dump())
    with pytest.raises(StorageError, match=r"its sweep uses a database; give its URL \(--storage, \$SWEEPS_STORAGE\)"):
        join_folder(tmp_path, None, None)
    with pytest.raises(StorageError, match="--study: must come with --storage URL"):
        join_folder(tmp_path, "tiny", None)
    with pytest.raises(StorageError, match="must be PostgreSQL, which several machines can share"):
        join_folder(tmp_path, "tiny", f"sqlite:///{tmp_path / 'a.db'}")


def launch(run_dir: Path, error: Exception, *names: str) -> None:
    """A launch that leaves these files, by their names beside or in the run folder, and then raises."""
    with open_folder(run_dir):
        for name in names:
            (run_dir / name).parent.mkdir(exist_ok=True)
            (run_dir / name).write_text("")
        raise error


def refuse(run_dir: Path, *names: str) -> None:
    with pytest.raises(LitError):
        launch(run_dir, LitError(), *names)


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_launch_that_refuses_takes_away_what_it_made_and_no_more(tmp_path: Path) -> None:
    refuse(tmp_path / "runs" / "tiny", "spec.yaml", "study.journal")
    assert names_in(tmp_path) == []
    (tmp_path / "runs").mkdir()
    refuse(tmp_path / "runs" / "tiny", "spec.yaml")
    assert names_in(tmp_path) == ["runs"]


def test_a_folder_above_that_another_launch_uses_by_now_stays(tmp_path: Path) -> None:
    refuse(tmp_path / "runs" / "tiny", "spec.yaml", "../other/spec.yaml")
    assert names_in(tmp_path / "runs") == ["other"]


@pytest.mark.parametrize("is_new", [True, False])
def test_a_folder_with_trials_stays_whatever_a_launch_raises(tmp_path: Path, is_new: bool) -> None:
    run_dir = tmp_path / "run"
    if not is_new:
        refuse(run_dir, "trials/00000")
    refuse(run_dir, "spec.yaml", "study.journal", "trials/00000")
    assert names_in(run_dir) == ["lock", "spec.yaml", "study.journal", "trials"]
    with open_folder(run_dir):  # nobody holds it
        assert names_in(run_dir / "trials") == ["00000"]


def test_a_folder_that_was_there_stays_also_before_its_first_trial(tmp_path: Path) -> None:
    refuse(tmp_path, "spec.yaml", "study.journal")
    assert names_in(tmp_path) == ["lock", "spec.yaml", "study.journal"]


def test_a_fault_of_ours_leaves_everything_to_look_at(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError):
        launch(tmp_path / "run", RuntimeError(), "spec.yaml")
    assert names_in(tmp_path / "run") == ["lock", "spec.yaml"]


def test_a_folder_that_began_with_choices_equal_in_python_goes_on(tmp_path: Path) -> None:
    spec = study_spec(space={"model.step": {"choices": [1, 1.0]}})
    with pytest.raises(ConfigError, match=r"1 and 1\.0"):
        check_same(tmp_path, spec)
    (tmp_path / "spec.yaml").write_text(spec.dump())
    check_same(tmp_path, load_spec(tmp_path / "spec.yaml"))
