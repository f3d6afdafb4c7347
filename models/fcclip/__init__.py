"""FC-CLIP: open-vocabulary panoptic segmentation (Yu et al. 2023)."""

from sensorium.models.fcclip.checkpoint import FCCLIP_SMALL, load_checkpoint, save_checkpoint
from sensorium.models.fcclip.class_list import Vocabulary
from sensorium.models.fcclip.configuration import FCCLIPConfig
from sensorium.models.fcclip.modeling import FCCLIP
from sensorium.models.fcclip.postprocessing import InstanceOutput, PanopticOutput, Segment
from sensorium.models.fcclip.result import SegmentationResult

__all__ = [
    "FCCLIP",
    "FCCLIP_SMALL",
    "FCCLIPConfig",
    "InstanceOutput",
    "PanopticOutput",
    "Segment",
    "SegmentationResult",
    "Vocabulary",
    "load_checkpoint",
    "save_checkpoint",
]
