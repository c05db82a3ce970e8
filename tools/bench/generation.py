#!/usr/bin/env python3
"""Beam search of an autoregressive decoder beside transformers' `generate` with the same weights.

    OMP_NUM_THREADS=1 python tools/bench/generation.py                              # the sizes small and fisher
    OMP_NUM_THREADS=1 python tools/bench/generation.py --sizes s2ut --beam 10 --utterances 8 --tokens 200
    OMP_NUM_THREADS=1 python tools/bench/generation.py --ends -2                    # utterances end at different times

Random weights of Speech2Text's decoder (pre-norm, sinusoidal positions; fairseq's of speech-to-unit translation), an
end symbol that never comes, so that both take exactly --tokens steps; encoder states are given, so that nothing but the
decoder and the search is timed. --ends B: the end may come, its logit lowered by B (raised where B is negative); ours
goes on without utterances that are done. Both are checked first: the same hypotheses, or ones whose scores are equal to
1e-4, else exit code 1.

Prints the median ratio of --rounds interleaved rounds (CPU time of one thread; wall time on a GPU) with its 95 %
bootstrap interval and, where all take as many, the milliseconds of a step. --joint: ours with CTC prefix scores, too.
"""

import argparse
import random
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from speechssl.decoders.search import Search
from speechssl.decoders.token_scorers import decode
from tests.decoders.hf import speech_to_text

# dim, ffn_dim, layers, heads; fisher and s2ut are s2ut_transformer_fisher's and s2ut_transformer's decoders
SIZES = {"small": (128, 512, 3, 4), "fisher": (256, 2048, 6, 8), "s2ut": (512, 2048, 6, 8)}


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=["small", "fisher"])
    for name, default in (("symbols", 100), ("beam", 5), ("utterances", 4), ("frames", 150), ("tokens", 100),
                          ("rounds", 5)):  # fmt: skip
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--ends", type=float, metavar="B")
    parser.add_argument("--joint", action="store_true")
    parser.add_argument("--device", default="cpu")
    return parser.parse_args()


def seconds(work: Callable[[], object], device: str) -> float:
    """Of this process' CPU time, which other processes disturb less; of wall time on a GPU."""
    clock = time.process_time if device == "cpu" else time.perf_counter
    begun = clock()
    work()
    if device != "cpu":
        torch.cuda.synchronize()
    return clock() - begun


def interval(ratios: list[float], draws: int = 2000) -> tuple[float, float]:
    """95 % of the bootstrap distribution of the median."""
    drawn, chance = [], random.Random(0)
    for _ in range(draws):
        drawn.append(statistics.median(chance.choices(ratios, k=len(ratios))))
    drawn.sort()
    return drawn[round(0.025 * draws)], drawn[round(0.975 * draws) - 1]


def main() -> None:
    torch.set_num_threads(1)
    options = parse()
    print(f"{options.utterances} utterances of {options.frames} frames, beam {options.beam}, at most {options.tokens} "
          f"steps, {options.device}, torch {torch.__version__}, {torch.get_num_threads()} threads, {options.rounds} "
          "rounds")  # fmt: skip
    same = [measure(size, options) for size in options.sizes]
    if not all(same):
        sys.exit(1)


def measure(size: str, options: argparse.Namespace) -> bool:
    """Print what a size takes; whether the hypotheses were the same."""
    from transformers.modeling_outputs import BaseModelOutput

    dim, ffn_dim, layers, heads = SIZES[size]
    sizes: dict[str, Any] = {"d_model": dim, "decoder_ffn_dim": ffn_dim, "decoder_layers": layers,
                             "decoder_attention_heads": heads}  # fmt: skip
    positions = options.tokens + options.symbols + 10
    theirs, ours = speech_to_text(options.symbols, spread=0.3, max_target_positions=positions, **sizes)
    with torch.no_grad():  # channel 0 of the last norm is always 1
        lowered = 1e4 if options.ends is None else options.ends
        theirs.lm_head.weight[options.symbols, 0] -= lowered
        ours.output.weight[options.symbols, 0] = theirs.lm_head.weight[options.symbols, 0]
    theirs, ours = theirs.to(options.device), ours.to(options.device)
    generator = torch.Generator().manual_seed(1)
    frames = torch.randn(options.utterances, options.frames, dim, generator=generator).to(options.device)
    lengths = torch.full((options.utterances,), options.frames, device=options.device)
    search = Search(beam=options.beam, num_best=options.beam, max_tokens=options.tokens)
    log_probs = torch.randn(options.utterances, options.frames, options.symbols + 1, generator=generator)
    log_probs = log_probs.log_softmax(-1).to(options.device)

    @torch.inference_mode()
    def transformers(scores: bool = False) -> Any:
        return theirs.generate(
            encoder_outputs=BaseModelOutput(last_hidden_state=frames), num_beams=options.beam, do_sample=False,
            num_return_sequences=options.beam, max_new_tokens=options.tokens, length_penalty=1.0, early_stopping=False,
            output_scores=scores, return_dict_in_generate=True,
        )  # fmt: skip

    contestants: dict[str, Callable[[], object]] = {
        "transformers": transformers, "speechssl": lambda: decode(ours, frames, lengths, search),
    }  # fmt: skip
    if options.joint:
        contestants["joint with CTC"] = lambda: decode(ours, frames, lengths, search, ctc_log_probs=log_probs,
                                                       blank=options.symbols)  # fmt: skip
    found, own = transformers(True), decode(ours, frames, lengths, search)
    flat = [hypothesis for row in own for hypothesis in row]
    same = apart = 0
    for hypothesis, tokens, score in zip(flat, found.sequences, found.sequences_scores, strict=True):
        same += list(hypothesis.tokens) == [t for t in tokens.tolist()[1:] if t < options.symbols]
        apart = max(apart, abs(hypothesis.score - float(score)))
    times: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(options.rounds):
        for name, work in contestants.items():
            times[name].append(seconds(work, options.device))
    best = [len(row[0].tokens) for row in own]
    print(f"{size}: {layers} blocks of {dim} channels; best hypotheses of {min(best)} to {max(best)} symbols; the same "
          f"hypotheses: {same} of {len(flat)}, scores differ by at most {apart:.1e}")  # fmt: skip
    for name, spent in times.items():
        ratios = [base / own for base, own in zip(times["transformers"], spent, strict=True)]
        low, high = interval(ratios)
        middle = statistics.median(spent)
        told = "" if options.ends is not None else f" {1000 * middle / options.tokens:7.2f} ms a step"
        if name != "transformers":
            told += f"  {statistics.median(ratios):6.2f} x transformers ({low:.2f} to {high:.2f})"
        print(f"  {name:<16} {middle:7.3f} s (least {min(spent):.3f}){told}", flush=True)
    return same == len(flat) or apart < 1e-4


if __name__ == "__main__":
    main()
