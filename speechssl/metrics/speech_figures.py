"""Figures of synthetic speech as quotients of sums over utterances, from what was measured of each.

So all of them have intervals, and two systems can be compared on the same utterances (`metrics.bootstrap`).
"""

from collections.abc import Callable, Mapping, Sequence

from speechssl.metrics.bootstrap import Comparison, Quotient, compare

Measured = Mapping[str, float]  # of an utterance, by name

# What an utterance adds above and below the line. Frames count alike for the distortion and F0, characters for an error
# rate, utterances for the others.
FIGURES: dict[str, Callable[[Measured], tuple[float, float]]] = {
    "mcd_db": lambda one: (one["mcd_db"] * one["frames"], one["frames"]),
    "f0_voicing_error": lambda one: (one["f0_voicing_error"] * one["f0_pairs"], one["f0_pairs"]),
    "f0_gross_error": lambda one: (one["f0_gross_error"] * one["f0_both_voiced"], one["f0_both_voiced"]),
    "f0_rmse_hz": lambda one: (one["f0_rmse_hz"] ** 2 * one["f0_both_voiced"], one["f0_both_voiced"]),
    "f0_rmse_cents": lambda one: (one["f0_rmse_cents"] ** 2 * one["f0_both_voiced"], one["f0_both_voiced"]),
    "duration_error": lambda one: (abs(one["made_s"] / one["real_s"] - 1), 1),
    "duration_ratio": lambda one: (one["made_s"], one["real_s"]),
    "similarity": lambda one: (one["similarity"], 1),
    "dnsmos_made": lambda one: (one["dnsmos_made"], 1),
    "cer_made": lambda one: (one["errors_made"], one["characters"]),
    "cer_real": lambda one: (one["errors_real"], one["characters"]),
}
ROOTS = ("f0_rmse_hz", "f0_rmse_cents")


def quotients(utterances: Sequence[Measured]) -> dict[str, Quotient]:
    """Of at least one utterance: the figures that all of them were measured for."""
    found = {}
    for name, sides in FIGURES.items():
        try:
            above, below = zip(*map(sides, utterances), strict=True)
        except KeyError:  # not measured
            continue
        found[name] = Quotient(above, below, name in ROOTS)
    return found


def differences(
    one: Mapping[str, Measured], other: Mapping[str, Measured], *, num_draws: int = 1000, level: float = 0.95,
    seed: int = 0,
) -> dict[str, Comparison]:  # fmt: skip
    """Of two systems, by utterance: first - second of the figures that both have, on the utterances that both have."""
    names = [name for name in one if name in other]
    if not names:
        return {}
    ours, theirs = (quotients([system[name] for name in names]) for system in (one, other))
    return {key: compare(ours[key], theirs[key], num_draws=num_draws, level=level, seed=seed)
            for key in ours if key in theirs}  # fmt: skip
