"""Services that tests use for real. Where one is missing, a test is skipped; in CI that is a failure."""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

import pytest
from browser import Browser, program
from postgresql import Server, binaries


def missing(service: str) -> NoReturn:
    """Skips the test; fails it in CI, which installs every service itself."""
    if os.environ.get("CI"):
        pytest.fail(f"{service} is not installed, and CI must not skip what needs it")
    pytest.skip(f"{service} is not installed")


@contextmanager
def postgresql_server() -> Iterator[Server]:
    """A PostgreSQL server of the tests' own."""
    if binaries() is None:
        missing("PostgreSQL")
    server = Server()
    try:
        yield server
    finally:
        server.close()


@contextmanager
def headless_browser() -> Iterator[Browser]:
    """Debian's headless Chromium."""
    if program() is None:
        missing("Chromium")
    browser = Browser()
    try:
        yield browser
    finally:
        browser.close()


def require(package: str) -> Any:
    """The package, imported."""
    try:
        return importlib.import_module(package)
    except ImportError:
        missing(package)
