"""OmniVGGT: multi-view geometry from images, with optional known cameras and depth."""

from sensorium.models.omnivggt.configuration import OmniVGGTConfig
from sensorium.models.omnivggt.modeling import OmniVGGT
from sensorium.models.omnivggt.processor import OmniVGGTProcessor, PreparedView

__all__ = ["OmniVGGT", "OmniVGGTConfig", "OmniVGGTProcessor", "PreparedView"]
