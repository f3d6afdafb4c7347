"""Where the package's launch, config and rviz files are: source tree, colcon or pip."""

from __future__ import annotations

import os
import sys
from pathlib import Path

PACKAGE = "sensorium_ros"


def share_directory() -> Path:
    """Return the directory that holds launch/, config/ and rviz/.

    Raises:
        FileNotFoundError: no installation of the package's data files was found.
    """
    source_tree = Path(__file__).resolve().parents[1]
    candidates = [source_tree] if (source_tree / "package.xml").exists() else []
    prefixes = [path for path in os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep) if path]
    candidates += [Path(prefix) / "share" / PACKAGE for prefix in [*prefixes, sys.prefix]]
    for candidate in candidates:
        if (candidate / "config").is_dir():
            return candidate
    raise FileNotFoundError(
        f"the data files of {PACKAGE} (config/, launch/, rviz/) are in none of "
        f"{', '.join(map(str, candidates))}: source the workspace's setup.bash or run pip install"
    )


def parameter_file(name_or_path: str) -> Path:
    """Return a parameter file given by path, or by the name of one in config/ ("rendered").

    Raises:
        FileNotFoundError: there is none; the text lists the shipped names.
    """
    given = Path(name_or_path).expanduser()
    if given.is_file():
        return given.resolve()
    config = share_directory() / "config"
    shipped = config / f"{name_or_path}.yaml"
    if shipped.is_file():
        return shipped
    names = ", ".join(sorted(path.stem for path in config.glob("*.yaml")))
    raise FileNotFoundError(
        f"no parameter file '{name_or_path}': give a path or one of the shipped names {names}"
    )
