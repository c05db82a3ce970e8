#!/usr/bin/env python3
"""Beam search beside transformers' `generate`: the same weights, size, beam and frames, in turn.

    OMP_NUM_THREADS=1 python tools/bench/generation.py
    OMP_NUM_THREADS=1 python tools/bench/generation.py --dim 512 --heads 8 --beam 10 --utterances 8 --tokens 200

Random weights of Speech2Text's decoder (pre-norm, sinusoidal positions), an end symbol that never comes, so that both
take exactly --tokens steps; encoder states are given, so that nothing but the decoder and the search is timed. Prints
the ratio of the medians of --rounds interleaved rounds (CPU time of one thread; wall time on a GPU), the milliseconds
of a step, and whether hypotheses are the same and by how much scores differ. --joint: ours with CTC prefix scores, too.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from speechssl.decoders.scorers import decode
from speechssl.decoders.search import Search
from tests.decoders.hf import speech_to_text


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("dim", 256), ("ffn-dim", 2048), ("layers", 6), ("heads", 4), ("symbols", 100), ("beam", 5),
                          ("utterances", 4), ("frames", 150), ("tokens", 100), ("rounds", 5)):  # fmt: skip
        parser.add_argument(f"--{name}", type=int, default=default)
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


def main() -> None:
    torch.set_num_threads(1)
    from transformers.modeling_outputs import BaseModelOutput

    options = parse()
    sizes = {"d_model": options.dim, "decoder_ffn_dim": options.ffn_dim, "decoder_layers": options.layers,
             "decoder_attention_heads": options.heads}  # fmt: skip
    positions = options.tokens + options.symbols + 10
    theirs, ours = speech_to_text(options.symbols, spread=0.3, max_target_positions=positions, **sizes)
    with torch.no_grad():  # channel 0 of the last norm is always 1
        theirs.lm_head.weight[options.symbols, 0] = -1e4
        ours.output.weight[options.symbols, 0] = -1e4
    theirs, ours = theirs.to(options.device), ours.to(options.device)
    generator = torch.Generator().manual_seed(1)
    frames = torch.randn(options.utterances, options.frames, options.dim, generator=generator).to(options.device)
    lengths = torch.full((options.utterances,), options.frames, device=options.device)
    search = Search(beam=options.beam, num_best=options.beam, max_tokens=options.tokens)
    log_probs = torch.randn(options.utterances, options.frames, options.symbols + 1, generator=generator).log_softmax(
        -1
    )
    log_probs = log_probs.to(options.device)

    @torch.inference_mode()
    def transformers() -> object:
        return theirs.generate(
            encoder_outputs=BaseModelOutput(last_hidden_state=frames), num_beams=options.beam, do_sample=False,
            num_return_sequences=options.beam, max_new_tokens=options.tokens, length_penalty=1.0, early_stopping=False,
            output_scores=False, return_dict_in_generate=True,
        )  # fmt: skip

    contestants: dict[str, Callable[[], object]] = {
        "transformers": transformers, "speechssl": lambda: decode(ours, frames, lengths, search),
    }  # fmt: skip
    if options.joint:
        contestants["joint with CTC"] = lambda: decode(ours, frames, lengths, search, ctc_log_probs=log_probs,
                                                       blank=options.symbols)  # fmt: skip
    check(theirs, ours, frames, lengths, search)
    times: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(options.rounds):
        for name, work in contestants.items():
            times[name].append(seconds(work, options.device))
    base = statistics.median(times["transformers"])
    print(f"{options.utterances} utterances x {options.beam} hypotheses, {options.tokens} steps, "
          f"{options.layers} blocks of {options.dim} channels, {options.device}, torch {torch.__version__}, "
          f"{torch.get_num_threads()} threads")  # fmt: skip
    for name, found in times.items():
        middle = statistics.median(found)
        print(f"{name:<16} {middle:7.3f} s (least {min(found):.3f}) {1000 * middle / options.tokens:7.2f} ms a step "
              f"{base / middle:6.2f} x transformers")  # fmt: skip


@torch.inference_mode()
def check(theirs: torch.nn.Module, ours: torch.nn.Module, frames: torch.Tensor, lengths: torch.Tensor, search: Search
          ) -> None:  # fmt: skip
    from transformers.modeling_outputs import BaseModelOutput

    found = theirs.generate(
        encoder_outputs=BaseModelOutput(last_hidden_state=frames), num_beams=search.beam, do_sample=False,
        num_return_sequences=search.beam, max_new_tokens=search.max_tokens, output_scores=True,
        return_dict_in_generate=True,
    )  # fmt: skip
    own = [hypothesis for row in decode(ours, frames, lengths, search) for hypothesis in row]
    same = [list(h.tokens) == row.tolist()[1:] for h, row in zip(own, found.sequences, strict=True)]
    apart = max(abs(h.score - float(s)) for h, s in zip(own, found.sequences_scores, strict=True))
    print(f"the same hypotheses: {sum(same)} of {len(same)}, scores differ by at most {apart:.1e}")


if __name__ == "__main__":
    main()
