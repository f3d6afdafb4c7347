"""The instruction's way into the policy `geo`: words to a batch entry of the network."""

from __future__ import annotations

from functools import lru_cache

from torch import Tensor

from sensorium.models.policy.errors import CheckpointError, ObservationError
from sensorium.models.policy.geo.configuration import GeoConfiguration
from sensorium.models.policy.geo.words import WordTable

__all__ = ["WORDS", "WORD_MASK", "InstructionEncoder"]

WORDS = "task.words"
"""Batch entry: (B, W, D) float32 directions of words."""
WORD_MASK = "task.mask"
"""Batch entry: (B, W) float32, 1 where there is a word."""

_MOST_SHOWN = 80


class InstructionEncoder:
    """Encodes instructions for one checkpoint; the last ones are kept.

    Args:
        configuration: Of the policy; names the word table it was trained with.
        table: The word table.

    Raises:
        CheckpointError: The policy was trained with another table.
    """

    def __init__(self, configuration: GeoConfiguration, table: WordTable) -> None:
        if configuration.word_table_sha256 not in ("", table.sha256):
            raise CheckpointError(
                f"the policy was trained with word table {configuration.word_table_sha256[:12]}, "
                f"but the installed one is {table.sha256[:12]}. Install the version of sensorium "
                "that trained it, or train again."
            )
        if table.size != configuration.word_size:
            raise CheckpointError(
                f"the policy takes words of {configuration.word_size} values, the word table has "
                f"{table.size}; train again with this table."
            )
        self._table = table
        self._length = configuration.max_words
        self._encode = lru_cache(maxsize=64)(self._encoded)

    def __call__(self, task: str | None) -> dict[str, Tensor]:
        """Batch entries of one instruction, without the batch axis.

        Raises:
            ObservationError: There is no instruction, or the table knows none of its words.
        """
        if not task:
            raise ObservationError(
                "Observation 'task' is missing; the policy 'geo' needs an instruction."
            )
        return self._encode(task)

    def _encoded(self, task: str) -> dict[str, Tensor]:
        known, unknown = self._table.split(task)
        if not known:
            words = _shortened(", ".join(unknown)) if unknown else "nothing written"
            raise ObservationError(
                f"Instruction {_shortened(task)} has no word that the policy knows (unknown: "
                f"{words}). Give an English sentence such as 'pick up the red cube'."
            )
        vectors, mask = self._table.encode(task, self._length)
        return {WORDS: vectors, WORD_MASK: mask}


def _shortened(text: str) -> str:
    """Quoted for a log line: control characters escaped, never long."""
    return repr(text if len(text) <= _MOST_SHOWN else text[:_MOST_SHOWN] + "...")
