"""F0 of recordings, for vocoders that are told the pitch of every unit: pYIN of librosa, voicing included.

    speechssl pitch data/train -o exp/pitch
    speechssl pitch recordings/ -o exp/pitch --low 65 --high 500 --workers 4

OUT/pitch.json (rate, utterances, mean and deviation of log F0 of every speaker) and OUT/pitch.npy (Hz of all frames, 0
where unvoiced). Speakers are those of utt2spk; without it every utterance is normalised by itself. Needs librosa: pip
install 'speechssl[augment]'.

exit code: 0 all done; 1 done, but some recordings were skipped (OUT/failures.tsv); 2 nothing could be used.
"""

import argparse
from typing import TYPE_CHECKING

from speechssl.cli import _extraction
from speechssl.errors import ConfigError

if TYPE_CHECKING:
    import numpy as np

    from speechssl.data.pitch import Settings
    from speechssl.data.utterance import Utterance

SUMMARY = "F0 of recordings, for vocoders"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """INPUT, -o, the range, how to run."""
    _extraction.add_input(parser)
    parser.add_argument("-o", "--output", required=True, metavar="OUT", help="new folder")
    parser.add_argument("--low", type=float, default=65.0, metavar="HZ", help="lowest F0 (default 65)")
    parser.add_argument("--high", type=float, default=500.0, metavar="HZ", help="highest F0 (default 500)")
    parser.add_argument("--rate", type=float, default=50.0, metavar="HZ", help="frames a second (default 50)")
    parser.add_argument("--sample-rate", type=int, default=16000, metavar="HZ", help="of the vocoder (default 16000)")
    parser.add_argument("--workers", type=int, default=1, metavar="N", help="processes (default 1; 0: none but this)")
    parser.add_argument("--json", action="store_true", help="print the report as JSON")


def run(args: argparse.Namespace) -> int:
    """Track everything, write, report."""
    import json
    from functools import partial
    from pathlib import Path

    from speechssl.data import pitch_files
    from speechssl.data.pitch import Settings
    from speechssl.data.processes import mapping
    from speechssl.extract import atomic

    settings, out = Settings(args.low, args.high, args.rate), Path(args.output)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ConfigError(f"{out} is there and holds something: choose another folder")
    corpus = _extraction.open_input(args)
    work = partial(_track, sample_rate=args.sample_rate, settings=settings)
    tracks: dict[str, np.ndarray] = {}
    failures: list[tuple[str, str, str]] = []
    with mapping(args.workers) as mapped:
        for utterance, found in zip(corpus.utterances, mapped(work, corpus.utterances), strict=True):
            if isinstance(found, tuple):
                failures.append((utterance.id, *found))
            else:
                tracks[utterance.id] = found
    speakers = {u.id: u.speaker or u.id for u in corpus.utterances}
    with atomic.scratch(out, "pitch") as scratch:
        card = pitch_files.write(scratch, settings, tracks, speakers)
        rows = "".join("\t".join(row) + "\n" for row in failures)
        (scratch / "failures.tsv").write_text("id\tcode\terror\n" + rows, encoding="utf-8")
        atomic.commit(scratch, out)
    voiced = sum(one.frames for one in card.speakers.values())
    report = {"output": str(out), "utterances": len(tracks), "failed": len(failures), "frames": sum(card.frames),
              "voiced": voiced, "speakers": len(card.speakers)}  # fmt: skip
    line = (f"{out}: F0 of {len(tracks)} utterances, {sum(card.frames)} frames, {voiced} voiced, of "
            f"{len(card.speakers)} speakers; {len(failures)} skipped")  # fmt: skip
    print(json.dumps(report, indent=2) if args.json else line)
    return (1 if tracks else 2) if failures else 0


def _track(utterance: "Utterance", sample_rate: int, settings: "Settings") -> "np.ndarray | tuple[str, str]":
    """F0 of an utterance, or what is wrong with it: code and reason."""
    from speechssl.data.corpus import read_utterance
    from speechssl.data.pitch import track
    from speechssl.errors import AudioError

    try:
        return track(read_utterance(utterance, sample_rate=sample_rate).samples, sample_rate, settings)
    except AudioError as error:
        return error.code, " ".join(str(error).split())
