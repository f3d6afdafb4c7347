"""Open vocabulary measured on rendered rooms that no training has seen.

Each view is asked two questions: which object is where (18 names), and which object of which
colour (183 classes). The classes that training held out are averaged apart from the others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch

from sensorium.models.fcclip import FCCLIP, SegmentationResult, Vocabulary
from sensorium.models.fcclip.modeling_decoder import HeadOutput
from sensorium.models.fcclip.postprocessing import MaskScaler
from sensorium.segmentation.intervals import bootstrap, mean_iou, mean_pq
from sensorium.segmentation.metrics import MeanIoU, PanopticQuality, SegmentLabel
from sensorium.segmentation.rendered_names import (
    HELD_OUT_NAMES,
    MASK_NAMES,
    NAMES,
    THINGS,
    combination,
    held_out_combinations,
    training_combinations,
)
from sensorium.sources.random_scene import COLORS
from sensorium.sources.rendered import RenderedConfiguration, RenderedSource
from sensorium.sources.scene import CLASS_NAMES, STUFF
from sensorium.sources.source import GroundTruth

FIRST_SEED = 500_000
"""Scenes of evaluations; training begins at 1,000,000 and demonstrations are near 0."""
VIEWS_PER_SCENE = 2
_FRAMES_PER_TURN = 600
_NOTHING = 2**31
_CHANCE_DRAWS = 2

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Question:
    """A class list and the groups of it that are averaged.

    Attributes:
        name: What is asked.
        classes: Names; the room's parts first.
        groups: Classes of each group.
    """

    name: str
    classes: tuple[str, ...]
    groups: dict[str, tuple[str, ...]]

    @property
    def things(self) -> tuple[str, ...]:
        """The classes that are countable."""
        return self.classes[len(STUFF) :]

    def class_of(self, category: str, color: str) -> int:
        """Return the class of a thing."""
        name = category if category in self.classes else combination(color, category)
        return self.classes.index(name)


def questions() -> tuple[Question, Question]:
    """Return both questions."""
    every_pair = tuple(combination(color, name) for name in THINGS for color in COLORS)
    with_masks = tuple(combination(color, name) for name in MASK_NAMES for color in COLORS)
    held_out = frozenset(held_out_combinations())
    names = {"all": NAMES, "room": STUFF, "seen": MASK_NAMES, "held out": HELD_OUT_NAMES}
    pairs = {
        "all": (*STUFF, *every_pair),
        "seen": training_combinations(),
        "held out": tuple(pair for pair in with_masks if pair in held_out),
    }
    return (
        Question("names", NAMES, names),
        Question("combinations", (*STUFF, *every_pair), pairs),
    )


@dataclass(frozen=True)
class View:
    """A rendered picture and what is in it.

    Attributes:
        color: uint8 (H, W, 3).
        truth: Masks and objects.
    """

    color: npt.NDArray[np.uint8]
    truth: GroundTruth


def views(seed: int) -> Iterator[View]:
    """Render the views of one scene, 480 x 640, with all names and combinations."""
    source = RenderedSource(RenderedConfiguration(seed=seed))
    for i in range(VIEWS_PER_SCENE):
        frame = source.frame(i * _FRAMES_PER_TURN // VIEWS_PER_SCENE)
        color, truth = frame.frame.color, frame.truth
        assert color is not None  # noqa: S101 - a rendered frame has both
        assert truth is not None  # noqa: S101
        yield View(color, truth)


def true_segments(
    truth: GroundTruth, question: Question
) -> tuple[npt.NDArray[np.int64], list[SegmentLabel], npt.NDArray[np.int64]]:
    """Return segment ids (H, W), their labels, and the class of every pixel (H, W)."""
    ids = truth.instance_ids.astype(np.int64)
    first = int(ids.max()) + 1
    for i, name in enumerate(STUFF):
        ids[truth.class_ids == CLASS_NAMES.index(name)] = first + i
    class_of_id = {first + i: i for i in range(len(STUFF))}
    class_of_id |= {
        thing.instance_id: question.class_of(thing.category, thing.color)
        for thing in truth.scene.objects
    }
    present = np.unique(ids).tolist()
    labels = [SegmentLabel(i, class_of_id[i]) for i in present if i]
    classes = np.full(ids.shape, _NOTHING, np.int64)
    for label in labels:
        classes[ids == label.id] = label.category_id
    return ids, labels, classes


@dataclass(frozen=True)
class _Network:
    head: HeadOutput
    dense: torch.Tensor
    scaler: MaskScaler


class RenderedEvaluation:
    """Collects the answers of one model.

    Args:
        model: With weights.
        vocabularies: A class list for each question in place of the model's own text embeddings
            (the closed-set baseline); None for those.
    """

    def __init__(self, model: FCCLIP, vocabularies: Sequence[Vocabulary] | None = None) -> None:
        self._model = model
        self._questions = questions()
        self._vocabularies = vocabularies or [
            model.make_vocabulary(question.classes, question.things) for question in self._questions
        ]
        self._iou: dict[str, list[npt.NDArray[np.float64]]] = {}
        self._pq: dict[str, list[npt.NDArray[np.float64]]] = {}
        self._chance: list[npt.NDArray[np.float64]] = []
        self._scenes = 0

    def add_scene(self, seed: int) -> None:
        """Render a scene, ask both questions of every view, count."""
        overlap = [MeanIoU(len(q.classes), _NOTHING) for q in self._questions]
        quality = [PanopticQuality(range(len(q.classes))) for q in self._questions]
        chance = MeanIoU(len(NAMES), _NOTHING)
        random = torch.Generator().manual_seed(seed)
        for view in views(seed):
            network = self._run(view.color)
            asked = zip(self._questions, self._vocabularies, overlap, quality, strict=True)
            for question, vocabulary, iou, pq in asked:
                found = self._answer(network, vocabulary)
                ids, labels, classes = true_segments(view.truth, question)
                iou.add(_classes(found, vocabulary, question), classes)
                pq.add(
                    found.panoptic.cpu().numpy(),
                    [
                        SegmentLabel(s.id, question.classes.index(vocabulary.names[s.category_id]))
                        for s in found.segments
                    ],
                    ids,
                    labels,
                )
                if question.name == "names" and len(vocabulary) == len(NAMES):
                    for _ in range(_CHANCE_DRAWS):
                        shuffled = _names_shuffled(found, random)
                        chance.add(_classes(shuffled, vocabulary, question), classes)
        for question, iou, pq in zip(self._questions, overlap, quality, strict=True):
            self._iou.setdefault(question.name, []).append(iou.counts().astype(np.float64))
            self._pq.setdefault(question.name, []).append(pq.counts())
        self._chance.append(chance.counts().astype(np.float64))
        self._scenes += 1

    @torch.inference_mode()
    def _run(self, color: npt.NDArray[np.uint8]) -> _Network:
        """Run the network, which knows no class list, once for both questions."""
        processed = self._model.processor(color)
        pixels = processed.pixels.to(self._model.void_embedding.weight.device)
        features, _, heads = self._model(pixels)
        size = (pixels.shape[-2], pixels.shape[-1])
        scaler = MaskScaler(
            heads[-1].mask_logits[0], size, processed.resized_size, processed.original_size
        )
        return _Network(heads[-1], features[-1], scaler)

    @torch.inference_mode()
    def _answer(self, network: _Network, vocabulary: Vocabulary) -> SegmentationResult:
        mask_cls, pooled = self._model.classify(network.head, network.dense, vocabulary)
        embedding = torch.nn.functional.normalize(pooled[0], dim=-1)
        config = self._model.config
        return SegmentationResult(mask_cls[0], embedding, vocabulary, network.scaler, config, {})

    def report(self) -> dict[str, object]:
        """Return mIoU and PQ of every group with intervals, and what is judged."""
        result: dict[str, object] = {
            "scenes": self._scenes,
            "views": self._scenes * VIEWS_PER_SCENE,
        }
        for question in self._questions:
            iou, pq = self._iou[question.name], self._pq[question.name]
            groups: dict[str, object] = {"classes": len(question.classes)}
            for group, names in question.groups.items():
                rows = [question.classes.index(name) for name in names]
                groups[group] = {
                    "classes": len(rows),
                    "miou": bootstrap([c[rows] for c in iou], mean_iou).to_dict(),
                    "pq": bootstrap([c[rows] for c in pq], mean_pq).to_dict(),
                }
            result[question.name] = groups
        result["judged"] = self._judged()
        return result

    def _judged(self) -> dict[str, object]:
        names, pairs = self._questions
        held_out = [names.classes.index(name) for name in names.groups["held out"]]
        both = [
            np.stack((own[held_out], other[held_out]))
            for own, other in zip(self._iou["names"], self._chance, strict=True)
        ]
        rows = [
            np.array([pairs.classes.index(name) for name in pairs.groups[group]])
            for group in ("held out", "seen")
        ]
        judged = {
            "held-out combinations, mIoU over that of the seen ones": bootstrap(
                self._iou["combinations"], lambda c: _ratio(c[rows[0]], c[rows[1]])
            ),
            "held-out names, mIoU over chance": bootstrap(both, lambda c: _ratio(c[0], c[1])),
            "held-out names, chance mIoU": bootstrap([c[held_out] for c in self._chance], mean_iou),
        }
        return {name: interval.to_dict() for name, interval in judged.items()}


def evaluate_rendered(
    model: FCCLIP,
    scenes: int,
    vocabularies: Sequence[Vocabulary] | None = None,
    progress: Progress = lambda _done, _of: None,
) -> dict[str, object]:
    """Measure a model on `scenes` rooms; see the module and ``RenderedEvaluation``."""
    evaluation = RenderedEvaluation(model, vocabularies)
    for i in range(scenes):
        evaluation.add_scene(FIRST_SEED + i)
        progress(i + 1, scenes)
    return evaluation.report()


def _ratio(counts: npt.NDArray[np.float64], others: npt.NDArray[np.float64]) -> float:
    divisor = mean_iou(others)
    return mean_iou(counts) / divisor if divisor > 0 else float("nan")


def _classes(
    found: SegmentationResult, vocabulary: Vocabulary, question: Question
) -> npt.NDArray[np.int64]:
    """Return the class with the highest semantic score, in the order of the question."""
    order = np.array([question.classes.index(name) for name in vocabulary.names])
    classes: npt.NDArray[np.int64] = order[found.semantic.argmax(0).cpu().numpy()]
    return classes


def _names_shuffled(found: SegmentationResult, random: torch.Generator) -> SegmentationResult:
    """Return the same masks with the names of things dealt out at random, query by query."""
    mask_cls = found.mask_cls.clone()
    things = len(STUFF)
    for row in mask_cls:
        order = torch.randperm(len(row) - 1 - things, generator=random)
        row[things:-1] = row[things:-1][order.to(row.device)]
    return replace(found, mask_cls=mask_cls)


__all__ = ["FIRST_SEED", "RenderedEvaluation", "evaluate_rendered", "questions"]
