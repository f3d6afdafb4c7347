"""The one error of all conversions."""

from __future__ import annotations


class ConversionError(ValueError):
    """A message or array that cannot be converted; the text names value, rule and remedy.

    The text does not name the topic: the caller knows it and puts it in front.
    """
