"""`sensorium weights`: which are known, whether their files are sound, adding, reducing tokens."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

# sensorium.weights imports torch; the other commands must not wait for that.


def add_parsers(commands: Any) -> None:  # noqa: ANN401 - argparse's sub-parser type is private
    """Add the sub-command `weights` with list, verify, add and fit-reduction."""
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
    fit = actions.add_parser(
        "fit-reduction", help="shorten geometry tokens by a PCA fitted on frames of your own"
    )
    fit.add_argument("recording", type=Path, help="folder (7-Scenes, TUM) or bag of RgbdFrame")
    fit.add_argument("output", type=Path, help="file to write, e.g. tokens64.safetensors")
    fit.add_argument("--weights", default="omnivggt-small", help="name, or path of .safetensors")
    fit.add_argument("--channels", type=int, default=64, help="length of a token afterwards")
    fit.add_argument("--frames", type=int, default=100, help="frames used, spread evenly")
    # As in the node, so that tokens are fitted in the windows in which they will be made.
    fit.add_argument("--width", type=int, help="omnivggt.input_width_px of the node [px]")
    fit.add_argument("--height", type=int, help="omnivggt.input_height_px of the node [px]")
    fit.add_argument("--window", type=int, help="omnivggt.window_views of the node")
    fit.add_argument("--device", default="auto", help="auto, cpu or cuda")
    fit.set_defaults(run=_fit_reduction)


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


def _fit_reduction(arguments: argparse.Namespace) -> int:
    from sensorium.configuration import build
    from sensorium.device import chosen_device
    from sensorium.geometry.omnivggt import OmniVGGTBackend
    from sensorium.geometry.omnivggt_configuration import OmniVGGTConfiguration
    from sensorium.geometry.reduction_fitting import fit_reduction
    from sensorium.geometry.sensor import SensorConfiguration
    from sensorium.geometry.token_reduction import save_reduction
    from sensorium.sources.opening import open_recording

    values = {
        "weights": arguments.weights, "input_width_px": arguments.width,
        "input_height_px": arguments.height, "window_views": arguments.window,
    }  # fmt: skip
    given = {name: value for name, value in values.items() if value is not None}
    configuration = build(OmniVGGTConfiguration, given)
    device = chosen_device(arguments.device)
    with open_recording(arguments.recording) as source:
        backend = OmniVGGTBackend(configuration, SensorConfiguration(), device)
        backend.configure()
        if backend.notice:
            print(backend.notice)
        fitted = fit_reduction(
            backend, source, channels=arguments.channels, most_frames=max(1, arguments.frames)
        )
    save_reduction(fitted.reduction, arguments.output)
    kept = float(fitted.reduction.explained.sum())
    print(
        f"{arguments.output}: {fitted.tokens} tokens of {fitted.frames} frames ({fitted.skipped} "
        f"skipped), {backend.token_layout.channels} -> {arguments.channels} channels, "
        f"{100 * kept:.1f} % of the variance; for weights {backend.token_layout.weights_sha256}"
    )
    return 0
