"""sensor_msgs/CompressedImage: JPEG and PNG colour, and compressedDepth PNG.

The `format` field decides, as image_transport_plugins write it: "jpeg", "png",
"rgb8; jpeg compressed bgr8", "16UC1; png compressed", "16UC1; compressedDepth png",
"32FC1; compressedDepth png", and "...; compressedDepth" of older publishers (PNG).
"""

from __future__ import annotations

import struct
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from sensor_msgs.msg import CompressedImage

from sensorium.ros.convert.buffers import append_bytes, as_array, bytes_of
from sensorium.ros.convert.errors import ConversionError
from sensorium.ros.convert.header import header
from sensorium.ros.convert.image import metres_from_millimetres, millimetres_from_metres

# Of compressed_depth_image_transport: int32 format, float32 depthParam[2], little-endian.
_DEPTH_CONFIG = struct.Struct("<iff")
_INVERSE_DEPTH = 1

_JPEG_END = b"\xff\xd9"
_PNG_END = b"IEND\xaeB`\x82"
_COLOR_ENCODINGS = ("rgb8", "bgr8", "rgba8", "bgra8", "mono8")


def color_from_compressed(message: CompressedImage) -> NDArray[np.uint8]:
    """Return (H, W, 3) uint8 RGB of a JPEG or PNG; grey images are repeated over the channels.

    Raises:
        ConversionError: the format is not JPEG or PNG colour, or the data is truncated or broken.
    """
    encoding, codec, stored_order = _parse(message.format)
    if codec not in ("jpeg", "png"):
        raise ConversionError(
            f"format '{message.format}' is no colour image that is read here; allowed: JPEG, PNG "
            "(depth: subscribe to it as depth)"
        )
    # Bayer and others are readable too where the publisher says that it converted them.
    if encoding and encoding not in _COLOR_ENCODINGS and stored_order != "bgr8":
        raise ConversionError(
            f"format '{message.format}' holds {encoding}; allowed: {', '.join(_COLOR_ENCODINGS)}, "
            "or anything that was compressed as bgr8"
        )
    flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    pixels = _decode(bytes_of(message.data), codec, flags, message.format)
    # As image_transport reads it: "compressed rgb8" was given to the encoder, which takes BGR, as
    # RGB, so that the decoder's "BGR" is RGB.
    if stored_order.startswith("rgb"):
        return pixels
    return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB), dtype=np.uint8)


def depth_from_compressed(message: CompressedImage) -> NDArray[np.float32]:
    """Return (H, W) float32 depth [m], NaN where invalid, of PNG depth.

    Reads compressedDepth of 16UC1 [mm] and of 32FC1 (quantised inverse depth: A / (value - B) with
    A and B in the 12-byte ConfigHeader, 0 invalid), and plain 16-bit PNG of 16UC1.

    Raises:
        ConversionError: RVL and other codecs, another encoding, or data truncated or broken.
    """
    encoding, codec, _ = _parse(message.format)
    data = bytes_of(message.data)
    if codec == "compressedDepth rvl":
        raise ConversionError(
            f"format '{message.format}' is RVL, which is not read here: set the publisher's "
            "compressedDepth format to png, or subscribe to the raw depth"
        )
    if encoding not in ("16UC1", "32FC1") or codec not in ("compressedDepth png", "png"):
        raise ConversionError(
            f"format '{message.format}' is no depth image that is read here; allowed: "
            "'16UC1; compressedDepth png', '32FC1; compressedDepth png', '16UC1; png compressed'"
        )
    parameters = (0.0, 0.0)
    if codec == "png" and encoding == "32FC1":
        raise ConversionError(
            f"format '{message.format}': PNG cannot hold metres; use '32FC1; compressedDepth png'"
        )
    if codec == "compressedDepth png":
        if data.size <= _DEPTH_CONFIG.size:
            raise ConversionError(
                f"compressedDepth data has {data.size} bytes; it starts with a header of "
                f"{_DEPTH_CONFIG.size} bytes: the message is truncated"
            )
        parameters = _DEPTH_CONFIG.unpack_from(data.data)[1:]
        data = data[_DEPTH_CONFIG.size :]
    values = _decode(data, "png", cv2.IMREAD_UNCHANGED, message.format)
    if values.dtype != np.uint16 or values.ndim != 2:
        raise ConversionError(
            f"format '{message.format}' holds a PNG of {values.dtype} {values.shape}; "
            "depth is a 16-bit PNG of one channel"
        )
    if encoding == "16UC1":
        return metres_from_millimetres(values)
    return _metres_from_inverse(values, *parameters)


def compressed_from_color(
    color: Any,  # noqa: ANN401 - arrays and tensors alike
    stamp_ns: int,
    frame_id: str,
    codec: str = "jpeg",
    *,
    jpeg_quality: int = 95,
) -> CompressedImage:
    """Return a JPEG or PNG ("jpeg", "png") of (H, W, 3) uint8 RGB, an array or a tensor.

    Raises:
        ConversionError: another codec, dtype or shape, or a stamp that ROS cannot hold.
    """
    array = as_array(color, "color")
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3:
        raise ConversionError(f"color is {array.dtype} {array.shape}; it must be uint8 (H, W, 3)")
    if codec not in ("jpeg", "png"):
        raise ConversionError(f"codec '{codec}' is unknown; allowed: jpeg, png")
    options = [cv2.IMWRITE_JPEG_QUALITY, jpeg_quality] if codec == "jpeg" else []
    bgr = cv2.cvtColor(np.ascontiguousarray(array), cv2.COLOR_RGB2BGR)
    message = CompressedImage(
        header=header(stamp_ns, frame_id), format=f"rgb8; {codec} compressed bgr8"
    )
    append_bytes(message.data, _encode(bgr, codec, options))
    return message


def compressed_from_depth(
    depth_m: Any,  # noqa: ANN401 - arrays and tensors alike
    stamp_ns: int,
    frame_id: str,
    encoding: str = "16UC1",
    *,
    depth_max_m: float = 10.0,
    depth_quantization: float = 100.0,
) -> CompressedImage:
    """Return compressedDepth PNG of (H, W) float depth [m], as compressed_depth_image_transport.

    Args:
        depth_m: (H, W) floating point; what is not finite and positive is invalid.
        stamp_ns: time of exposure [ns].
        frame_id: optical frame.
        encoding: "16UC1" (rounded millimetres, lossless for millimetre cameras) or "32FC1"
            (quantised inverse depth).
        depth_max_m: farthest distance of "32FC1" [m]; farther becomes invalid.
        depth_quantization: the transport's parameter of that name; A = q (q + 1), B = 1 - A / max.
            Distances below A / (65535 - B) (0.15 m by default) do not fit and become invalid.

    Raises:
        ConversionError: another encoding, dtype or shape, or a stamp that ROS cannot hold.
    """
    array = as_array(depth_m, "depth_m")
    if array.ndim != 2 or array.dtype.kind != "f":
        raise ConversionError(
            f"depth_m is {array.dtype} {array.shape}; it must be floating point (H, W) in metres"
        )
    metres = np.ascontiguousarray(array, dtype=np.float32)
    if encoding == "16UC1":
        parameters = (0.0, 0.0)
        values = millimetres_from_metres(metres)
    elif encoding == "32FC1":
        quant_a = depth_quantization * (depth_quantization + 1.0)
        parameters = (quant_a, 1.0 - quant_a / depth_max_m)
        values = _inverse_from_metres(metres, depth_max_m, *parameters)
    else:
        raise ConversionError(f"depth encoding '{encoding}' is unknown; allowed: 16UC1, 32FC1")
    message = CompressedImage(
        header=header(stamp_ns, frame_id), format=f"{encoding}; compressedDepth png"
    )
    message.data.frombytes(_DEPTH_CONFIG.pack(_INVERSE_DEPTH, *parameters))
    append_bytes(message.data, _encode(values, "png", []))
    return message


def _parse(text: str) -> tuple[str, str, str]:
    """Return (encoding or "", codec, stored channel order or "") of a `format` field."""
    encoding, separator, rest = (part.strip() for part in text.partition(";"))
    if not separator:
        encoding, rest = "", encoding
    words = rest.split()
    if "compressedDepth" in words:
        return encoding, f"compressedDepth {' '.join(words[1:]) or 'png'}", ""
    codec = words[0].lower() if words else ""
    stored_order = words[2] if len(words) > 2 and words[1] == "compressed" else ""
    return encoding, "jpeg" if codec == "jpg" else codec, stored_order


def _decode(data: NDArray[np.uint8], codec: str, flags: int, text: str) -> NDArray[Any]:
    # OpenCV returns half a picture for half a file, so the end marker is looked for first; cameras
    # pad their JPEG buffers with zeros.
    end = _JPEG_END if codec == "jpeg" else _PNG_END
    if end not in data.tobytes().rstrip(b"\0")[-4096:]:
        raise ConversionError(
            f"format '{text}' with {data.size} bytes has no end of {codec.upper()} data: "
            "the message is truncated or of another format"
        )
    try:
        pixels = cv2.imdecode(data, flags)
    except cv2.error:
        pixels = None
    if pixels is None:
        raise ConversionError(f"format '{text}' with {data.size} bytes cannot be decoded")
    return np.asarray(pixels)


def _encode(pixels: NDArray[Any], codec: str, options: list[int]) -> NDArray[np.uint8]:
    encoded, data = cv2.imencode(f".{codec}", pixels, options)
    if not encoded:
        raise ConversionError(
            f"OpenCV cannot encode {pixels.dtype} {pixels.shape} as {codec}; an image needs pixels"
        )
    return np.asarray(data, dtype=np.uint8)


def _metres_from_inverse(
    values: NDArray[np.uint16], quant_a: float, quant_b: float
) -> NDArray[np.float32]:
    if not (np.isfinite(quant_a) and np.isfinite(quant_b)) or quant_a <= 0:
        raise ConversionError(
            f"compressedDepth header has A = {quant_a:g}, B = {quant_b:g}; A must be positive and "
            "both finite: the header is broken"
        )
    # In the arithmetic of the transport (float32), so that live and recorded depth agree.
    denominator = values.astype(np.float32) - np.float32(quant_b)
    with np.errstate(divide="ignore"):
        metres: NDArray[np.float32] = np.float32(quant_a) / denominator
    metres[(values == 0) | ~(denominator > 0)] = np.nan
    return metres


def _inverse_from_metres(
    metres: NDArray[np.float32], depth_max_m: float, quant_a: float, quant_b: float
) -> NDArray[np.uint16]:
    with np.errstate(divide="ignore", invalid="ignore"):
        inverse = np.float32(quant_a) / metres + np.float32(quant_b)
        fits = (metres > 0) & (metres < np.float32(depth_max_m)) & (inverse < 65536)
    return np.where(fits, inverse, 0).astype(np.uint16)
