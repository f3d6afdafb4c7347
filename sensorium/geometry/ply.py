"""Point clouds as binary little-endian PLY files, for MeshLab, CloudCompare, Blender, Open3D."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sensorium.geometry.atomic import write_atomically

_TYPES = {
    "char": "i1", "uchar": "u1", "short": "<i2", "ushort": "<u2", "int": "<i4", "uint": "<u4",
    "float": "<f4", "double": "<f8", "int8": "i1", "uint8": "u1", "int16": "<i2", "uint16": "<u2",
    "int32": "<i4", "uint32": "<u4", "float32": "<f4", "float64": "<f8",
}  # fmt: skip


class PlyError(ValueError):
    """A file that is no PLY point cloud, or columns that do not make one."""


def write_ply(
    path: Path,
    points_m: NDArray[np.float32],
    normals: NDArray[np.float32] | None = None,
    colors: NDArray[np.uint8] | None = None,
    comment: str = "",
) -> None:
    """Write a point cloud; the file appears only when it is complete.

    Args:
        path: file to write or replace.
        points_m: (N, 3) [m], properties x, y, z (float).
        normals: (N, 3) unit vectors, properties nx, ny, nz (float), or None.
        colors: (N, 3) uint8 RGB, properties red, green, blue (uchar), or None.
        comment: one line for the header, for example the frame.

    Raises:
        PlyError: columns of different length or a comment of several lines.
        OSError: the file cannot be written; see :func:`write_atomically`.
    """
    if not comment.isprintable():
        raise PlyError(f"comment {comment!r} has control characters; it must be one line of text")
    columns: list[tuple[tuple[str, str, str], str, str, NDArray[np.generic]]] = [
        (("x", "y", "z"), "float", "<f4", points_m)
    ]
    if normals is not None:
        columns.append((("nx", "ny", "nz"), "float", "<f4", normals))
    if colors is not None:
        columns.append((("red", "green", "blue"), "uchar", "u1", colors))
    fields, properties = [], []
    for names, ply_type, dtype, values in columns:
        if values.shape != (len(points_m), 3):
            raise PlyError(
                f"{'/'.join(names)} has shape {values.shape}; it must be ({len(points_m)}, 3)"
            )
        fields += [(name, dtype) for name in names]
        properties += [f"property {ply_type} {name}" for name in names]
    vertices = np.empty(len(points_m), dtype=fields)
    for names, _, _, values in columns:
        for index, name in enumerate(names):
            vertices[name] = values[:, index]
    header = [
        "ply", "format binary_little_endian 1.0", *([f"comment {comment}"] if comment else []),
        f"element vertex {len(points_m)}", *properties, "end_header", "",
    ]  # fmt: skip
    write_atomically(path, ("\n".join(header).encode(), vertices.tobytes()))


def read_ply(path: Path) -> dict[str, NDArray[np.generic]]:
    """Return the vertex properties of a binary little-endian PLY file by name, each (N,).

    Raises:
        PlyError: another format, a list property among the vertices, or a truncated file.
        OSError: the file cannot be read.
    """
    data = path.read_bytes()
    end = data.find(b"end_header\n")
    if not data.startswith(b"ply\n") or end < 0:
        raise PlyError(f"{path} is not a PLY file: no 'ply' ... 'end_header'")
    lines = [line.split() for line in data[:end].decode("ascii", "replace").splitlines()]
    if ["format", "binary_little_endian", "1.0"] not in lines:
        raise PlyError(f"{path} is not binary_little_endian 1.0; convert it")
    elements = [line for line in lines if line[:1] == ["element"]]
    if not elements or elements[0][1] != "vertex":
        raise PlyError(f"{path} does not begin with vertices")
    start = lines.index(elements[0])
    stop = lines.index(elements[1]) if len(elements) > 1 else len(lines)
    properties = [line for line in lines[start:stop] if line[:1] == ["property"]]
    for line in properties:
        if len(line) != 3 or line[1] not in _TYPES:
            raise PlyError(f"{path}: vertex property '{' '.join(line[1:])}' is not a number")
    layout = np.dtype([(line[2], _TYPES[line[1]]) for line in properties])
    count, offset = int(elements[0][2]), end + len(b"end_header\n")
    if len(data) - offset < count * layout.itemsize:
        raise PlyError(f"{path} is truncated: {count} vertices promised")
    vertices = np.frombuffer(data, layout, count, offset)
    return {name: vertices[name] for name in layout.names or ()}
