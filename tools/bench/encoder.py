#!/usr/bin/env python3
"""Features of one layer of a corpus of mixed lengths: transformers as scripts call it, and ours.

    OMP_WAIT_POLICY=passive python tools/bench/encoder.py --threads 1 --low
    OMP_WAIT_POLICY=passive python tools/bench/encoder.py --utterances 8 --rounds 3 --parts    (where our time goes)
    python tools/bench/encoder.py --device cuda --utterances 256                               (an accelerator)
    python tools/bench/encoder.py --tiny --batches --rounds 1           (tries the bench itself, the accelerator's too)

Random weights of the base size; lengths are log-normal between 1 and 35 s, in no order. Every round lets all in turn do
the whole corpus; given are medians of the rounds. On a CPU ratios are of CPU time, which other work on the cores
disturbs least; wall time stands beside it. The same run measures what the machine can do: products by MKL and by oneDNN
and the limit of its fused multiply-adds (where there is a C compiler), or one large product on an accelerator.

`transformers` computes all its layers, since `output_hidden_states=True` is how its users ask for one; "stops" is the
same model cut off above the asked layer, as fairseq's `extract_features` does. "8 in file order" pads eight utterances
to the longest, without a mask, which is how the base models' own feature extractor is set; "sorted" does so after
sorting by length. Useful: textbook products of the real samples up to the asked layer, as a share of the limit.
Computed: of all layers and the padding as well. "Error" is the largest difference from transformers one by one (in its
own batches: the influence of neighbours and padding), "units" the share of frames with the same nearest of 500 frames.
"""

import argparse
import copy
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
import transformers
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

sys.path.insert(0, str(Path(__file__).parent))
from machine import device_rate, fma_limit, medians, print_cpu_rates, products, utterances

from speechssl.convert import load_encoder
from speechssl.encoders.pretrained import Pretrained, best_kernel
from speechssl.extract import batches as extraction
from speechssl.nn.fast.encoder import FastEncoder

Contestant = Callable[[], list[Tensor]]
TINY = {"conv_dim": (32,) * 7, "hidden_size": 48, "num_attention_heads": 4, "intermediate_size": 96,
        "num_hidden_layers": 4}  # fmt: skip


def batches(wavs: Sequence[Tensor], order: Sequence[int], size: int) -> Iterator[tuple[list[int], Tensor]]:
    """Indices and the padded waveforms [B, S] of each batch."""
    for start in range(0, len(order), size):
        some = list(order[start : start + size])
        yield some, pad_sequence([wavs[i] for i in some], batch_first=True)


def by_length(wavs: Sequence[Tensor]) -> list[int]:
    return sorted(range(len(wavs)), key=lambda i: len(wavs[i]))


def padded(model: Callable[[Tensor], Tensor], wavs: Sequence[Tensor], order: Sequence[int], size: int,
           frames: Callable[[Tensor], Tensor]) -> list[Tensor]:  # fmt: skip
    """Features [T, C] of each utterance, computed in padded batches by `model` [B, S] -> [B, T, C]."""
    found: dict[int, Tensor] = {}
    for some, wav in batches(wavs, order, size):
        x = model(wav)
        found |= {i: row[: int(frames(torch.tensor(len(wavs[i]))))] for i, row in zip(some, x, strict=True)}
    return [found[i] for i in range(len(wavs))]


def ours_padded(ours: Pretrained, wavs: Sequence[Tensor], order: Sequence[int], size: int, layer: int) -> list[Tensor]:
    """The same by our plain form, which is told the lengths."""
    found: dict[int, Tensor] = {}
    for some, wav in batches(wavs, order, size):
        lengths = torch.tensor([len(wavs[i]) for i in some], device=wav.device)
        states, counts = ours.encoder.layers(wav, lengths, upto=layer)
        found |= {i: row[:n] for i, row, n in zip(some, states[layer], counts.tolist(), strict=True)}
    return [found[i] for i in range(len(wavs))]


def ours_bucketed(ours: Pretrained, wavs: Sequence[Tensor], layer: int) -> list[Tensor]:
    """The same in batches of like lengths up to 240 s, as `speechssl units --device cuda` makes them."""
    found: dict[int, Tensor] = {}
    for some in like_lengths(wavs):
        wav = pad_sequence([wavs[i] for i in some], batch_first=True)
        lengths = torch.tensor([len(wavs[i]) for i in some], device=wav.device)
        states, counts = ours.encoder.layers(wav, lengths, upto=layer)
        found |= {i: row[:n] for i, row, n in zip(some, states[layer], counts.tolist(), strict=True)}
    return [found[i] for i in range(len(wavs))]


def under_autocast(device: str, work: Contestant) -> list[Tensor]:
    """In bfloat16 where autocast thinks it right."""
    with torch.autocast(device, torch.bfloat16):
        return [x.float() for x in work()]


def like_lengths(wavs: Sequence[Tensor]) -> list[list[int]]:
    """Indices of each batch of the extraction on a GPU."""
    return list(extraction.batches({i: len(wav) for i, wav in enumerate(wavs)}, round(extraction.BATCH_S * 16_000)))


def parts(encoder: FastEncoder, wav: Tensor, layer: int, repeats: int) -> None:
    """Where the fast form's time goes."""
    conv, transformer = encoder._conv, encoder._transformer
    frames = conv(wav)
    x = encoder._project(frames)
    block = transformer._blocks[0]
    attention = block._attention
    query, key, value = attention._split(x, False)
    hidden = block._up.gelu(x)
    steps: dict[str, tuple[int, Callable[[], object]]] = {
        "whole": (1, lambda: encoder.layers(wav[None], upto=layer)),
        "convolutions": (1, lambda: conv(wav)),
        "projection": (1, lambda: encoder._project(frames)),
        "positions": (1, lambda: encoder._position(x)),
        "query, key, value, out": (layer, lambda: (attention._inputs(x), attention._out.plus(x, x))),
        "attention": (layer, lambda: F.scaled_dot_product_attention(query, key, value)),
        "feed-forward": (layer, lambda: (block._up.gelu(x), block._down.plus(hidden, x))),
        "norms": (layer, lambda: (block._ffn_norm(x), block._attention_norm(x))),
    }
    found = medians({name: step for name, (_, step) in steps.items()}, repeats)
    total, known = found["whole"][1], 0.0
    print(f"parts of the fast form, {len(wav) / encoder.sample_rate:.1f} s of audio, CPU time")
    for name, (times, _) in steps.items():
        share = times * found[name][1] / total
        known += share if name != "whole" else 0
        print(f"  {name:24s}{1e3 * times * found[name][1]:9.1f} ms {share:7.1%}")
    print(f"  {'rest':24s}{'':12s} {1 - known:7.1%}", flush=True)


def models(family: str, tiny: bool, layer: int, device: str) -> tuple[torch.nn.Module, torch.nn.Module, Pretrained]:
    """transformers' model, the same cut off above the layer, and ours with the same weights."""
    name = {"hubert": "Hubert", "wav2vec2": "Wav2Vec2", "wavlm": "WavLM"}[family]
    peer = getattr(transformers, f"{name}Model")(getattr(transformers, f"{name}Config")(**TINY if tiny else {})).eval()
    with tempfile.TemporaryDirectory() as folder:
        peer.save_pretrained(folder)
        ours = load_encoder(folder, normalize=False)
    ours.encoder.to(device)
    short = copy.copy(peer)
    short._modules = {**peer._modules, "encoder": copy.copy(peer.encoder)}
    short.encoder._modules = {**peer.encoder._modules, "layers": peer.encoder.layers[:layer]}
    return peer.to(device), short.to(device), ours


def same_units(x: Sequence[Tensor], y: Sequence[Tensor], num_units: int = 500) -> float:
    """Share of frames that have the same nearest codeword, of a codebook of frames of y."""
    frames, others = torch.cat(list(y)), torch.cat(list(x))
    centres = frames[:: max(1, len(frames) // num_units)][:num_units]
    return float((torch.cdist(others, centres).argmin(1) == torch.cdist(frames, centres).argmin(1)).float().mean())


@torch.inference_mode()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--family", choices=("hubert", "wav2vec2", "wavlm"), default="hubert")
    parser.add_argument("--layer", type=int, help="default: 9, with --tiny 3")
    parser.add_argument("--utterances", type=int, default=16)
    parser.add_argument("--median-s", type=float, default=9.0, help="of the lengths")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--low", action="store_true", help="bf16 and, on a CPU, int8 too")
    parser.add_argument("--batches", action="store_true", help="our plain form in batches too, as on an accelerator")
    parser.add_argument("--parts", action="store_true", help="where the fast form's time goes")
    parser.add_argument("--tiny", action="store_true", help="tiny models: to try this script")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    cpu = args.device == "cpu"
    layer = args.layer or (3 if args.tiny else 9)
    peer, short, plain = models(args.family, args.tiny, layer, args.device)
    config, rate = plain.encoder.config, plain.encoder.sample_rate
    wavs = [wav.to(args.device) for wav in utterances(args.utterances, rate, args.median_s)]
    order, sort = range(len(wavs)), by_length(wavs)
    seconds = sum(map(len, wavs)) / rate
    frames = plain.encoder.frame_lengths
    contestants: dict[str, Contestant] = {}
    computed: dict[str, float] = {}  # GFLOP, padding and all layers included

    def add(name: str, work: Contestant, top: int, order: Sequence[int] = order, size: int = 1) -> None:
        contestants[name] = work
        longest = [(len(some), wav.shape[1]) for some, wav in batches(wavs, order, size)]
        computed[name] = sum(n * products(config, samples, top) for n, samples in longest)

    def add_bucketed(name: str, ours: Pretrained) -> None:
        contestants[name] = lambda: ours_bucketed(ours, wavs, layer)
        longest = [(len(some), len(wavs[some[0]])) for some in like_lengths(wavs)]
        computed[name] = sum(n * products(config, samples, layer) for n, samples in longest)

    def whole(x: Tensor) -> Tensor:
        return peer(x, output_hidden_states=True).hidden_states[layer]

    def stops(x: Tensor) -> Tensor:
        return short(x, output_hidden_states=True).hidden_states[layer]

    every, size = config.num_layers, args.batch
    add("transformers", lambda: padded(whole, wavs, order, 1, frames), every)
    add("  stops", lambda: padded(stops, wavs, order, 1, frames), layer)
    add(f"  {size} in file order", lambda: padded(whole, wavs, order, size, frames), every, order, size)
    add(f"  {size} sorted", lambda: padded(whole, wavs, sort, size, frames), every, sort, size)
    if not cpu and args.low:  # what scripts do to be fast
        in_order: Contestant = lambda: padded(whole, wavs, order, size, frames)  # noqa: E731
        add(f"  {size} in order, bf16", lambda: under_autocast(args.device, in_order), every, order, size)
    add("plain", lambda: [plain.features(wav, layer) for wav in wavs], layer)
    if cpu:
        ours = plain.with_kernel("fast")
        add("fast", lambda: [ours.features(wav, layer) for wav in wavs], layer)
    if args.batches or not cpu:
        add(f"plain, {size} sorted", lambda: ours_padded(plain, wavs, sort, size, layer), layer, sort, size)
        add_bucketed("plain, 240 s", plain)
    for precision in (("bf16", "int8") if cpu else ("bf16",)) if args.low else ():
        low = plain.with_precision(precision)
        if best_kernel(args.family, precision=precision, device=args.device) == "fast":
            low = low.with_kernel("fast")
        add(f"{low.kernel} {precision}", lambda low=low: [low.features(wav, layer) for wav in wavs], layer)
        if not cpu:
            add(f"bf16, {size} sorted", lambda low=low: ours_padded(low, wavs, sort, size, layer), layer, sort, size)
            add_bucketed("bf16, 240 s", low)

    core = fma_limit() if cpu else device_rate(args.device, torch.float32)
    limit = core * (args.threads if cpu else 1) if core else None
    print(f"{args.family} {'tiny' if args.tiny else 'base'}, layer {layer}, {len(wavs)} utterances of "
          f"{min(map(len, wavs)) / rate:.1f} to {max(map(len, wavs)) / rate:.1f} s, {seconds:.0f} s, "
          f"{f'{args.threads} threads' if cpu else torch.cuda.get_device_name()}, "
          f"medians of {args.rounds} rounds")  # fmt: skip
    print(f"torch {torch.__version__}, transformers {transformers.__version__} ({peer.config._attn_implementation})")
    what = "limit of fused multiply-adds" if cpu else "one large product in float32"
    print(f"{what}: {f'{limit:.0f} GFLOP/s' if limit else 'not measured (no C compiler)'}")
    if cpu:
        print_cpu_rates(5)
    else:
        print(f"one large product in bfloat16: {device_rate(args.device, torch.bfloat16):.0f} GFLOP/s")
    work = sum(products(config, len(wav), layer) for wav in wavs)
    results = {name: run() for name, run in contestants.items()}
    found = medians(contestants, args.rounds, warm=0)
    print(f"textbook products up to layer {layer}: {work / seconds:.1f} GFLOP per second of audio")
    kind = 1 if cpu else 0
    print("                      ms per s of audio     times faster than      share of limit")
    print(f"                          wall     CPU  one by one  {size} padded   useful computed      error    units")
    base, pads = (found[name][kind] for name in ("transformers", f"  {size} in file order"))
    for name, times in found.items():
        spent = times[kind] / (args.threads if cpu else 1)
        shares = [f"{100 * w / spent / limit:7.1f}%" if limit else "       -" for w in (work, computed[name])]
        pairs = list(zip(results[name], results["transformers"], strict=True))
        error = max(float((a - b).abs().max()) for a, b in pairs)
        print(f"{name:22s} {1e3 * times[0] / seconds:7.1f} {1e3 * times[1] / seconds:7.1f} {base / times[kind]:10.2f} "
              f"{pads / times[kind]:9.2f}  {shares[0]} {shares[1]}  {error:9.1e} "
              f"{same_units(results[name], results['transformers']):8.2%}", flush=True)  # fmt: skip
    if cpu:
        encoder = ours.encoder
        some, wav = next(batches(wavs, order, size))
        states, counts = encoder.layers(wav, torch.tensor([len(wavs[i]) for i in some]), upto=layer)
        change = max(float((states[layer][j, : counts[j]] - ours.features(wavs[i], layer)).abs().max())
                     for j, i in enumerate(some))  # fmt: skip
        print(f"fast form in one padded batch of {len(some)} and alone: largest difference {change}")
        if args.parts and args.family != "wavlm":  # its attention has biases on top
            assert isinstance(encoder, FastEncoder)
            parts(encoder, wavs[sort[len(sort) // 2]], layer, args.rounds)


if __name__ == "__main__":
    main()
