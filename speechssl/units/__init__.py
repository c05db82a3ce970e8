"""Units, the unit model (encoder + layer + quantizer), and their text and archive formats.

`from speechssl.units import Units` needs numpy only; the unit model, in `speechssl.units.model`, needs torch.
"""

from speechssl.units.units import Units

__all__ = ["Units"]
