"""What FC-CLIP says about one picture."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from sensorium.models.fcclip.class_list import Vocabulary
from sensorium.models.fcclip.configuration import FCCLIPConfig
from sensorium.models.fcclip.postprocessing import (
    InstanceOutput,
    MaskScaler,
    PanopticOutput,
    Segment,
    instances,
    panoptic_map,
    semantic_scores,
)


@dataclass(frozen=True, eq=False)
class SegmentationResult:
    """Result of ``FCCLIP.predict``; full-size outputs are made when first asked for.

    Attributes:
        mask_cls: float32 (Q, K + 1) logarithms of class probabilities, void last.
        query_embedding: float32 (Q, D) rows of length one: what CLIP sees inside each mask. Compare
            with ``FCCLIP.embed_names`` to look for a text among the segments.
        vocabulary: The class list this result was made with.
        scaler: Mask logits at network resolution and the way to the size of the picture.
        config: Thresholds.
        intermediates: Tensors of every stage by name when they were asked for, else empty.
    """

    mask_cls: Tensor
    query_embedding: Tensor
    vocabulary: Vocabulary
    scaler: MaskScaler
    config: FCCLIPConfig
    intermediates: Mapping[str, Tensor]

    @cached_property
    def mask_pred(self) -> Tensor:
        """Mask logits of all queries, float32 (Q, H, W) at the size of the picture.

        This is the largest tensor by far; semantic, panoptic and instance output do not need it.
        """
        return self.scaler.full(torch.arange(len(self.mask_cls), device=self.mask_cls.device))

    @cached_property
    def semantic(self) -> Tensor:
        """Semantic scores, float32 (K, H, W)."""
        return semantic_scores(self.mask_cls, self.scaler)

    @cached_property
    def panoptic_output(self) -> PanopticOutput:
        """Panoptic map, its confidence and its segments."""
        return panoptic_map(
            self.mask_cls,
            self.scaler,
            self.vocabulary,
            self.config.object_mask_threshold,
            self.config.overlap_threshold,
        )

    @property
    def panoptic(self) -> Tensor:
        """Segment ids, int32 (H, W), 0 where nothing is labelled."""
        return self.panoptic_output.panoptic

    @property
    def confidence(self) -> Tensor:
        """Confidence of the panoptic label, float32 (H, W) in 0..1."""
        return self.panoptic_output.confidence

    @property
    def segments(self) -> tuple[Segment, ...]:
        """Segments of the panoptic map in order of their ids."""
        return self.panoptic_output.segments

    @cached_property
    def instances(self) -> InstanceOutput:
        """Instances of thing classes."""
        return instances(self.mask_cls, self.scaler, self.vocabulary, self.config.instances_max)
