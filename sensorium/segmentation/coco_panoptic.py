"""COCO-format panoptic data: a JSON file and a folder of PNG id maps.

Format: cocodataset.org/#format-data, "Panoptic Segmentation"; ids are R + 256 G + 65536 B.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from sensorium.segmentation.metrics import SegmentLabel


@dataclass(frozen=True)
class Category:
    """A class of the data set."""

    id: int
    name: str
    is_thing: bool


@dataclass(frozen=True)
class AnnotatedImage:
    """A picture of the data set and its segments.

    Attributes:
        image_id: Id in the JSON file.
        file_name: Name of the picture in the image folder.
        id_map_path: PNG of segment ids.
        segments: Labels of all ids in the map.
    """

    image_id: int | str
    file_name: str
    id_map_path: Path
    segments: tuple[SegmentLabel, ...]

    def read_ids(self) -> npt.NDArray[np.int32]:
        """Read the id map, int32 (H, W)."""
        with Image.open(self.id_map_path) as picture:
            rgb = np.asarray(picture.convert("RGB"), dtype=np.int32)
        return rgb[..., 0] + 256 * rgb[..., 1] + 65536 * rgb[..., 2]


class CocoPanoptic:
    """A COCO-format panoptic data set.

    Args:
        json_path: Annotation file.
        id_map_dir: Folder of the PNG id maps.

    Raises:
        ValueError: If the file lacks a part of the format.
    """

    def __init__(self, json_path: Path, id_map_dir: Path) -> None:
        document = json.loads(json_path.read_text(encoding="utf-8"))
        try:
            self.categories = tuple(_category(c) for c in document["categories"])
            file_names = {image["id"]: image["file_name"] for image in document["images"]}
            self.images = tuple(
                AnnotatedImage(
                    image_id=a["image_id"],
                    file_name=file_names[a["image_id"]],
                    id_map_path=id_map_dir / a["file_name"],
                    segments=tuple(_segment(s) for s in a["segments_info"]),
                )
                for a in document["annotations"]
            )
        except (KeyError, TypeError) as error:
            raise ValueError(
                f"{json_path} is not COCO panoptic data: {error!r} while reading categories, "
                "images and annotations"
            ) from error

    def __len__(self) -> int:
        return len(self.images)

    def __iter__(self) -> Iterator[AnnotatedImage]:
        return iter(self.images)


def semantic_from_segments(
    ids: npt.NDArray[np.integer],
    segments: Iterable[SegmentLabel],
    class_of_category: Mapping[int, int],
    ignored: int = 255,
) -> npt.NDArray[np.int64]:
    """Return the class index of every pixel; void and crowd pixels are ``ignored``."""
    labels = np.full(ids.shape, ignored, np.int64)
    for segment in segments:
        if not segment.is_crowd:
            labels[ids == segment.id] = class_of_category[segment.category_id]
    return labels


def write_panoptic(
    json_path: Path,
    id_map_dir: Path,
    categories: Sequence[Category],
    predictions: Iterable[tuple[int | str, str, npt.NDArray[np.integer], Sequence[SegmentLabel]]],
) -> None:
    """Write id maps and their JSON file.

    Args:
        json_path: File to write.
        id_map_dir: Folder for the PNG files; made when missing.
        categories: All classes.
        predictions: (image id, image file name, ids (H, W), segments) of every picture.
    """
    id_map_dir.mkdir(parents=True, exist_ok=True)
    images, annotations = [], []
    for image_id, file_name, ids, segments in predictions:
        rgb = np.stack([(ids >> shift) & 255 for shift in (0, 8, 16)], -1).astype(np.uint8)
        png_name = f"{Path(file_name).stem}.png"
        Image.fromarray(rgb).save(id_map_dir / png_name)
        images.append({"id": image_id, "file_name": file_name})
        segments_info = [
            {
                "id": s.id,
                "category_id": s.category_id,
                "iscrowd": int(s.is_crowd),
                "area": int((ids == s.id).sum()),
            }
            for s in segments
        ]
        annotations.append(
            {"image_id": image_id, "file_name": png_name, "segments_info": segments_info}
        )
    document = {
        "categories": [
            {"id": c.id, "name": c.name, "isthing": int(c.is_thing)} for c in categories
        ],
        "images": images,
        "annotations": annotations,
    }
    json_path.write_text(json.dumps(document), encoding="utf-8")


def _category(entry: Mapping[str, Any]) -> Category:
    return Category(int(entry["id"]), str(entry["name"]), bool(entry["isthing"]))


def _segment(entry: Mapping[str, Any]) -> SegmentLabel:
    return SegmentLabel(int(entry["id"]), int(entry["category_id"]), bool(entry.get("iscrowd", 0)))
