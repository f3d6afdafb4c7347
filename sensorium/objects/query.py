"""Which objects fit a text: by the angle between their embedding and that of the text."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sensorium.objects.labelled_view import UNLABELLED_CLASS, UNNAMED
from sensorium.objects.object_map import KnownObject

_NOTHING_NAMED = (UNNAMED, UNLABELLED_CLASS)


class NotComparable(ValueError):  # noqa: N818 - an answer, not a fault
    """Objects that cannot be compared with a text; the text says why and what to do."""


def best_matches(
    objects: Sequence[KnownObject],
    text: NDArray[np.float32],
    max_results: int = 0,
    min_score: float = -1.0,
) -> list[tuple[KnownObject, float]]:
    """Return objects with their cosines, best first.

    Args:
        objects: the known objects; those without an embedding, and so all that nothing named yet,
            are left out.
        text: (D,) unit vector.
        max_results: 0 for all.
        min_score: least cosine, -1 to 1.

    Raises:
        NotComparable: there are named objects and none has an embedding, or it has another length.
    """
    found = []
    for known in objects:
        if known.embedding is None:
            continue
        if known.embedding.shape != text.shape:
            raise NotComparable(
                f"object {known.identity} has an embedding of length {len(known.embedding)} and "
                f"the text one of {len(text)}: they are of different weights; call ~/reset"
            )
        cosine = float(np.clip(known.embedding @ text, -1.0, 1.0))
        if cosine >= min_score:
            found.append((known, cosine))
    named = [known for known in objects if (known.name, known.class_id) != _NOTHING_NAMED]
    if named and all(known.embedding is None for known in named):
        raise NotComparable(
            "no object has an embedding; set the parameter 'embeddings' of the segmentation node "
            "to true"
        )
    found.sort(key=lambda match: -match[1])
    return found[:max_results] if max_results else found
