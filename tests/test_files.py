from __future__ import annotations

from pathlib import Path

import pytest

from lit_dl.files import write_text


def test_a_reader_sees_the_old_file_or_the_new_one_whole(tmp_path: Path) -> None:
    path = tmp_path / "status.json"
    write_text(path, "old ü")
    with path.open(encoding="utf-8") as reader:
        write_text(path, "new")
        assert reader.read() == "old ü"
    assert path.read_text(encoding="utf-8") == "new"
    assert [file.name for file in tmp_path.iterdir()] == ["status.json"]


def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "status.json"
    write_text(path, "old")
    with pytest.raises(UnicodeEncodeError):
        write_text(path, "\ud800")
    assert path.read_text(encoding="utf-8") == "old"
