#!/usr/bin/env python3
"""CTC beam search beside pyctcdecode and flashlight-text (torchaudio's ctc_decoder) on the same emissions.

    OMP_NUM_THREADS=1 python tools/bench/ctc_decoding.py --text data/train/text --spoken data/dev/text
    OMP_NUM_THREADS=1 python tools/bench/ctc_decoding.py ... --peers /tmp/peers     # makes a virtual environment there

Emissions are drawn: each character of a sentence lasts one or two frames of 20 ms with blanks between, its logit raised
by 6 above normal noise of --noise. Language models: trigrams of words, or 6-grams of characters, learned from --text by
`speechssl lm train`. All take the same ARPA file, beam, weight (natural logarithms), bonus, and words of the model as
lexicon (flashlight's lexicon decoder knows no others). The peers run in an environment of their own, because
pyctcdecode wants numpy < 2; without --peers only ours is timed. CPU times are taken in turn, ratios are medians.
Sentences of --spoken are scored by the word model and by KenLM, too: the largest difference is printed.
"""

import argparse
import contextlib
import json
import math
import statistics
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

FRAME_S = 0.02
PACKAGES = ("numpy<2", "pyctcdecode==0.5.0", "kenlm==0.3.0", "flashlight-text==0.0.7")


def read_texts(path: Path, most: int | None) -> list[str]:
    return [line.partition(" ")[2].strip() for line in path.read_text(encoding="utf-8").splitlines()][:most]


def emission(text: str, symbols: Sequence[str], noise: float, random: np.random.Generator) -> np.ndarray:
    """Log probabilities [T, V] in float32."""
    ids = [symbols.index("|" if c == " " else c) for c in text]
    frames: list[int] = []
    for place, symbol in enumerate(ids):
        if (place and ids[place - 1] == symbol) or random.random() < 0.8:
            frames += [0] * int(random.integers(1, 3))
        frames += [symbol] * int(random.integers(1, 3))
    logits = random.normal(size=(len(frames), len(symbols))) * noise
    logits[np.arange(len(frames)), frames] += 6
    return (logits - np.log(np.exp(logits).sum(1, keepdims=True))).astype(np.float32)


def make_environment(folder: Path) -> Path | None:
    """The Python of a virtual environment with the peers; None with a message where it cannot be made."""
    python = folder / "bin/python"
    if not python.exists():
        print(f"making {folder} (KenLM is compiled, minutes) ...", file=sys.stderr)
        venv.create(folder, with_pip=True)
        made = subprocess.run([python, "-m", "pip", "install", "-q", *PACKAGES], capture_output=True, text=True)
        if made.returncode:
            print(f"skipped, the peers could not be installed: {made.stderr[-500:]}")
            return None
    return python


# The peers' side: started by their own Python with the folder of the data, one line `name` in, one JSON line out.


def peer_decoders(job: dict[str, Any], emissions: list[np.ndarray]) -> dict[str, Callable[[], list[str]]]:
    import flashlight.lib.text.decoder as fl
    from flashlight.lib.text.decoder.kenlm import KenLM
    from flashlight.lib.text.dictionary import Dictionary
    from pyctcdecode import build_ctcdecoder

    symbols, words, beam, weight, bonus = (job[k] for k in ("symbols", "words", "beam", "weight", "bonus"))
    boundary = symbols.index("|")
    decoders: dict[str, Callable[[], list[str]]] = {}

    def pyctcdecode(lm: str | None) -> Callable[[], list[str]]:
        labels = ["" if i == 0 else " " if s == "|" else s for i, s in enumerate(symbols)]
        decoder = build_ctcdecoder(labels, lm, unigrams=words if lm else None, alpha=weight, beta=bonus)
        return lambda: [decoder.decode(e, beam_width=beam) for e in emissions]

    def flashlight(lm: str | None, of_words: bool) -> Callable[[], list[str]]:
        common = {"beam_size": beam, "beam_size_token": len(symbols), "beam_threshold": 20.0,
                  "lm_weight": weight * math.log(10) if lm else 0.0, "sil_score": 0.0, "log_add": True,
                  "criterion_type": fl.CriterionType.CTC}  # fmt: skip
        if not of_words:
            model = KenLM(lm, Dictionary([s if i else "<blank>" for i, s in enumerate(symbols)])) if lm else fl.ZeroLM()
            decoder = fl.LexiconFreeDecoder(fl.LexiconFreeDecoderOptions(**common), model, boundary, 0, [])
        else:
            dictionary = Dictionary(words)
            model, trie = KenLM(lm, dictionary), fl.Trie(len(symbols), boundary)
            start = model.start(False)
            for word in words:
                number = dictionary.get_index(word)
                score = model.score(start, number)[1]
                trie.insert([*(symbols.index(c) for c in word), boundary], number, score)
            trie.smear(fl.SmearingMode.MAX)
            options = fl.LexiconDecoderOptions(word_score=bonus, unk_score=-math.inf, **common)
            decoder = fl.LexiconDecoder(options, trie, model, boundary, 0, -1, [], False)

        def decode() -> list[str]:
            texts = []
            for e in emissions:
                e = np.ascontiguousarray(e)
                ids = decoder.decode(e.ctypes.data, *e.shape)[0].tokens
                kept = [i for k, i in enumerate(ids) if i and (k == 0 or ids[k - 1] != i)]
                texts.append(" ".join("".join(symbols[i] for i in kept).replace("|", " ").split()))
            return texts

        return decode

    decoders["pyctcdecode no LM"] = pyctcdecode(None)
    decoders["pyctcdecode words"] = pyctcdecode(job["word_lm"])
    decoders["flashlight no LM"] = flashlight(None, False)
    decoders["flashlight words"] = flashlight(job["word_lm"], True)
    decoders["flashlight characters"] = flashlight(job["char_lm"], False)
    return decoders


def serve(folder: Path) -> None:
    import kenlm

    job = json.loads((folder / "job.json").read_text())
    with np.load(folder / "emissions.npz") as data:
        emissions = [data[name] for name in data.files]
    with contextlib.redirect_stdout(sys.stderr):
        decoders = peer_decoders(job, emissions)
        model = kenlm.Model(job["word_lm"])
    print(json.dumps([sorted(decoders), [math.log(10) * model.score(text) for text in job["said"]]]), flush=True)
    for line in sys.stdin:
        begin = time.process_time()
        texts = decoders[line.strip()]()
        print(json.dumps([time.process_time() - begin, texts]), flush=True)


# Our side.


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--text", type=Path, required=True, help="lines `id word ...` to learn language models from")
    parser.add_argument("--spoken", type=Path, required=True, help="the same, to be recognised")
    parser.add_argument("--utterances", type=int, default=40)
    parser.add_argument("--noise", type=float, default=1.6)
    parser.add_argument("--beam", type=int, default=50)
    parser.add_argument("--weight", type=float, default=0.5)
    parser.add_argument("--bonus", type=float, default=1.0, help="for a word; none for symbols")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--peers", type=Path, help="folder of the peers' environment, made where it is not there")
    args = parser.parse_args()

    from speechssl.cli import main as speechssl
    from speechssl.decoders.arpa import read_arpa
    from speechssl.decoders.decoder import Decoder, Settings
    from speechssl.decoders.spelling import Spelling
    from speechssl.metrics.word_errors import EditCounts, count_edits

    said = read_texts(args.spoken, args.utterances)
    learned = read_texts(args.text, None)
    letters = sorted({c for text in (*said, *learned) for c in text} - {" "})
    symbols = ("<blank>", "|", *letters)
    random = np.random.default_rng(0)
    emissions = [emission(text, symbols, args.noise, random) for text in said]
    seconds = sum(map(len, emissions)) * FRAME_S
    with tempfile.TemporaryDirectory() as place, contextlib.ExitStack() as stack:
        folder = Path(place)
        models = {}
        for unit, order in (("word", "3"), ("char", "6")):
            path = folder / f"{unit}.arpa"
            with contextlib.redirect_stdout(sys.stderr):
                if speechssl(
                    ["lm", "train", str(args.text), "--ids", "-o", str(path), "--order", order, "--unit", unit]
                ):
                    sys.exit(2)
            models[unit] = read_arpa(path)
        words = [w for w in models["word"].words if w not in ("<s>", "</s>", "<unk>")]
        spelling = Spelling(symbols, boundary="|")
        ours = {}
        for name, model in (("no LM", None), ("words", models["word"]), ("characters", models["char"])):
            for suffix, bounds in (("", {}), (" (narrow)", {"beam_threshold": 10.0, "symbol_threshold": 5.0})):
                bonus = args.bonus if name == "words" else 0.0
                settings = Settings(beam=args.beam, lm_weight=args.weight, bonus=bonus, **bounds)
                ours[f"ours {name}{suffix}"] = Decoder(spelling, settings, model=model)
        np.savez(folder / "emissions.npz", *emissions)
        job = {"symbols": symbols, "words": words, "beam": args.beam, "weight": args.weight, "bonus": args.bonus,
               "said": said,
               "word_lm": str(folder / "word.arpa"), "char_lm": str(folder / "char.arpa")}  # fmt: skip
        (folder / "job.json").write_text(json.dumps(job))
        peer, peers = None, []
        python = make_environment(args.peers) if args.peers else None
        if python is None:
            print("peers are skipped: give --peers FOLDER")
        else:
            words_of = [str(python), __file__, "--serve", str(folder)]
            peer = stack.enter_context(
                subprocess.Popen(words_of, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            )
            peers, scores = json.loads(peer.stdout.readline())
            worst = max(abs(models["word"].sentence(text.split()) - b) for text, b in zip(said, scores, strict=True))
            print(f"sentences by the word model: {worst:.1e} from KenLM's log probabilities at most")

        def once(name: str) -> tuple[float, list[str]]:
            if name in ours:
                begin = time.process_time()
                texts = [found[0].text if (found := ours[name].decode(e)) else "" for e in emissions]
                return time.process_time() - begin, texts
            assert peer is not None and peer.stdin is not None and peer.stdout is not None
            peer.stdin.write(name + "\n")
            peer.stdin.flush()
            return tuple(json.loads(peer.stdout.readline()))

        times: dict[str, list[float]] = {name: [] for name in (*ours, *peers)}
        for _ in range(args.rounds):
            for name, found in times.items():
                spent, texts = once(name)
                found.append(spent)
                errors = sum(
                    (count_edits(a.split(), b.split()) for a, b in zip(said, texts, strict=True)), EditCounts()
                )
                ours_rate = f"WER {100 * errors.rate:6.2f} %"
                if len(found) == args.rounds:
                    model = name.partition(" ")[2].removesuffix(" (narrow)")
                    base = times[f"ours {model}"]
                    ratio = statistics.median(a / b for a, b in zip(found, base, strict=True))
                    print(f"{name:24} {1000 * statistics.median(found) / seconds:8.2f} ms a second of speech, "
                          f"{ratio:6.2f} times ours, {ours_rate}")  # fmt: skip
        print(f"{seconds:.0f} s of drawn speech, {len(symbols)} symbols, {len(words)} words, beam {args.beam}")
        if peer is not None and peer.stdin is not None:
            peer.stdin.close()


if __name__ == "__main__":
    if sys.argv[1:2] == ["--serve"]:
        serve(Path(sys.argv[2]))
    else:
        main()
