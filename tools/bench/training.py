#!/usr/bin/env python3
"""Training steps of wav2vec 2.0 and HuBERT base: ours beside transformers, torchaudio and fairseq2, at the same batch.

    OMP_WAIT_POLICY=passive python tools/bench/training.py --threads 1 --seconds 30 --rounds 5
    python tools/bench/training.py --device cuda --seconds 350 --precision fp32 bf16
    python tools/bench/training.py --tiny --rounds 1                     (tries the bench itself)

Random weights, noise of log-normal lengths cropped at 15.6 s, sorted into one padded batch. A step is the forward pass
with its masks and negatives, the backward pass, and AdamW's update. All in turn in every round; given are medians. On a
CPU ratios are of CPU time. transformers' HuBERT has no pre-training loss: its model with a linear head and the cross
entropy of masked frames stands for it. fairseq2 takes part where it can be imported. Dropout and layer drop are off,
the convolutions are trained, everywhere. Audio is made beforehand: loading is not measured here.
"""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
import transformers
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence
from transformers.models.wav2vec2.modeling_wav2vec2 import _compute_mask_indices, _sample_negative_indices

sys.path.insert(0, str(Path(__file__).parent))
from machine import device_rate, medians, products, utterances

from speechssl import encoders, objectives
from speechssl.data.batch import Batch
from speechssl.nn.initialize import initialize

LABELS = 100
CROP = round(15.6 * 16_000)
TINY = {"conv_dim": (32,) * 7, "hidden_size": 48, "num_attention_heads": 4, "intermediate_size": 96,
        "num_hidden_layers": 2}  # fmt: skip
OURS_TINY = {"conv_layers": [[32, 10, 5], *[[32, 3, 2]] * 4, *[[32, 2, 2]] * 2], "dim": 48, "num_heads": 4,
             "ffn_dim": 96, "num_layers": 2}  # fmt: skip
QUIET = {f"{name}_dropout": 0.0 for name in ("hidden", "attention", "activation", "feat_proj", "final")}

Loss = Callable[[], Tensor]


def make_batch(seconds: float, device: str) -> Batch:
    """One padded batch of about so many seconds of like lengths, with labels."""
    waves, total = [], 0
    for wav in sorted(utterances(400, 16_000), key=len, reverse=True):
        wav = wav[:CROP]
        if total + len(wav) > seconds * 16_000 and waves:
            break
        waves.append(wav)
        total += len(wav)
    lengths = torch.tensor([len(wav) for wav in waves])
    frames = (int(lengths.max()) - 400) // 320 + 1
    labels = torch.randint(LABELS, (len(waves), frames), generator=torch.Generator().manual_seed(0))
    wav = pad_sequence(waves, batch_first=True)
    return Batch(wav, lengths, torch.arange(len(waves)), tuple(map(str, lengths.tolist())), labels).to(device)


def ours(name: str, batch: Batch, tiny: bool, device: str) -> tuple[nn.Module, Loss]:
    """Our objective as the recipe builds it."""
    values = encoders.preset(name, "base") | (OURS_TINY if tiny else {})
    encoder = encoders.build(name, values)
    initialize(encoder, torch.Generator().manual_seed(0))
    masking = {"gradient": 1.0, "dropout": 0.0, "features_dropout": 0.0}
    masking["time"] = {"share": 0.8 if name == "hubert" else 0.65}
    objective = objectives.build(name, encoder, {"masking": masking}, num_labels=LABELS if name == "hubert" else None)
    objective.to(device).train()

    def loss() -> Tensor:
        outcome = objective(batch)
        return outcome.loss / outcome.count

    return objective, loss


def attention_mask(batch: Batch) -> Tensor:
    return torch.arange(batch.wav.shape[1], device=batch.wav.device) < batch.lengths.unsqueeze(1)


def hf_wav2vec2(batch: Batch, tiny: bool, device: str) -> tuple[nn.Module, Loss]:
    """transformers' own pre-training model, masks and negatives drawn anew in each step as its example does."""
    model = transformers.Wav2Vec2ForPreTraining(
        transformers.Wav2Vec2Config(**QUIET, layerdrop=0.0, **(TINY if tiny else {}))
    ).to(device).train()  # fmt: skip
    frames = int(model._get_feat_extract_output_lengths(torch.tensor(batch.wav.shape[1])))
    valid = attention_mask(batch).long()

    def loss() -> Tensor:
        shape = (len(batch.wav), frames)
        mask = _compute_mask_indices(shape, mask_prob=0.65, mask_length=10)
        negatives = _sample_negative_indices(shape, num_negatives=100, mask_time_indices=mask)
        found = model(batch.wav, attention_mask=valid, mask_time_indices=torch.from_numpy(mask).to(device),
                      sampled_negative_indices=torch.from_numpy(negatives).to(device))  # fmt: skip
        return found.loss / int(mask.sum())

    return model, loss


class HubertHead(nn.Module):
    """transformers' HuBERT and a linear head."""

    def __init__(self, tiny: bool) -> None:
        super().__init__()
        config = transformers.HubertConfig(**QUIET, layerdrop=0.0, **(TINY if tiny else {}))
        self.model = transformers.HubertModel(config)
        self.head = nn.Linear(config.hidden_size, LABELS)


def hf_hubert(batch: Batch, tiny: bool, device: str) -> tuple[nn.Module, Loss]:
    model = HubertHead(tiny).to(device).train()
    frames = int(model.model._get_feat_extract_output_lengths(torch.tensor(batch.wav.shape[1])))
    valid = attention_mask(batch).long()

    def loss() -> Tensor:
        mask = torch.from_numpy(_compute_mask_indices((len(batch.wav), frames), mask_prob=0.8, mask_length=10)).to(
            device
        )
        x = model.model(batch.wav, attention_mask=valid, mask_time_indices=mask).last_hidden_state
        return F.cross_entropy(model.head(x[mask]), batch.labels[:, :frames][mask])

    return model, loss


def ta_hubert(batch: Batch, tiny: bool, device: str) -> tuple[nn.Module, Loss]:
    """torchaudio's pre-training model, which gives logits of masked frames."""
    import torchaudio

    small = {
        "extractor_conv_layer_config": [(32, 10, 5), *[(32, 3, 2)] * 4, *[(32, 2, 2)] * 2], "encoder_embed_dim": 48,
        "encoder_num_heads": 4, "encoder_ff_interm_features": 96, "encoder_num_layers": 2,
    }  # fmt: skip
    base = {
        "extractor_conv_layer_config": [(512, 10, 5), *[(512, 3, 2)] * 4, *[(512, 2, 2)] * 2], "encoder_embed_dim": 768,
        "encoder_num_heads": 12, "encoder_ff_interm_features": 3072, "encoder_num_layers": 12,
    }  # fmt: skip
    quiet = {f"encoder_{name}": 0.0 for name in
             ("projection_dropout", "attention_dropout", "ff_interm_dropout", "dropout", "layer_drop")}  # fmt: skip
    masks = {
        "mask_prob": 0.8, "mask_selection": "static", "mask_other": 0.0, "mask_length": 10, "no_mask_overlap": False,
        "mask_min_space": 1, "mask_channel_prob": 0.0, "mask_channel_selection": "static", "mask_channel_other": 0.0,
        "mask_channel_length": 10, "no_mask_channel_overlap": False, "mask_channel_min_space": 1,
    }  # fmt: skip
    model = torchaudio.models.hubert_pretrain_model(
        extractor_mode="group_norm", extractor_conv_bias=False, encoder_pos_conv_kernel=128,
        encoder_pos_conv_groups=16, encoder_layer_norm_first=False, skip_masked=False, skip_nomask=True,
        num_classes=LABELS, final_dim=256, feature_grad_mult=None, **quiet, **masks, **(small if tiny else base),
    ).to(device).train()  # fmt: skip

    def loss() -> Tensor:
        logits, _, penalty = model(batch.wav, batch.labels, batch.lengths)
        right = torch.zeros(len(logits), dtype=torch.long, device=device)  # the true label is the first column
        return F.cross_entropy(logits.float(), right) + 10 * penalty

    return model, loss


def fairseq2_wav2vec2(batch: Batch, tiny: bool, device: str) -> tuple[nn.Module, Loss]:
    """fairseq2's pre-training model. ImportError where it is not there."""
    import soundfile  # noqa: F401  # gives fairseq2 the library it looks for
    from fairseq2.models.wav2vec2 import Wav2Vec2Config, create_wav2vec2_model
    from fairseq2.nn import BatchLayout

    config = Wav2Vec2Config()
    encoder: Any = config.encoder_config
    for name in ("dropout_p", "attn_dropout_p", "ffn_inner_dropout_p", "layer_drop_p", "first_pass_dropout_p"):
        if hasattr(encoder, name):
            setattr(encoder, name, 0.0)
    encoder.feature_gradient_scale = 1.0
    if tiny:
        encoder.model_dim, encoder.num_encoder_layers, encoder.num_encoder_attn_heads = 48, 2, 4
        encoder.ffn_inner_dim, encoder.feature_dim = 96, 32
        encoder.feature_extractor_layer_descs = [(32, 10, 5), *[(32, 3, 2)] * 4, *[(32, 2, 2)] * 2]
    model = create_wav2vec2_model(config).to(device).train()
    layout = BatchLayout.of(batch.wav, batch.lengths.tolist())

    def loss() -> Tensor:
        found = model(batch.wav, layout)
        found = found[0] if isinstance(found, tuple) else found
        return found.aggregate / len(batch.wav)

    return model, loss


MAKERS: dict[str, dict[str, Callable[[Batch, bool, str], tuple[nn.Module, Loss]]]] = {
    "wav2vec2": {
        "ours": lambda b, t, d: ours("wav2vec2", b, t, d), "transformers": hf_wav2vec2, "fairseq2": fairseq2_wav2vec2
    },
    "hubert": {"ours": lambda b, t, d: ours("hubert", b, t, d), "transformers": hf_hubert, "torchaudio": ta_hubert},
}  # fmt: skip


def make_step(model: nn.Module, loss: Loss, device: str, precision: str) -> Callable[[], None]:
    """Forward, backward, update."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5, fused=True)

    def step() -> None:
        with torch.autocast(device, torch.bfloat16, enabled=precision == "bf16"):
            value = loss()
        value.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--seconds", type=float, default=30.0, help="of audio in the batch")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--precision", nargs="+", default=["fp32"], choices=("fp32", "bf16"))
    parser.add_argument("--models", nargs="+", default=list(MAKERS), choices=list(MAKERS))
    parser.add_argument("--tiny", action="store_true", help="tiny models: to try this script")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    batch = make_batch(args.seconds, args.device)
    seconds = float(batch.lengths.sum()) / 16_000
    cpu = args.device == "cpu"
    where = f"{args.threads} threads" if cpu else torch.cuda.get_device_name()
    print(f"{len(batch.wav)} utterances, {seconds:.0f} s, {batch.padded:.1%} padded; {where}")
    print(f"torch {torch.__version__}, transformers {transformers.__version__}; medians of {args.rounds} rounds")
    for name in args.models:
        model_config = encoders.build(name, encoders.preset(name, "base") | (OURS_TINY if args.tiny else {})).config
        layers = model_config.num_layers
        work = 3 * sum(products(model_config, n, layers) for n in batch.lengths.tolist())  # backward: twice the forward
        for precision in args.precision:
            steps: dict[str, Callable[[], None]] = {}
            for who, maker in MAKERS[name].items():
                try:
                    steps[who] = make_step(*maker(batch, args.tiny, args.device), args.device, precision)
                except ImportError as error:
                    print(f"{who} takes no part: {error}")
            rate = device_rate(args.device, torch.bfloat16 if precision == "bf16" else torch.float32,
                               2048 if cpu else 8192)  # fmt: skip
            found = medians(steps, args.rounds, warm=2)
            kind = 1 if cpu else 0
            base = found["transformers"][kind]
            print(f"{name} {precision}: one large product {rate:.0f} GFLOP/s")
            for who, times in found.items():
                spent = times[kind] / (args.threads if cpu else 1)
                print(f"  {who:14s}{1e3 * times[0]:9.1f} ms wall {1e3 * times[1]:9.1f} ms CPU "
                      f"{seconds / times[0]:9.1f} x real time {base / times[kind]:6.2f} x transformers "
                      f"{work / spent / rate:6.1%} of the product's rate", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
