"""FC-CLIP at work: pictures in, label arrays out, a class list that changes meanwhile."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import torch

from sensorium.models.fcclip import FCCLIP, Segment, SegmentationResult, Vocabulary
from sensorium.segmentation.class_list import ClassList

# Names embedded between two looks at whether the job was cancelled.
_NAMES_PER_STEP = 8


class EncodingCancelledError(RuntimeError):
    """The class list is not wanted any more."""


@dataclass(frozen=True, eq=False)
class Segmentation:
    """What was found in one picture, as NumPy arrays; each is made when first asked for.

    Attributes:
        result: The model's result; everything here was made with its one class list.
    """

    result: SegmentationResult

    @property
    def vocabulary(self) -> Vocabulary:
        """The class list."""
        return self.result.vocabulary

    @cached_property
    def class_names(self) -> tuple[str, ...]:
        """First synonym of every class."""
        return tuple(self.vocabulary.label(i) for i in range(len(self.vocabulary)))

    @property
    def segments(self) -> tuple[Segment, ...]:
        """Segments in order of their ids, which count from 1."""
        return self.result.segments

    @cached_property
    def segment_ids(self) -> npt.NDArray[np.int32]:
        """(H, W) id of each pixel's segment, 0 where nothing is labelled."""
        ids: npt.NDArray[np.int32] = self.result.panoptic.cpu().numpy()
        return ids

    @cached_property
    def confidence(self) -> npt.NDArray[np.float32]:
        """(H, W) confidence of the segment at each pixel, 0..1; 0 where nothing is labelled."""
        confidence: npt.NDArray[np.float32] = self.result.confidence.cpu().numpy()
        return confidence

    @cached_property
    def embeddings(self) -> npt.NDArray[np.float32]:
        """(S, D) unit vector of each segment, in order: what CLIP sees inside its mask."""
        queries = [segment.query for segment in self.segments]
        embeddings: npt.NDArray[np.float32] = self.result.query_embedding[queries].cpu().numpy()
        return embeddings

    @cached_property
    def highest_scores(self) -> npt.NDArray[np.int64]:
        """(H, W) class with the highest semantic score, as the published semantic evaluation."""
        classes: npt.NDArray[np.int64] = self.result.semantic.argmax(0).cpu().numpy()
        return classes


class Segmenter:
    """A model on its device. ``segment`` and ``encode`` may run in two threads at once.

    Args:
        model: With weights.
        device: Torch device.
    """

    def __init__(self, model: FCCLIP, device: str) -> None:
        self._model = model.to(device)

    @property
    def vocabulary(self) -> Vocabulary:
        """The class list in use.

        Raises:
            RuntimeError: None was set yet.
        """
        return self._model.vocabulary

    def encode(
        self, classes: ClassList, cancelled: Callable[[], bool] = lambda: False
    ) -> Vocabulary:
        """Encode a class list without using it; only names that are new cost time.

        Raises:
            EncodingCancelledError: `cancelled` became true.
            ValueError: The model cannot use the list.
        """
        synonyms = [name for entry in classes.names for name in entry.split(",")]
        for start in range(0, len(synonyms), _NAMES_PER_STEP):
            if cancelled():
                raise EncodingCancelledError("encoding was cancelled; the old class list stays")
            self._model.embed_names(synonyms[start : start + _NAMES_PER_STEP])
        return self._model.make_vocabulary(classes.names, classes.things_or_all)

    @cached_property
    def weights_sha256(self) -> str:
        """SHA-256 of all weights; texts and segments compare only under the same ones."""
        digest = hashlib.sha256()
        for key, value in sorted(self._model.state_dict().items()):
            digest.update(key.encode())
            digest.update(value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data)
        return digest.hexdigest()

    def encode_texts(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Return unit vectors (N, D) of free texts, comparable with ``Segmentation.embeddings``."""
        with torch.inference_mode():
            vectors: npt.NDArray[np.float32] = self._model.embed_texts(texts).cpu().numpy()
        return vectors

    def use(self, vocabulary: Vocabulary) -> None:
        """Label the next picture with an encoded class list."""
        self._model.use_vocabulary(vocabulary)

    def segment(self, image_rgb: npt.NDArray[np.uint8]) -> Segmentation:
        """Segment a picture, uint8 (H, W, 3), with the class list in use when it begins."""
        with torch.inference_mode():
            result = self._model.predict(image_rgb)
            # Made here, so that the time it takes belongs to the picture.
            _ = result.panoptic_output
        return Segmentation(result)
