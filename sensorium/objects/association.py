"""Which segment of a picture is which known object: by what they have in common in the world."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from sensorium.objects.configuration import ObjectsConfiguration
from sensorium.objects.labelled_view import UNLABELLED_CLASS
from sensorium.objects.observation import Observation
from sensorium.objects.world_object import WorldObject
from sensorium.poses import Float64

# Weight of the embeddings beside the overlap of the surfaces.
_EMBEDDING_WEIGHT = 0.2
# A further segment of this share inside an object of its name is a fragment of it.
_FRAGMENT_SHARE = 0.5
# Pieces of one thing that a picture shows as two segments are at most so far apart.
_BORDER_VOXELS = 3
# What stands on a surface is whole: of a larger object it is at least this share, or none of it.
_LEAST_UNNAMED_SHARE = 0.1
# Two sides of a thing have few voxels in common, but nearly the same bounds.
_SAME_SPACE = 0.5
# With this share of its voxels in the segment of another object, an object is a part of that one.
_PART_SHARE = 0.5


@dataclass(frozen=True, slots=True)
class Overlap:
    """What a segment and an object have in common.

    Attributes:
        of_smaller: common voxels over those of the one that has fewer.
        of_larger: the same over those of the one that has more.
        of_segment: the same over those of the segment.
        same_name: the object was called as the segment is.
        score: how well they fit, to choose the best of several; 0 when they do not.
    """

    of_smaller: float
    of_larger: float
    of_segment: float
    same_name: bool
    score: float


@dataclass(slots=True)
class Assignment:
    """The segments of a picture and the objects they belong to.

    Attributes:
        object_of: identity of the object of each observation, by position; absent where new.
        covered: pairs of identities that one segment covers both.
    """

    object_of: dict[int, int] = field(default_factory=dict)
    covered: set[tuple[int, int]] = field(default_factory=set)


def assigned(
    seen: Sequence[Observation],
    objects: Mapping[int, WorldObject],
    class_names: tuple[str, ...],
    settings: ObjectsConfiguration,
) -> Assignment:
    """Give each segment the object that it fits best, each object one segment first.

    A segment of an object's name need only share voxels with it (a picture shows one side of a
    thing, and the first pictures only a part). One of another name must fill the same space: things
    that stand on each other share the voxels where they touch. Then further segments of an object's
    name that lie inside it, beside its own segment, are taken as fragments of it.

    Args:
        seen: the segments of one picture.
        objects: the known objects by identity.
        class_names: the class list of the picture.
        settings: thresholds.
    """
    overlaps = {
        (position, identity): overlap
        for position, one in enumerate(seen)
        for identity, known in objects.items()
        if known.may_touch(one)
        and (overlap := _overlap(one, known, class_names, settings)).of_smaller > 0
    }
    result = Assignment()
    taken: set[int] = set()
    ranked = sorted(overlaps.items(), key=lambda item: -item[1].score)
    for (position, identity), overlap in ranked:
        if overlap.score > 0 and position not in result.object_of and identity not in taken:
            result.object_of[position] = identity
            taken.add(identity)
    main_of = {identity: seen[position] for position, identity in result.object_of.items()}
    for (position, identity), overlap in ranked:
        is_inside = overlap.same_name and overlap.of_segment >= _FRAGMENT_SHARE
        main = main_of.get(identity)
        is_beside = main is None or _beside(seen[position], main, settings.voxel_size_m)
        if is_inside and is_beside and position not in result.object_of:
            result.object_of[position] = identity
    _note_covered(result, overlaps, taken, seen, objects, settings)
    return result


def space_shared(
    low_m: Float64, high_m: Float64, other_low_m: Float64, other_high_m: Float64
) -> Float64:
    """Volume (...) that bounds share, over that of both together; corners (..., 3) [m]."""
    common = (np.minimum(high_m, other_high_m) - np.maximum(low_m, other_low_m)).clip(0).prod(-1)
    both = (high_m - low_m).prod(-1) + (other_high_m - other_low_m).prod(-1)
    share: Float64 = common / np.maximum(both - common, 1e-12)
    return share


def _beside(one: Observation, other: Observation, voxel_size_m: float) -> bool:
    """True for lumps of one segment, and for segments whose bounds meet but for trimmed borders."""
    gap_m = _BORDER_VOXELS * voxel_size_m
    return one.index == other.index or bool(
        (one.low_m <= other.high_m + gap_m).all() and (one.high_m >= other.low_m - gap_m).all()
    )


def _note_covered(
    result: Assignment,
    overlaps: Mapping[tuple[int, int], Overlap],
    taken: set[int],
    seen: Sequence[Observation],
    objects: Mapping[int, WorldObject],
    settings: ObjectsConfiguration,
) -> None:
    """Note objects without a segment of their own that another object's segment covers."""
    for (position, identity), overlap in overlaps.items():
        owner = result.object_of.get(position)
        if owner is None or owner == identity or identity in taken:
            continue
        one, known = seen[position], objects[identity]
        if (
            (overlap.same_name and overlap.of_smaller >= settings.same_name_overlap)
            or known.surface.share_in(one.patch) >= _PART_SHARE
            or space_shared(*known.bounds_m, one.low_m, one.high_m) >= _SAME_SPACE
        ):
            result.covered.add((min(owner, identity), max(owner, identity)))


def _overlap(
    one: Observation,
    known: WorldObject,
    class_names: tuple[str, ...],
    settings: ObjectsConfiguration,
) -> Overlap:
    size, common = known.surface.common(one.patch)
    # Neighbouring voxels count as common, so that there may be more than the smaller one has.
    of_smaller = min(1.0, common / min(size, len(known.surface)))
    of_larger = common / max(size, len(known.surface))
    is_unnamed = one.segment.class_id == UNLABELLED_CLASS
    same_name = (
        of_larger >= _LEAST_UNNAMED_SHARE
        if is_unnamed
        else known.is_called(one.segment.name, class_names)
    )
    score = 0.0
    if same_name and of_smaller >= settings.same_name_overlap:
        score = (of_smaller + of_larger) / 2
    elif of_larger >= settings.other_name_overlap or (
        common and space_shared(*known.bounds_m, one.low_m, one.high_m) >= _SAME_SPACE
    ):
        score = of_larger / 2
    own, new = known.embedding, one.segment.embedding
    if score > 0 and own is not None and new is not None and own.shape == new.shape:
        score *= 1 + _EMBEDDING_WEIGHT * float(np.dot(own, new))
    return Overlap(of_smaller, of_larger, common / size, same_name, score)
