#!/usr/bin/env python3
"""subset.py DATA SECONDS SEED: ids of utterances of DATA, one a line, SECONDS in all at the most.

Speakers take turns: the next utterance is always of the speaker with the least speech so far, drawn without
replacement, until one does not fit any more; a speaker who has no more drops out. A shorter subset of the same seed is
part of a longer one.
"""

import sys

import numpy as np

from speechssl.data.corpus import open_corpus, probe_utterance


def main(data: str, seconds: str, seed: str) -> None:
    utterances = open_corpus(data).utterances
    left: dict[str, list[tuple[str, float]]] = {}
    for utterance in utterances:
        left.setdefault(utterance.speaker or "", []).append((utterance.id, probe_utterance(utterance).duration_s))
    random = np.random.default_rng(int(seed))
    queues = {speaker: [rows[i] for i in random.permutation(len(rows))] for speaker, rows in sorted(left.items())}
    spent = dict.fromkeys(queues, 0.0)
    while queues:
        speaker = min(queues, key=lambda name: (spent[name], name))
        key, length = queues[speaker].pop()
        if sum(spent.values()) + length > float(seconds):
            return
        print(key)
        spent[speaker] += length
        if not queues[speaker]:
            del queues[speaker]


if __name__ == "__main__":
    main(*sys.argv[1:])
