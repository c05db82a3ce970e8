"""How much windows change the features of a long recording, by window and overlap, against one pass over the whole.

python tools/bench/long_audio.py --encoder hubert-base-ls960 --audio chapter.flac --seconds 300
python tools/bench/long_audio.py --encoder wavlm --sharpness 4          (random weights, synthetic audio)

Columns: largest and mean difference of a frame's features relative to the largest and mean norm; units that stay the
same (k-means fitted on the whole pass); mean difference within 0.1 s of a join over that elsewhere (a seam would show
as much more than 1); frames computed per frame kept.
"""

import argparse
import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parent))
from at_hand import add_arguments, codebook, encoder, layer_of, recording

from speechssl.nn.windows import Grid


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser)
    parser.add_argument("--windows", type=float, nargs="+", default=[30.0, 60.0], help="seconds")
    parser.add_argument("--overlaps", type=float, nargs="+", default=[0, 0.64, 1.28, 2.5, 5, 10], help="seconds")
    args = parser.parse_args()

    pretrained = encoder(args)
    model = pretrained.encoder
    wav = recording(args, model.sample_rate)
    if len(wav) <= max(args.windows) * model.sample_rate:
        parser.error(
            f"--seconds {args.seconds:.0f} fits into a window of {max(args.windows):.0f} s: nothing to compare"
        )
    print(f"{pretrained.card.name}, {len(wav) / model.sample_rate:.0f} s, {args.units} units")
    layer = layer_of(args, pretrained)
    whole = pretrained.features(wav, layer)
    units = codebook(whole, min(args.units, len(whole)))
    expected = units.encode(whole)
    print(f"layer {layer}\n window  overlap   max rel  mean rel  same units  join/else  computed")
    for window_s in args.windows:
        for overlap_s in args.overlaps:
            if window_s <= 2 * overlap_s:
                continue
            grid = Grid.of_seconds(window_s, overlap_s, sample_rate=model.sample_rate,
                                   receptive_field=model.receptive_field, hop=model.hop)  # fmt: skip
            ours = pretrained.features_long(wav, layer, window_s=window_s, overlap_s=overlap_s)
            error, norm = (ours - whole).norm(dim=1), whole.norm(dim=1)
            step = grid.size - 2 * grid.overlap
            firsts = torch.arange(grid.size - grid.overlap, len(whole) - grid.overlap, step)
            near = (torch.arange(len(whole)).unsqueeze(1) - firsts).abs().amin(1) <= 0.1 * model.sample_rate / model.hop
            same = float((units.encode(ours) == expected).float().mean())
            print(f"{window_s:5.0f} s {overlap_s:6.2f} s {float(error.max() / norm.max()):9.1e} "
                  f"{float(error.mean() / norm.mean()):9.1e} {same:10.2%} "
                  f"{float(error[near].mean() / error[~near].mean()):10.2f} "
                  f"{(1 + len(firsts)) * grid.size / len(whole):9.2f}", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
