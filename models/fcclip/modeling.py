"""FC-CLIP: open-vocabulary panoptic segmentation with one frozen convolutional CLIP.

Source: Yu et al. 2023, "Convolutions Die Hard". Names of modules and parameters are the published
ones, so that published weights load by name.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from sensorium.models.fcclip.class_list import Vocabulary, make_vocabulary
from sensorium.models.fcclip.classifier import class_logits, ensemble
from sensorium.models.fcclip.configuration import FCCLIPConfig
from sensorium.models.fcclip.loading import StateSource, published_state
from sensorium.models.fcclip.modeling_clip import CLIP
from sensorium.models.fcclip.modeling_decoder import HeadOutput, MaskDecoder, pool_by_mask
from sensorium.models.fcclip.modeling_pixel_decoder import PixelDecoder, PixelFeatures
from sensorium.models.fcclip.postprocessing import MaskScaler
from sensorium.models.fcclip.processor import ImageProcessor
from sensorium.models.fcclip.result import SegmentationResult
from sensorium.models.fcclip.text_embedding import NameEncoder
from sensorium.models.fcclip.tokenizer import Tokenizer

TRUNK_NAMES = ("backbone.stem", "backbone.res2", "backbone.res3", "backbone.res4", "backbone.res5")


class FCCLIP(nn.Module):
    """Segments pictures into the classes of a vocabulary that may change at any time.

    Args:
        config: Sizes and thresholds.
        text_cache_dir: Directory where text embeddings are kept between runs; None for memory only.
    """

    def __init__(self, config: FCCLIPConfig, *, text_cache_dir: Path | None = None) -> None:
        super().__init__()
        self.config = config
        self.backbone = nn.ModuleDict({"clip_model": CLIP(config)})
        self.sem_seg_head = nn.ModuleDict(
            {"pixel_decoder": PixelDecoder(config), "predictor": MaskDecoder(config)}
        )
        self.void_embedding = nn.Embedding(1, config.embed_dim)
        # Loss weights of the training classes; only stored, because the published files hold them.
        self.criterion = nn.Module()
        self.criterion.register_buffer("empty_weight", torch.ones(config.training_classes + 1))
        self.processor = ImageProcessor(config)
        self._encoder = NameEncoder(
            self.clip, Tokenizer(config.kept_tokens, config.context_length), text_cache_dir
        )
        self._vocabulary: Vocabulary | None = None
        self._vocabularies_made = 0
        self.eval()

    @property
    def clip(self) -> CLIP:
        """The frozen CLIP."""
        return cast("CLIP", self.backbone["clip_model"])

    @property
    def pixel_decoder(self) -> PixelDecoder:
        """The deformable-attention pixel decoder."""
        return cast("PixelDecoder", self.sem_seg_head["pixel_decoder"])

    @property
    def predictor(self) -> MaskDecoder:
        """The masked-attention decoder."""
        return cast("MaskDecoder", self.sem_seg_head["predictor"])

    @property
    def vocabulary(self) -> Vocabulary:
        """The current class list.

        Raises:
            RuntimeError: If none was set since the weights were loaded.
        """
        if self._vocabulary is None:
            raise RuntimeError("no class list is set; call set_vocabulary(names) first")
        return self._vocabulary

    def load_published(self, clip_state: StateSource, head_state: StateSource) -> None:
        """Load OpenCLIP weights and an FC-CLIP checkpoint on top of them.

        Embeddings made with earlier weights are dropped, and so is the vocabulary.

        Args:
            clip_state: OpenCLIP weights, a mapping or a file; see ``loading.published_state``.
            head_state: FC-CLIP checkpoint, a mapping or a file.

        Raises:
            ValueError: If keys or shapes do not fit; the model is unchanged then.
        """
        self.load_state_dict(published_state(self.state_dict(), clip_state, head_state))
        self.forget_text()

    def forget_text(self) -> None:
        """Drop the vocabulary and all text embeddings; needed after the weights have changed."""
        self._encoder.forget()
        self._vocabulary = None

    def embed_names(self, names: Sequence[str]) -> Tensor:
        """Embed plain names through all prompt templates.

        Returns:
            float32 (N, D), rows of length one; names embedded before cost nothing.
        """
        return self._encoder(names)

    def embed_texts(self, texts: Sequence[str]) -> Tensor:
        """Embed free texts, to be compared with ``SegmentationResult.query_embedding``.

        They are embedded as names are, but not kept: there is no end of free texts.

        Returns:
            float32 (N, D), rows of length one.
        """
        return self._encoder.once(texts)

    def make_vocabulary(
        self, names: Sequence[str], things: Collection[str] | Collection[int] | None = None
    ) -> Vocabulary:
        """Encode a class list without using it yet; may run in another thread than ``predict``.

        Args:
            names: Class entries, synonyms separated by commas.
            things: Entries or indices of countable classes; None for all.

        Raises:
            ValueError: If the list is empty, a name is empty or a thing is not in the list.
        """
        vocabulary = make_vocabulary(
            names,
            things,
            self._encoder,
            self._vocabularies_made + 1,
            self.config.training_names,
        )
        self._vocabularies_made = vocabulary.version
        return vocabulary

    def use_vocabulary(self, vocabulary: Vocabulary) -> None:
        """Switch to an encoded class list; pictures already under way keep the old one."""
        self._vocabulary = vocabulary

    def set_vocabulary(
        self, names: Sequence[str], things: Collection[str] | Collection[int] | None = None
    ) -> Vocabulary:
        """Encode a class list and switch to it; on an error the old one stays.

        See ``make_vocabulary`` for arguments and errors.
        """
        vocabulary = self.make_vocabulary(names, things)
        self.use_vocabulary(vocabulary)
        return vocabulary

    def forward(
        self, images: Tensor, *, every_head: bool = False
    ) -> tuple[list[Tensor], PixelFeatures, list[HeadOutput]]:
        """Run the network up to masks and class embeddings, which know no class names yet.

        Args:
            images: float32 (B, 3, H, W) normalised RGB, H and W multiples of 32.
            every_head: Return all prediction heads (for training), not only the last one.

        Returns:
            Trunk features (stem, res2..res5) as (B, C, h, w), the pixel decoder's features, and the
            prediction heads in order.
        """
        with torch.autocast(images.device.type, torch.bfloat16, enabled=self.config.bfloat16_trunk):
            trunk = self.clip.visual.trunk(images)
        features = [x.float().permute(0, 3, 1, 2) for x in trunk]
        pixels: PixelFeatures = self.pixel_decoder(features[1:])
        heads: list[HeadOutput] = self.predictor(pixels, every_head=every_head)
        return features, pixels, heads

    def classify(
        self, head: HeadOutput, dense: Tensor, vocabulary: Vocabulary
    ) -> tuple[Tensor, Tensor]:
        """Name the queries of a prediction head.

        Args:
            head: Masks and class embeddings of B pictures.
            dense: (B, C, h, w) last trunk features.
            vocabulary: K classes.

        Returns:
            (B, Q, K + 1) logarithms of class probabilities with void last, and (B, Q, D) what CLIP
            sees inside each mask, not normalised.
        """
        pooled = self.clip.visual.project(pool_by_mask(dense, head.mask_logits))
        void = self.void_embedding.weight
        probabilities = ensemble(
            class_logits(head.class_embedding, vocabulary, void, self.predictor.logit_scale),
            class_logits(pooled, vocabulary, void, self.clip.logit_scale),
            vocabulary.seen,
            (self.config.seen_ensemble_weight, self.config.unseen_ensemble_weight),
        )
        return probabilities, pooled

    @torch.inference_mode()
    def predict(
        self, image_rgb: npt.NDArray[np.uint8], *, intermediates: bool = False
    ) -> SegmentationResult:
        """Segment one picture.

        Args:
            image_rgb: uint8 (H, W, 3).
            intermediates: Also run the intermediate prediction heads and keep every stage.

        Raises:
            ValueError: If the picture is not uint8 RGB.
            RuntimeError: If no vocabulary is set.
        """
        vocabulary = self.vocabulary
        processed = self.processor(image_rgb)
        pixels = processed.pixels.to(self.void_embedding.weight.device)
        features, decoded, heads = self(pixels, every_head=intermediates)
        mask_cls, pooled = self.classify(heads[-1], features[-1], vocabulary)
        scaler = MaskScaler(
            heads[-1].mask_logits[0],
            (pixels.shape[-2], pixels.shape[-1]),
            processed.resized_size,
            processed.original_size,
        )
        stages: dict[str, Tensor] = {}
        if intermediates:
            stages = self._stages(pixels, features, decoded, heads, vocabulary)
        return SegmentationResult(
            mask_cls[0],
            functional.normalize(pooled[0], dim=-1),
            vocabulary,
            scaler,
            self.config,
            stages,
        )

    def _stages(
        self,
        pixels: Tensor,
        features: list[Tensor],
        decoded: PixelFeatures,
        heads: list[HeadOutput],
        vocabulary: Vocabulary,
    ) -> dict[str, Tensor]:
        stages = {"input_padded": pixels, **dict(zip(TRUNK_NAMES, features, strict=True))}
        stages["backbone.clip_vis_dense"] = features[-1]
        stages["pixel.memory"] = decoded.memory
        stages["pixel.mask_features"] = decoded.mask_features
        for i, level in enumerate(decoded.levels):
            stages[f"pixel.ms{i}"] = level
        void, scale = self.void_embedding.weight, self.predictor.logit_scale
        for i, head in enumerate(heads):
            last = i == len(heads) - 1
            names = ("dec.pred_logits", "dec.pred_masks")
            names = names if last else (f"dec.aux{i}.logits", f"dec.aux{i}.masks")
            logits = class_logits(head.class_embedding, vocabulary, void, scale)
            stages |= dict(zip(names, (logits, head.mask_logits), strict=True))
        stages["clip.pooled"] = pool_by_mask(features[-1], heads[-1].mask_logits)
        stages["clip.pooled_proj"] = self.clip.visual.project(stages["clip.pooled"])
        return stages
