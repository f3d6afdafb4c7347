"""`sensorium evaluate segmentation`: panoptic quality and mean IoU of FC-CLIP weights."""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sensorium.models.fcclip import FCCLIP

# The evaluation imports torch; the other commands must not wait for that.

_SMALL = "fcclip-small"
_LAYOUTS = (
    # JSON file, folder of id maps, folder of pictures
    ("panoptic.json", "panoptic", "images"),
    ("ade20k_panoptic_val.json", "ade20k_panoptic_val", "images/validation"),
    ("annotations/panoptic_val2017.json", "panoptic_val2017", "val2017"),
)


def add_parser(subjects: Any) -> None:  # noqa: ANN401 - argparse's sub-parser type is private
    """Add `segmentation` to the subjects of `sensorium evaluate`."""
    parser = subjects.add_parser(
        "segmentation",
        help="PQ, SQ, RQ and mIoU on a COCO-format panoptic folder or on rendered scenes",
        description="FOLDER holds a panoptic JSON file, a folder of PNG id maps and a folder of "
        "pictures: " + "; ".join(", ".join(layout) for layout in _LAYOUTS) + ".",
    )
    parser.add_argument("folder", nargs="?", type=Path, help="COCO-format panoptic data")
    parser.add_argument(
        "--rendered", action="store_true",
        help="rendered rooms that no training has seen, instead of a folder: names and "
        "combinations that training held out are averaged apart",
    )  # fmt: skip
    parser.add_argument(
        "--weights", nargs="+", default=[_SMALL], metavar="FILE",
        help=f"{_SMALL} (default), a checkpoint directory, or two files: OpenCLIP weights and "
        "FC-CLIP checkpoint",
    )  # fmt: skip
    parser.add_argument(
        "--names", type=Path,
        help="text file with one class entry per line, synonyms separated by commas, in the order "
        "of the categories; a leading 'number:' is skipped. Without it the categories' own names "
        "are used",
    )  # fmt: skip
    parser.add_argument("--json", type=Path, help="panoptic JSON file, where FOLDER is otherwise")
    parser.add_argument("--id-maps", type=Path, help="folder of PNG id maps")
    parser.add_argument("--images", type=Path, help="folder of pictures")
    parser.add_argument(
        "--scenes", type=_positive, default=60, help="rendered rooms (default %(default)s)"
    )
    parser.add_argument(
        "--short-edge-px", type=_positive, help="resize pictures to this short edge"
    )
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"))
    parser.add_argument("--threads", type=int, default=0, help="CPU threads of torch")
    parser.add_argument("--output", type=Path, help="JSON file to write")
    parser.set_defaults(run=_run)


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{value} is too small: give 1 or more")
    return value


def _run(arguments: argparse.Namespace) -> int:
    if arguments.rendered == (arguments.folder is not None or arguments.json is not None):
        print("sensorium evaluate segmentation: give FOLDER (or --json) or --rendered, not both")
        return 2
    try:
        report = _report(arguments)
    except (ValueError, OSError, KeyError) as error:
        print(f"sensorium evaluate segmentation FAILED: {error}", file=sys.stderr)
        return 1
    print(table(report))
    if arguments.output:
        arguments.output.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
        print(f"written to {arguments.output}")
    return 0


def _report(arguments: argparse.Namespace) -> dict[str, Any]:
    import torch

    from sensorium.segmentation.coco_panoptic import CocoPanoptic
    from sensorium.segmentation.evaluation import evaluate, predict_with_model
    from sensorium.segmentation.rendered_evaluation import evaluate_rendered

    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    model = _model(arguments)
    if arguments.rendered:
        rendered = evaluate_rendered(model, arguments.scenes, progress=_Progress("rooms"))
        return {"data": "rendered", "weights": arguments.weights, **rendered}
    json_path, id_maps, images = _paths(arguments)
    truth = CocoPanoptic(json_path, id_maps)
    names = None if arguments.names is None else read_names(arguments.names)
    predict = predict_with_model(model, images, truth.categories, names)
    progress = _Progress("pictures")
    done = 0

    def counted(image: Any) -> Any:  # noqa: ANN401 - passed through
        nonlocal done
        found = predict(image)
        done += 1
        progress(done, len(truth))
        return found

    report = evaluate(truth, counted)
    return {"data": str(json_path), "weights": arguments.weights, **report}


def _model(arguments: argparse.Namespace) -> FCCLIP:
    from sensorium.device import chosen_device
    from sensorium.segmentation.weights import WeightsConfiguration, load_weights

    given = arguments.weights
    if len(given) > 2:
        raise ValueError(
            f"--weights has {len(given)} values; give one directory, or CLIP file and checkpoint"
        )
    if given == [_SMALL]:
        configuration = WeightsConfiguration()
    elif len(given) == 1:
        configuration = WeightsConfiguration(directory=given[0])
    else:
        configuration = WeightsConfiguration(clip=given[0], head=given[1])
    model = load_weights(configuration, None, arguments.short_edge_px or 0)
    return model.to(chosen_device(arguments.device))


def _paths(arguments: argparse.Namespace) -> tuple[Path, Path, Path]:
    """Return JSON file, folder of id maps and folder of pictures."""
    given = arguments.json, arguments.id_maps, arguments.images
    if all(given):
        return given
    folder = arguments.folder
    if folder is None:
        raise ValueError("--json alone is not enough; give --id-maps and --images too, or FOLDER")
    for layout in _LAYOUTS:
        if (folder / layout[0]).is_file():
            found = [path or folder / part for path, part in zip(given, layout, strict=True)]
            return found[0], found[1], found[2]
    known = ", ".join(layout[0] for layout in _LAYOUTS)
    raise ValueError(f"{folder} holds none of {known}; give --json, --id-maps and --images instead")


def read_names(path: Path) -> list[str]:
    """Read class entries, one a line; a line may begin with its number and a colon."""
    entries = []
    for line in path.read_text(encoding="utf-8").splitlines():
        number, colon, rest = line.partition(":")
        entry = rest if colon and number.strip().isdigit() else line
        if entry.strip():
            entries.append(entry.strip())
    return entries


def table(report: dict[str, Any]) -> str:
    """Return the report as a Markdown table."""
    if report["data"] != "rendered":
        rows = ["| classes | number | PQ | SQ | RQ |", "|---|---|---|---|---|"]
        for group in ("all", "things", "stuff"):
            q = report[group]
            values = " | ".join(f"{100 * q[key]:.1f}" for key in ("pq", "sq", "rq"))
            rows.append(f"| {group} | {q['classes']} | {values} |")
        return "\n".join(
            [*rows, "", f"mIoU {100 * report['miou']:.1f} over {report['images']} pictures"]
        )
    rows = [
        "| question | classes | number | mIoU (95 % interval) | PQ (95 % interval) |",
        "|---|---|---|---|---|",
    ]
    for question in ("names", "combinations"):
        for group, values in report[question].items():
            if group != "classes":
                cells = " | ".join(_percent(values[key]) for key in ("miou", "pq"))
                rows.append(f"| {question} | {group} | {values['classes']} | {cells} |")
    rows.append("")
    for name, values in report["judged"].items():
        rows.append(f"- {name}: {_interval(values, 1, 3)}")
    rows.append(f"\n{report['views']} views of {report['scenes']} rooms")
    return "\n".join(rows)


def _percent(interval: dict[str, float | None]) -> str:
    return _interval(interval, 100, 1)


def _interval(interval: dict[str, float | None], factor: int, digits: int) -> str:
    value, low, high = (
        "-" if number is None else f"{factor * number:.{digits}f}" for number in interval.values()
    )
    return f"{value} ({low} to {high})"


class _Progress:
    """One line on a terminal, at most once a second; nothing elsewhere."""

    def __init__(self, unit: str) -> None:
        self._unit = unit
        self._last = 0.0

    def __call__(self, done: int, of: int) -> None:
        now = time.monotonic()
        if sys.stderr.isatty() and (now - self._last > 1 or done == of):
            self._last = now
            end = "\n" if done == of else ""
            print(f"\r{done} of {of} {self._unit}", end=end, file=sys.stderr, flush=True)
