"""The import paths of what a script defines: another process finds it there, and the script is not run twice here."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from paths import REPOSITORY

SCRIPT = """
print("runs as", __name__)
import os, sys
from sweeps.definitions.import_paths import ImportPaths

class Net:
    class Inner: pass
    @classmethod
    def make(cls): return cls()

def outer():
    class Local: pass
    return Local

if __name__ == "__main__":
    paths = ImportPaths()
    try:
        print(*(paths.of("model", found) for found in {found}))
        print(paths.resolve("model", "__main__.Net"), paths.resolve("model", "other.Net"))
        before = list(sys.path), dict(os.environ)
        with paths.importable():
            module, _, name = paths.of("model", Net).rpartition(".")
            assert getattr(__import__(module, fromlist=["Net"]), "Net") is Net
            code = f"import {module}; print('elsewhere', {module}.Net)"
            sys.stdout.flush()
            os.system(f'{sys.executable} -c "{code}"')
        assert (list(sys.path), dict(os.environ)) == before
        assert module not in sys.modules
    except Exception as error:
        print(type(error).__name__, error)
"""


def run(folder: Path, name: str, found: str = "[Net]", *words: str) -> list[str]:
    """What a script of this name prints; it is run as a module if `words` say so."""
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(SCRIPT.replace("{found}", found))
    environment: dict[str, Any] = {"PYTHONPATH": str(REPOSITORY)}
    command = [sys.executable, *(words or [str(path)])]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.stderr == ""
    return [line for line in done.stdout.splitlines() if line != "runs as __main__"]


def test_what_a_script_defines_is_in_its_file(tmp_path: Path) -> None:
    lines = run(tmp_path, "scripts/my_net.py", "[Net, Net.Inner, Net.make, os.path.join, ImportPaths]")
    assert lines == [
        "my_net.Net my_net.Net.Inner my_net.Net.make posixpath.join sweeps.definitions.import_paths.ImportPaths",
        "my_net.Net other.Net",
        "runs as my_net",  # elsewhere
        "elsewhere <class 'my_net.Net'>",
    ]


def test_a_script_that_runs_as_a_module_of_a_package_has_its_full_name(tmp_path: Path) -> None:
    lines = run(tmp_path, "package/my_net.py", "[Net]", "-m", "package.my_net")
    assert lines == [
        "package.my_net.Net",
        "package.my_net.Net other.Net",
        "runs as package.my_net",
        "elsewhere <class 'package.my_net.Net'>",
    ]


@pytest.mark.parametrize(
    ("name", "found", "error"),
    [
        ("my.net.py", "[Net]", "Net is defined in my.net.py, which must be importable as 'my.net' and is not; give"),
        ("json.py", "[Net]", ""),  # the folder of the script comes first
        ("sys.py", "[Net]", "Net is defined in sys.py, which must be importable as 'sys' and is not; give"),
        ("net.py", "[outer()]", "must be defined at the top level of a module, where others find it; outer"),
        ("net.py", "[lambda: 1]", "must be defined at the top level of a module, where others find it; <lambda>"),
        (
            "net.py",
            "[] or paths.resolve('model', '__main__.Nett')",
            "'__main__.Nett' is not defined here; did you mean",
        ),
    ],
)
def test_what_others_cannot_import_is_an_error(tmp_path: Path, name: str, found: str, error: str) -> None:
    lines = run(tmp_path, name, found)
    assert lines[0].startswith(f"ConfigError model: {error}") if error else lines[0] == "json.Net"
