"""Pictures to network input."""

import numpy as np
import pytest
from fcclip_cases import picture
from PIL import Image

from sensorium.models.fcclip import FCCLIPConfig
from sensorium.models.fcclip.processor import ImageProcessor

CONFIG = FCCLIPConfig()


@pytest.mark.parametrize(
    ("size", "resized"),
    [
        ((480, 640), (800, 1067)),
        ((640, 480), (1067, 800)),
        ((720, 1280), (750, 1333)),
        ((800, 1333), (800, 1333)),
        ((100, 1000), (133, 1333)),
        ((1, 1), (800, 800)),
        ((1, 5000), (1, 1333)),
    ],
)
def test_short_edge_is_resized_within_the_limit_of_the_long_one(size, resized):
    assert ImageProcessor(CONFIG).resized_size(size) == resized


def test_picture_is_resized_by_pillow_normalised_and_padded_with_zeros():
    config = FCCLIPConfig.reference_small()
    image = picture(150, 205, 0)
    processed = ImageProcessor(config)(image)
    assert processed.resized_size == (96, 131)
    assert processed.original_size == (150, 205)
    assert processed.pixels.shape == (1, 3, 96, 160)
    resized = np.asarray(Image.fromarray(image).resize((131, 96), Image.Resampling.BILINEAR))
    expected = (resized.astype(float) - config.image_mean) / config.image_std
    pixels = processed.pixels[0].permute(1, 2, 0).numpy()
    np.testing.assert_allclose(pixels[:, :131], expected, atol=1e-5)
    assert not pixels[:, 131:].any()


def test_a_reversed_view_of_a_bgr_picture_is_accepted():
    config = FCCLIPConfig.reference_small()
    image = picture(60, 80, 1)
    reversed_twice = np.ascontiguousarray(image[..., ::-1])[..., ::-1]
    a, b = (ImageProcessor(config)(x).pixels for x in (image, reversed_twice))
    assert np.array_equal(a, b)


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((4, 4), np.uint8),
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((4, 4, 3), np.float32),
        np.zeros((3, 0, 3), np.uint8),
    ],
)
def test_other_pictures_are_refused(image):
    with pytest.raises(ValueError, match="image_rgb has shape"):
        ImageProcessor(CONFIG)(image)
