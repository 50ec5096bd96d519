from __future__ import annotations

import pytest

from sweeps.study.storage import without_password


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://me:secret@host:5432/db", "postgresql://me:***@host:5432/db"),
        (
            "postgresql+psycopg://me:s%40ecret@host/db?sslmode=require",
            "postgresql+psycopg://me:***@host/db?sslmode=require",
        ),
        ("postgresql://me:se/c#r?e@t:@host/db", "postgresql://me:***@host/db"),
        ("postgresql://:secret@host/db", "postgresql://:***@host/db"),
        (
            "postgresql://host/db?user=me&password=secret&sslmode=require",
            "postgresql://host/db?user=me&password=***&sslmode=require",
        ),
        ("postgresql://me@host/db?PassWord=secret", "postgresql://me@host/db?PassWord=***"),
        ("postgresql://host:5432/db", "postgresql://host:5432/db"),
        ("sqlite:///study.db", "sqlite:///study.db"),
        ("sqlite:////data/a:b@c/study.db", "sqlite:////data/a:b@c/study.db"),
    ],
)
def test_passwords_are_not_shown(url: str, shown: str) -> None:
    assert without_password(url) == shown
