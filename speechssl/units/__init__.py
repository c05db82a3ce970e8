"""Units, the unit model (encoder + layer + quantizer), and their text and archive formats."""

from speechssl.units.units import Units

__all__ = ["Units"]
