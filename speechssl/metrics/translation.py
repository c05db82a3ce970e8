"""BLEU (Papineni et al. 2002) and chrF (Popović 2015) of a corpus, by sacrebleu (arXiv:1804.08771), with intervals."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from speechssl.errors import ConfigError, DataError
from speechssl.metrics.bootstrap import drawn_sums, interval

SEED = 12345  # of the draws, as in sacrebleu


def score(
    hypotheses: Sequence[str], references: Sequence[str], *, units: bool, draws: int = 1000
) -> dict[str, dict[str, Any]]:
    """`bleu`, and of texts `chrf`: score 0..100, low and high (95 %, percentiles of the bootstrap),
    signature, name; of BLEU length_ratio, tokens of the hypotheses over those of the references (above 1: too long).

    units: sequences of numbers with spaces between, taken as they are. DataError where there is nothing to score.
    """
    try:
        from sacrebleu.metrics import BLEU, CHRF
    except ImportError:
        raise ConfigError("BLEU needs sacrebleu: pip install sacrebleu") from None
    if not references or len(hypotheses) != len(references):
        raise DataError(f"{len(hypotheses)} hypotheses cannot be scored against {len(references)} references")
    metrics: dict[str, Any] = {"bleu": BLEU(tokenize="none", force=True) if units else BLEU()}
    if not units:
        metrics["chrf"] = CHRF()
    rows = {}
    for name, metric in metrics.items():
        found = metric.corpus_score(list(hypotheses), [list(references)])
        low, high = _interval(metric, hypotheses, references, draws)
        rows[name] = {"name": "unit-BLEU" if units else found.name, "score": float(found.score), "low": low,
                      "high": high, "signature": metric.get_signature().format()}  # fmt: skip
        if name == "bleu":
            rows[name]["length_ratio"] = found.sys_len / found.ref_len if found.ref_len else None
    return rows


def _interval(metric: Any, hypotheses: Sequence[str], references: Sequence[str], draws: int) -> tuple[float, float]:
    """Percentiles 2.5 and 97.5 over draws of utterances, from sums of each one's counts: nothing is tokenised twice.

    differs: sacrebleu's own n_bootstrap fails on chrF where a draw scores 0 (2.6.0: float and float32 in one mean) and
    gives an interval that is symmetric about the mean of the draws.
    """
    counts = np.array(metric._extract_corpus_statistics(list(hypotheses), [list(references)]))
    sums = drawn_sums(counts, draws, SEED)
    found = interval(np.array([metric._compute_score_from_stats(row.tolist()).score for row in sums]))
    return found.low, found.high
