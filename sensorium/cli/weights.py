"""`sensorium weights`: which weights are known, whether their files are sound, adding one."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

# sensorium.weights imports torch; the other commands must not wait for that.


def add_parsers(commands: Any) -> None:  # noqa: ANN401 - argparse's sub-parser type is private
    """Add the sub-command `weights` with list, verify and add."""
    parser = commands.add_parser("weights", help="list, verify or add weights files")
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    actions.add_parser("list", help="show every known entry").set_defaults(run=_list)
    verify = actions.add_parser("verify", help="check files against architecture and SHA-256")
    verify.add_argument("names", nargs="*", help="entries to check; none checks those present")
    verify.set_defaults(run=_verify)
    add = actions.add_parser("add", help="record a local safetensors file; nothing is downloaded")
    add.add_argument("name", help="name of the entry, e.g. omnivggt-published")
    add.add_argument("file", type=Path)
    add.add_argument("--licence", help="licence of the weights; unknown counts as non-commercial")
    add.add_argument("--source", help="where the file comes from")
    add.set_defaults(run=_add)


def _list(_arguments: argparse.Namespace) -> int:
    from sensorium import weights

    for entry in weights.list_weights():
        state = "present" if entry.is_present else "not on this machine"
        print(f"{entry.name}  ({state})")
        print(f"  file     {entry.path}")
        print(f"  licence  {entry.licence}")
        print(f"  source   {entry.source}")
        print(f"  sha256   {entry.sha256 or 'not recorded'}")
        print(f"  measured {entry.measured or 'nothing recorded'}")
    return 0


def _verify(arguments: argparse.Namespace) -> int:
    from sensorium import weights

    if arguments.names:
        entries = [weights.find_weights(name) for name in arguments.names]
    else:
        entries = [entry for entry in weights.list_weights() if entry.is_present]
        if not entries:
            print("no weights file is on this machine; record one with: sensorium weights add")
    failed = 0
    for entry in entries:
        result = weights.verify_weights(entry)
        print(f"{entry.name}: {'ok' if result.passed else 'FAILED'} {result.reason}".rstrip())
        failed += not result.passed
    return 1 if failed else 0


def _add(arguments: argparse.Namespace) -> int:
    from sensorium import weights

    entry = weights.add_weights(
        weights.user_manifest(),
        arguments.file,
        name=arguments.name,
        licence=arguments.licence,
        source=arguments.source,
    )
    print(f"recorded '{entry.name}' ({entry.sha256}) in {weights.user_manifest()}")
    notice = weights.licence_notice(entry)
    if notice:
        print(notice)
    return 0
