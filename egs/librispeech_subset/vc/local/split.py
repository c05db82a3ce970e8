#!/usr/bin/env python3
"""A Kaldi data dir of many speakers to one-shot voice conversion: speakers to train on, and others to convert.

split.py ALL OUT [--speakers 10] [--utterances 2] [--shortest 3] [--longest 15] [--seed 0] [--limit N]

--speakers are held out, drawn by a hash of --seed and their names from those with enough recordings of --shortest to
--longest seconds: --utterances to convert, a reference, by which a voice knows them, and another, which speaks for them
in scores. Nobody hears the same recording twice. Each is converted to the next drawn, the last to the first.

OUT/train               everybody else (--limit: so many recordings at the most), as 16 kHz WAV in OUT/audio
OUT/pairs               lines SOURCE TARGET, speakers
OUT/sources/SPEAKER     what is converted;  OUT/reference/SPEAKER  one recording
OUT/test/{source,target,other_of_source,other_of_target}
                        with the ids of all sources: they themselves; the target's reference; the other recordings
"""

import argparse
import sys
import zlib
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "utils"))

from free_speech import RATE, stored
from kaldi_dir import write_dir

from speechssl.data.corpus import open_corpus, read_utterance
from speechssl.data.utterance import Utterance


def main(arguments: list[str] | None = None) -> int:
    """Write the data dirs; 2 where there are too few speakers or nobody is left to train on."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("all", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--speakers", type=int, default=10, help="held out")
    parser.add_argument("--utterances", type=int, default=2, help="of each to convert")
    parser.add_argument("--shortest", type=float, default=3.0, help="seconds, of recordings of speakers held out")
    parser.add_argument("--longest", type=float, default=15.0, help="seconds, of the same")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--limit", type=int, default=0, help="at most so many recordings to train on (0: all)")
    args = parser.parse_args(arguments)
    if args.speakers < 2 or args.utterances < 1:
        print(f"{args.speakers} speakers and {args.utterances} utterances of each: at least 2 and 1", file=sys.stderr)
        return 2
    spoken: dict[str, list[Utterance]] = defaultdict(list)
    for utterance in open_corpus(args.all).utterances:
        spoken[str(utterance.speaker)].append(utterance)
    needed, held = args.utterances + 2, dict[str, dict[str, Path]]()
    for speaker in drawn(args.seed, (name for name, own in spoken.items() if len(own) >= needed)):
        if len(held) == args.speakers:
            break
        usable: dict[str, Path] = {}
        for utterance in spoken[speaker]:
            samples = read_utterance(utterance, sample_rate=RATE).samples
            if len(usable) < needed and args.shortest <= len(samples) / RATE <= args.longest:
                usable[utterance.id] = stored(args.out, utterance.id, samples)
        if len(usable) == needed:
            held[speaker] = usable
    rest = [utterance for speaker, own in spoken.items() if speaker not in held for utterance in own]
    if len(held) < args.speakers or not rest:
        print(f"{args.all}: {len(held)} of {len(spoken)} speakers have {needed} recordings of {args.shortest:g} to "
              f"{args.longest:g} s, {len(rest)} recordings are left to train on, and {args.speakers} speakers are to "
              "be held out", file=sys.stderr)  # fmt: skip
        return 2
    learned = {row.id: row for row in (rest[: args.limit] if args.limit else rest)}
    paths = {
        name: stored(args.out, name, read_utterance(row, sample_rate=RATE).samples) for name, row in learned.items()
    }
    write_dir(args.out / "train", paths, {name: str(row.speaker) for name, row in learned.items()})
    write_test(args.out, held)
    return 0


def drawn(seed: int, names: Iterable[str]) -> list[str]:
    """Names in an order that only the seed and they themselves decide."""
    return sorted(names, key=lambda name: (zlib.crc32(f"{seed} {name}".encode()), name))


def write_test(out: Path, held: dict[str, dict[str, Path]]) -> None:
    """What is converted to whom: recordings by name, first the reference, then the other, of speakers in a circle."""
    speakers = list(held)
    targets = dict(zip(speakers, speakers[1:] + speakers[:1], strict=True))
    tables: dict[str, dict[str, Path]] = {
        name: {} for name in ("source", "target", "other_of_source", "other_of_target")
    }
    whose: dict[str, str] = {}
    for speaker, own in held.items():
        (reference, kept), (_, other), *sources = own.items()
        write_dir(out / "reference" / speaker, {reference: kept}, {reference: speaker})
        write_dir(out / "sources" / speaker, dict(sources), dict.fromkeys(dict(sources), speaker))
        target, other_of_target, *_ = held[targets[speaker]].values()
        for name, path in sources:
            whose[name] = speaker
            for table, row in zip(tables.values(), (path, target, other, other_of_target), strict=True):
                table[name] = row
    for table, paths in tables.items():
        of = whose if table.endswith("source") else {name: targets[speaker] for name, speaker in whose.items()}
        write_dir(out / "test" / table, paths, of)
    (out / "pairs").write_text("".join(f"{source} {target}\n" for source, target in targets.items()), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
