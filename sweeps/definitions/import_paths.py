"""Import paths of classes and functions, also of those that the script or notebook defines that launches a sweep."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType
from typing import Any

from lit_dl.errors import ConfigError, suggest
from sweeps.definitions.notebook_code import NOTEBOOK_CODE, NotebookCode, attribute, public_module, write_code

_MAIN = "__main__"


class ImportPaths:
    """Finds the import path by which another process gets a class or a function.

    What a script defines is in the script's file, which the other process imports as a module. What a notebook defines
    has no file, so its source is written to one: the module `notebook_code`.

    """

    def __init__(self) -> None:
        self._main = sys.modules[_MAIN]
        self._module: str | None = None  # of what `__main__` defines, once it was asked for
        self._notebook = NotebookCode(vars(self._main))

    def of(self, key: str, definition: Any) -> str:
        """Returns the import path of a class, a function or a method.

        Args:
            key: Dotted key of the spec, for errors.
            definition: The object.

        Raises:
            ConfigError: Another process cannot import it.
        """
        name = definition.__qualname__
        if definition.__module__ == _MAIN and attribute(self._main, name) == definition:
            return self._of_main(key, name)
        module = public_module(definition.__module__, name, definition)
        if module is None:
            raise ConfigError(key, f"must be defined at the top level of a module, where others find it; {name} is not")
        return f"{module}.{name}"

    def resolve(self, key: str, path: str) -> str:
        """Returns an import path with `__main__.NAME` as the path at which another process finds it.

        Raises:
            ConfigError: This process has no such name, or another process cannot import it.
        """
        if not path.startswith(f"{_MAIN}."):
            return path
        name = path.removeprefix(f"{_MAIN}.")
        if attribute(self._main, name) is None:
            raise ConfigError(key, f"{path!r} is not defined here{suggest(name, vars(self._main))}")
        return self._of_main(key, name)

    def _of_main(self, key: str, name: str) -> str:
        script = getattr(self._main, "__file__", None)
        if script is None:
            self._notebook.add(key, name.split(".")[0])
            self._module = NOTEBOOK_CODE
        elif self._module is None:
            self._module = _script_module(key, name, self._main, Path(script))
        return f"{self._module}.{name}"

    def notebook_code(self) -> str | None:
        """Returns the source of what is used of a notebook; `None` if nothing is."""
        return self._notebook.text() if self._module == NOTEBOOK_CODE else None

    @contextmanager
    def importable(self) -> Iterator[None]:
        """Makes the import paths work in processes that are started in the block.

        In this process they stand for what is defined already: nothing is imported a second time.
        """
        if self._module is None:
            yield
            return
        before = list(sys.path), os.environ.get("PYTHONPATH"), sys.modules.get(self._module)
        with TemporaryDirectory(prefix="sweeps-") as folder:
            if (code := self.notebook_code()) is not None:
                write_code(Path(folder), code)
                root = folder
            else:
                script = Path(self._main.__file__ or "").absolute()
                root = str(script.parents[self._module.count(".")])
            sys.path.insert(0, root)
            os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (root, before[1])))  # for workers of Ray
            sys.modules[self._module] = self._main
            try:
                yield
            finally:
                self._restore(*before)

    def _restore(self, path: list[str], python_path: str | None, module: ModuleType | None) -> None:
        assert self._module is not None
        sys.path[:] = path
        del os.environ["PYTHONPATH"], sys.modules[self._module]
        os.environ |= {} if python_path is None else {"PYTHONPATH": python_path}
        sys.modules |= {} if module is None else {self._module: module}


def _script_module(key: str, name: str, main: ModuleType, script: Path) -> str:
    """Returns the name by which the file of the running script can be imported."""
    spec = getattr(main, "__spec__", None)
    candidates: list[str] = [script.stem, *([spec.name] if spec is not None else [])]  # of `python -m package.module`
    module = next((module for module in candidates if _is_file_of(module, script)), None)
    if module is None:
        raise ConfigError(
            key,
            f"{name} is defined in {script.name}, which must be importable as {script.stem!r} and is not; give the "
            "file a name without dots that no other module has, and put its folder into PYTHONPATH",
        )
    return module


def _is_file_of(module: str, script: Path) -> bool:
    try:
        spec = find_spec(module)
    except (ImportError, ValueError):  # a parent that is no package, or a module without a spec
        return False
    return spec is not None and spec.origin is not None and Path(spec.origin).resolve() == script.resolve()
