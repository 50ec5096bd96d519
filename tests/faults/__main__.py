"""The command: see `run.py`."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "support"))  # what all tests share

if __name__ == "__main__":
    from run import main

    sys.exit(main())
