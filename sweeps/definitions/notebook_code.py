"""The source of what a notebook defines, as a module that other processes import.

Only what the classes use is in it: each name that they use is looked up in the notebook, where it has its value of now.
A class or a function becomes its source, anything that can be imported an import, a plain value its text. Nothing is
pickled, and the file stays in the run folder, so a trial can be repeated after the notebook is gone.
"""

from __future__ import annotations
import __future__

import ast
import inspect
import linecache
import re
import symtable
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePath
from textwrap import dedent
from types import FunctionType, ModuleType
from typing import Any

from lit_dl.errors import ConfigError
from lit_dl.files import write_text

NOTEBOOK_CODE = "notebook_code"
"""Name of the module."""

_HEADER = '"""What the trials use of the notebook that launched the sweep; written by sweeps.launch."""\n\n'
_FUTURE = "from __future__ import annotations\n\n"


class NotebookCode:
    """Collects the source of names that a notebook defines, and of all that these use.

    Args:
        namespace: The names of the notebook, with their values.
    """

    def __init__(self, namespace: Mapping[str, Any]) -> None:
        self._namespace = namespace
        self._statements: dict[str, str] = {}  # by name, each after those that it uses
        self._begun: set[str] = set()

    def add(self, key: str, name: str) -> None:
        """Adds a name and what it uses.

        Args:
            key: Dotted key of the spec, for errors.
            name: A name of the notebook.

        Raises:
            ConfigError: It uses an object that has no text.
        """
        self._add(key, name, name)

    def text(self) -> str:
        """Returns the source of the module."""
        has_future = self._namespace.get("annotations") is __future__.annotations
        return _HEADER + (_FUTURE if has_future else "") + "\n\n".join(self._statements.values()) + "\n"

    def _add(self, key: str, name: str, user: str) -> None:
        if name in self._begun:
            return
        self._begun.add(name)
        value = self._namespace[name]
        if _is_defined_here(value):
            self._add_definition(key, name, value)
        else:
            statement = _import_of(name, value) or _assignment(name, value)
            if statement is None:
                raise ConfigError(
                    key,
                    f"{user} uses {name} of the notebook, a {type(value).__name__}, which no other process has; make "
                    f"it inside of {user}, or define both in a module",
                )
            self._statements[name] = statement

    def _add_definition(self, key: str, name: str, value: Any) -> None:
        own_name = value.__name__
        source = _source(value, self._namespace) if self._namespace.get(own_name) is value else None
        if source is None:
            raise ConfigError(key, f"the source of {name} is not found in the notebook; define it in a module")
        if own_name != name:
            self._add(key, own_name, name)
            self._statements[name] = f"{name} = {own_name}"
            return
        for used in _global_names(source):
            if used in self._namespace and not used.startswith("__"):
                self._add(key, used, name)
        self._statements[name] = source


def write_code(folder: Path, text: str) -> None:
    """Writes the module `notebook_code` into a folder."""
    write_text(folder / f"{NOTEBOOK_CODE}.py", text)


def add_to_path(run_dir: Path) -> None:
    """Lets this process import what a notebook defined for the sweep in a run folder, if there was a notebook."""
    folder = str(run_dir.absolute())
    if folder not in sys.path and (run_dir / f"{NOTEBOOK_CODE}.py").is_file():
        sys.path.insert(0, folder)


def _is_defined_here(value: Any) -> bool:
    return isinstance(value, type | FunctionType) and value.__module__ == "__main__"


# Imports and plain values


def _import_of(name: str, value: Any) -> str | None:
    """Returns the statement that imports a module or an object of one; `None` if no module has it."""
    if isinstance(value, ModuleType):
        return f"import {value.__name__}" + (f" as {name}" if value.__name__ != name else "")
    if _is_plain(value):
        return None
    modules = {name: module for name, module in sys.modules.items() if name not in ("__main__", NOTEBOOK_CODE)}
    module, own_name = getattr(value, "__module__", None), getattr(value, "__name__", name)
    if isinstance(module, str) and getattr(modules.get(module), own_name, None) is value:
        return f"from {module} import {own_name}" + (f" as {name}" if own_name != name else "")
    # A type alias or a function of an extension module does not say where it is from.
    found = (other for other, loaded in modules.items() if getattr(loaded, "__dict__", {}).get(name) is value)
    return next((f"from {other} import {name}" for other in found), None)


def _assignment(name: str, value: Any) -> str | None:
    """Returns the statement that assigns a plain value or a path."""
    if isinstance(value, PurePath):
        return f"import pathlib\n\n{name} = pathlib.Path({str(value)!r})"
    return f"{name} = {value!r}" if _is_plain(value) else None


def _is_plain(value: Any) -> bool:
    try:
        return bool(ast.literal_eval(repr(value)) == value)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return False


# Sources


def _global_names(source: str) -> Iterator[str]:
    """Yields the names that a definition uses and does not define itself."""
    tables = [symtable.symtable(source, "<notebook>", "exec")]
    while tables:
        table = tables.pop()
        tables += table.get_children()
        for symbol in table.get_symbols():
            if symbol.is_referenced() and (symbol.is_global() or table.get_type() == "module"):
                yield symbol.get_name()


def _source(value: Any, namespace: Mapping[str, Any]) -> str | None:
    """Returns the source of a class or function with its decorators; `None` if it is not known."""
    parts = [value] if isinstance(value, FunctionType) else vars(value).values()
    for part in parts:
        code = getattr(inspect.unwrap(getattr(part, "__func__", getattr(part, "fget", part))), "__code__", None)
        text = "".join(linecache.getlines(code.co_filename)) if code is not None else ""
        if source := _definition(text, value.__name__, code.co_firstlineno if code is not None else 0):
            return source
    # A class without functions of its own does not say where it is from. It is the last of its name in the cells.
    cells = (re.sub(r"^[%!].*$", "", cell, flags=re.MULTILINE) for cell in reversed(namespace.get("In", [])))
    return next(filter(None, (_definition(cell, value.__name__) for cell in cells)), None)


def _definition(text: str, name: str, line: int | None = None) -> str | None:
    """Returns the last top-level definition of a name in a text; with a line, the one that this line is in."""
    try:
        nodes = ast.parse(text).body
    except SyntaxError:  # a cell with magics
        return None
    for node in reversed(nodes):
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and node.name == name:
            first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
            if line is None or first <= line <= (node.end_lineno or first):
                return dedent("\n".join(text.splitlines()[first - 1 : node.end_lineno]))
    return None
