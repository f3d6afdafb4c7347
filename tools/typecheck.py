"""Run mypy over the package as it is imported: nodes/ and models/ below sensorium/.

setup.py maps these folders when it installs; mypy needs the same tree, so one is made of links.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from mypy import api

ROOT = Path(__file__).resolve().parents[1]
TREE = ROOT / "build" / "typecheck"


def main() -> int:
    """Link the tree, check it, print mypy's report with the paths of the repository."""
    shutil.rmtree(TREE, ignore_errors=True)
    package = TREE / "sensorium"
    package.mkdir(parents=True)
    for path in (ROOT / "sensorium").iterdir():
        if path.name != "__pycache__":
            (package / path.name).symlink_to(path)
    for name in ("nodes", "models"):
        (package / name).symlink_to(ROOT / name)
    os.chdir(TREE)
    report, errors, status = api.run(
        ["--config-file", str(ROOT / "pyproject.toml"), "--cache-dir", str(ROOT / ".mypy_cache"),
         "-p", "sensorium"]
    )  # fmt: skip
    for name in ("nodes", "models"):
        report = report.replace(f"sensorium/{name}/", f"{name}/")
    print(report + errors, end="")
    return status


if __name__ == "__main__":
    sys.exit(main())
