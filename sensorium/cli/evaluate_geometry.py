"""`sensorium evaluate geometry`: accuracy of OmniVGGT weights on rendered and recorded views."""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sensorium.sources import RecordingConfiguration
    from sensorium.weights import LoadedModel

# What imports torch is imported when the command runs; the others must not wait for it.

_IDENTITY = "0,0,0,0,0,0,1"


def add_parser(subjects: Any) -> None:  # noqa: ANN401 - argparse's sub-parser type is private
    """Add the subject `geometry`."""
    parser = subjects.add_parser(
        "geometry", help="depth and poses with none, some and all auxiliary inputs"
    )
    parser.add_argument(
        "--weights", default="omnivggt-small", help="a name of `sensorium weights list`, or a file"
    )
    parser.add_argument("--rooms", type=int, default=40, help="held-out rendered rooms; 0: none")
    parser.add_argument(
        "--folder", help="also evaluate on a recording in the 7-Scenes or TUM RGB-D layout"
    )
    parser.add_argument(
        "--color-intrinsics", help="fx,fy,cx,cy of its colour camera, where depth is unregistered"
    )
    parser.add_argument(
        "--color-from-depth", default=_IDENTITY,
        help="x,y,z,qx,qy,qz,qw of the depth camera in the colour camera [m] (default: one place)",
    )  # fmt: skip
    parser.add_argument(
        "--step", type=int, default=2, help="take every n-th frame of the recording"
    )
    parser.add_argument("--groups", type=int, default=40, help="most groups of the recording")
    parser.add_argument("--views", type=int, default=4, help="views that the model sees together")
    parser.add_argument(
        "--width", type=int, help="width of the model's input [px] (default: what it was made for)"
    )
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
    parser.add_argument("--json", type=Path, help="write the numbers here")
    parser.add_argument(
        "--markdown", type=Path, help="write the page here, in place of printing it"
    )
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    from sensorium.device import chosen_device
    from sensorium.geometry.evaluation_report import markdown, report
    from sensorium.geometry.evaluation_views import EvaluationError
    from sensorium.weights import load_omnivggt

    if arguments.rooms <= 0 and not arguments.folder:
        raise EvaluationError("nothing to evaluate on; give --rooms above 0 or a --folder")
    loaded = load_omnivggt(arguments.weights)
    if loaded.notice:
        print(loaded.notice, file=sys.stderr)
    loaded.model.to(chosen_device(arguments.device))
    content = report(_evaluated(arguments, loaded), _about(arguments, loaded))
    page = markdown(content, "sensorium " + shlex.join(_command()))
    if arguments.json:
        arguments.json.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    if arguments.markdown:
        arguments.markdown.write_text(page, encoding="utf-8")
    else:
        print(page)
    return 0


def _evaluated(arguments: argparse.Namespace, loaded: LoadedModel) -> list[Any]:
    from sensorium.geometry.evaluation import evaluate
    from sensorium.geometry.evaluation_report import EvaluatedSet
    from sensorium.geometry.evaluation_views import recorded_groups, rendered_groups

    width = _width(arguments, loaded)
    sets = []
    if arguments.rooms > 0:
        groups = rendered_groups(arguments.rooms, arguments.views)
        scores = evaluate(loaded.model, groups, width_px=width, truth_is_exact=True)
        about = (
            f"Rooms of seeds that training never used, {arguments.views} views of 640 x 480 px, "
            "half of them on the walk around the table, half anywhere. Sensor depth has the noise "
            "and the holes of a structured-light camera; truth is exact."
        )
        sets.append(EvaluatedSet("Held-out rendered rooms", about, scores))
    if arguments.folder:
        recorded = recorded_groups(
            _recording(arguments), arguments.views, arguments.step, arguments.groups
        )
        scores = evaluate(loaded.model, recorded, width_px=width, truth_is_exact=False)
        about = (
            f"Every {arguments.step}. usable frame, {arguments.views} views together. Truth is the "
            "depth camera's own depth, where it has any, and the poses of the folder: errors of "
            "sensor and registration count against the model. Indicative."
        )
        sets.append(EvaluatedSet(f"Recording {Path(arguments.folder).name}", about, scores))
    return sets


def _recording(arguments: argparse.Namespace) -> RecordingConfiguration:
    from sensorium.sources import RecordingConfiguration
    from sensorium.sources.recording_configuration import CameraConfiguration

    if not arguments.color_intrinsics:
        return RecordingConfiguration(folder=arguments.folder)
    return RecordingConfiguration(
        folder=arguments.folder,
        color=CameraConfiguration(_numbers(arguments.color_intrinsics, 4, "--color-intrinsics")),
        color_from_depth=_numbers(arguments.color_from_depth, 7, "--color-from-depth"),
    )


def _numbers(text: str, count: int, option: str) -> tuple[float, ...]:
    from sensorium.geometry.evaluation_views import EvaluationError

    try:
        numbers = tuple(float(part) for part in text.split(","))
    except ValueError:
        numbers = ()
    if len(numbers) != count:
        raise EvaluationError(
            f"{option} is '{text}'; it must be {count} numbers with commas between"
        )
    return numbers


def _about(arguments: argparse.Namespace, loaded: LoadedModel) -> dict[str, Any]:
    import torch

    device = next(loaded.model.parameters()).device
    return {
        "weights": str(arguments.weights),
        "sha256": loaded.sha256,
        "parameters": sum(parameter.numel() for parameter in loaded.model.parameters()),
        "input width [px]": _width(arguments, loaded),
        "views per group": arguments.views,
        "computed on": f"{device.type}, torch {torch.__version__}",
    }


def _width(arguments: argparse.Namespace, loaded: LoadedModel) -> int:
    return int(arguments.width or loaded.model.config.img_size)


def _command() -> list[str]:
    return ["evaluate", *sys.argv[2:]]
