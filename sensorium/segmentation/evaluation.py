"""Evaluate segmentation on COCO-format panoptic data, from a model or from written id maps."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from sensorium.models.fcclip import FCCLIP
from sensorium.segmentation.coco_panoptic import (
    AnnotatedImage,
    Category,
    CocoPanoptic,
    semantic_from_segments,
)
from sensorium.segmentation.metrics import MeanIoU, PanopticQuality, SegmentLabel

UNLABELLED = -1
IGNORED = 2**31


@dataclass(frozen=True)
class PredictedImage:
    """What a method says about one picture.

    Attributes:
        ids: Segment ids (H, W), 0 for none.
        segments: Labels of all ids.
        classes: Class index of every pixel (H, W) in the order of the categories, -1 for none.
    """

    ids: npt.NDArray[np.integer]
    segments: tuple[SegmentLabel, ...]
    classes: npt.NDArray[np.integer]


Predict = Callable[[AnnotatedImage], PredictedImage]


def evaluate(truth: CocoPanoptic, predict: Predict) -> dict[str, object]:
    """Compare predictions with the truth.

    Args:
        truth: The data set; mean IoU is counted on the classes of its segments.
        predict: Called once per picture.

    Returns:
        ``all``, ``things`` and ``stuff`` with PQ, SQ, RQ and number of classes; ``miou``;
        ``per_class`` with PQ and IoU by class name; ``images``. Qualities are in 0..1.
    """
    quality = PanopticQuality(c.id for c in truth.categories)
    overlap = MeanIoU(len(truth.categories), ignored=IGNORED)
    class_of_category = {c.id: i for i, c in enumerate(truth.categories)}
    for image in truth:
        true_ids = image.read_ids()
        predicted = predict(image)
        quality.add(predicted.ids, predicted.segments, true_ids, image.segments)
        labels = semantic_from_segments(true_ids, image.segments, class_of_category, IGNORED)
        overlap.add(predicted.classes, labels)
    per_class_pq, per_class_iou = quality.per_class(), overlap.per_class()
    return {
        "all": asdict(quality.mean()),
        "things": asdict(quality.mean(c.id for c in truth.categories if c.is_thing)),
        "stuff": asdict(quality.mean(c.id for c in truth.categories if not c.is_thing)),
        "miou": overlap.mean(),
        "per_class": {
            c.name: {
                "pq": per_class_pq[c.id].pq if c.id in per_class_pq else None,
                "iou": per_class_iou.get(class_of_category[c.id]),
            }
            for c in truth.categories
        },
        "images": len(truth),
    }


def predict_with_model(
    model: FCCLIP,
    image_dir: Path,
    categories: Sequence[Category],
    names: Sequence[str] | None = None,
) -> Predict:
    """Return a function that segments the pictures of a folder.

    Args:
        model: A model with weights; its class list is set here.
        image_dir: Folder of the pictures.
        categories: Classes of the data set.
        names: A class entry with synonyms for every category; its own name by default.

    Raises:
        ValueError: If ``names`` and ``categories`` differ in number.
    """
    entries = [c.name for c in categories] if names is None else list(names)
    if len(entries) != len(categories):
        raise ValueError(
            f"{len(entries)} names for {len(categories)} categories; give one entry per category, "
            "in the same order"
        )
    model.set_vocabulary(entries, things=[i for i, c in enumerate(categories) if c.is_thing])

    def predict(image: AnnotatedImage) -> PredictedImage:
        with Image.open(image_dir / image.file_name) as picture:
            result = model.predict(np.asarray(picture.convert("RGB")))
        segments = (SegmentLabel(s.id, categories[s.category_id].id) for s in result.segments)
        return PredictedImage(
            result.panoptic.cpu().numpy(),
            tuple(segments),
            result.semantic.argmax(0).cpu().numpy(),
        )

    return predict


def predict_from_folder(predictions: CocoPanoptic, categories: Iterable[Category]) -> Predict:
    """Return a function that reads written id maps; classes of pixels are those of the segments.

    Raises:
        KeyError: By the returned function, when a picture has no prediction.
    """
    by_image = {image.image_id: image for image in predictions}
    class_of_category = {c.id: i for i, c in enumerate(categories)}

    def predict(image: AnnotatedImage) -> PredictedImage:
        if image.image_id not in by_image:
            raise KeyError(f"picture {image.file_name} (id {image.image_id}) has no prediction")
        written = by_image[image.image_id]
        ids = written.read_ids()
        classes = semantic_from_segments(ids, written.segments, class_of_category, UNLABELLED)
        return PredictedImage(ids, written.segments, classes)

    return predict
