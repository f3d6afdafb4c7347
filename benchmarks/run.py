"""Run the benchmarks one after the other, each in a process of its own.

Run: make bench, or python benchmarks/run.py [NAME ...]
A benchmark is a file in this folder that can be run; each writes results/NAME.json. Without names
the heavy ones are skipped. Ends with 1 when one fails.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
HEAVY = {
    "geometry_model": "several GB and minutes a forward",
    "segmentation_model": "several GB and minutes a forward",
    "signal_soak": "ten minutes",
    "soak": "ten minutes or more",
}
# They can be run, but measure nothing by themselves.
_NO_BENCHMARKS = ("run", "watched_nodes")


def benchmarks() -> list[str]:
    """Return the names of all benchmarks."""
    return sorted(
        path.stem
        for path in FOLDER.glob("*.py")
        if path.stem not in _NO_BENCHMARKS
        and 'if __name__ == "__main__":' in path.read_text(encoding="utf-8")
    )


def main() -> None:
    """Run them."""
    known = benchmarks()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=f"{', '.join(known)}; default: all but the heavy"
    )
    names = parser.parse_args().names
    unknown = sorted(set(names) - set(known))
    if unknown:
        parser.error(f"no benchmark {', '.join(unknown)}; there are {', '.join(known)}")
    failed = []
    for name in names or known:
        if not names and name in HEAVY:
            print(f"== {name}: skipped ({HEAVY[name]}); run it by its name")
            continue
        print(f"== {name}", flush=True)
        started_s = time.monotonic()
        ended = subprocess.run([sys.executable, str(FOLDER / f"{name}.py")], check=False)
        print(f"== {name}: {time.monotonic() - started_s:.0f} s", flush=True)
        if ended.returncode != 0:
            failed.append(name)
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
