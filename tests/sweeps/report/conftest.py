"""A run folder of every outcome."""

from __future__ import annotations

from pathlib import Path

import pytest
from report_folders import run_folder, with_params, write_curve


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    rows = [with_params(n, "completed", 0.9 + 0.001 * (n * 7 % 13)) for n in range(12)]
    rows += [with_params(12, "pruned", 0.99, reason="the pruner stopped it")]
    rows += [with_params(13, "failed", reason="ValueError: <script>alert(1)</script> & %{y}")]
    rows += [with_params(14, "diverged", reason="val/acc is not finite"), with_params(15, "out_of_memory")]
    run_dir = run_folder(tmp_path / "mixed", rows)
    for number in range(13):
        write_curve(run_dir, number, [0.5, 0.9, 0.91][: 1 if number == 12 else 3])
    write_curve(run_dir, 16, [0.4, "nan"])
    return run_dir
