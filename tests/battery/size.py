"""How large a battery is: a reduced count in every run of the tests, the full one in `python tools/battery.py`."""

import os

FULL = os.environ.get("SPEECHSSL_BATTERY") == "full"


def size(reduced: int, full: int) -> int:
    """How many cases to try."""
    return full if FULL else reduced
