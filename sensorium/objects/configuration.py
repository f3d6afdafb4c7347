"""How segments become objects in the world."""

from __future__ import annotations

from dataclasses import dataclass

from sensorium.configuration import parameter


@dataclass(frozen=True, slots=True)
class ObjectsConfiguration:
    """Limits and thresholds of the objects."""

    max_objects: int = parameter(
        200, "Objects kept; beyond that the one not seen for the longest time is dropped.",
        minimum=1, maximum=10000,
    )  # fmt: skip
    voxel_size_m: float = parameter(
        0.01, "Edge of the voxels in which the surface of an object is kept [m]; doubled for an "
        "object that has more than max_voxels.", minimum=0.002, maximum=0.2,
    )  # fmt: skip
    max_voxels: int = parameter(20000, "Voxels kept per object.", minimum=100, maximum=1000000)
    max_range_m: float = parameter(
        6.0, "Farther points do not count for objects [m].", minimum=0.1, maximum=1000.0,
        read_only=False,
    )  # fmt: skip
    border_px: int = parameter(
        1, "Pixels within this distance of another segment do not count [px of the cloud].",
        minimum=0, maximum=5, read_only=False,
    )  # fmt: skip
    edge_fraction: float = parameter(
        0.05, "Pixels beside a change of depth by more than this fraction do not count.",
        minimum=0.001, maximum=1.0, read_only=False,
    )  # fmt: skip
    standing_m: float = parameter(
        0.5, "What rises from a level surface, up to this height, is one thing: points of it that "
        "the network left out or gave to the surface become the thing's [m]; 0 leaves the masks "
        "as they are. The world's z must point up.", minimum=0.0, maximum=2.0, read_only=False,
    )  # fmt: skip
    unnamed_things: bool = parameter(
        True, "Keep what rises from a level surface and no segment names, too, as objects named "
        "'unknown' until a segment names them.", read_only=False,
    )  # fmt: skip
    min_points: int = parameter(
        30, "Segments with fewer points do not count.", minimum=4, maximum=100000, read_only=False
    )
    same_name_overlap: float = parameter(
        0.2, "Share of the smaller one's voxels that a segment and an object of the same name must "
        "have in common to be one.", minimum=0.01, maximum=1.0, read_only=False,
    )  # fmt: skip
    other_name_overlap: float = parameter(
        0.3, "The same of the larger one's voxels, for another name.",
        minimum=0.01, maximum=1.0, read_only=False,
    )  # fmt: skip
    merge_views: int = parameter(
        2, "Two objects become one after so many more pictures in which one segment covers both "
        "(of another name: most of one) than show them apart; 0 never.",
        minimum=0, maximum=1000, read_only=False,
    )  # fmt: skip
    min_views: int = parameter(
        6, "Pictures in which an object must be seen before it is published; with more than "
        "merge_views, parts of one thing are one before anybody sees them.",
        minimum=1, maximum=1000, read_only=False,
    )  # fmt: skip
    doubtful_s: float = parameter(
        10.0, "An object that is not published yet is dropped when not seen for so long [s].",
        minimum=0.0, maximum=3600.0, read_only=False,
    )  # fmt: skip
    missed_views: int = parameter(
        30, "An object is dropped after so many pictures in a row that show its place without it,"
        " 0 never; where they show what is behind it, it goes sooner.", minimum=0, maximum=100000,
        read_only=False,
    )  # fmt: skip
    forget_after_s: float = parameter(
        0.0, "An object is dropped when it was not seen for so long [s]; 0 keeps it.",
        minimum=0.0, maximum=1e7, read_only=False,
    )  # fmt: skip
