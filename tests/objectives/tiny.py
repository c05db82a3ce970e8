"""Small settings of every objective: a new one goes here, and the contract suite finds it."""

from dataclasses import dataclass, field
from typing import Any

from tests.encoders import tiny as encoders

NUM_LABELS = 7
ENCODER: dict[str, Any] = {**encoders.BASE, "num_layers": 2}
LARGE: dict[str, Any] = {**encoders.LARGE, "num_layers": 2}

STACKED: dict[str, Any] = {**ENCODER, "pos_conv_kernel": 5, "pos_conv_depth": 2, "conv_norm": "layer"}
DECODER: dict[str, Any] = {"dim": 24, "layers": 2, "kernel": 7, "groups": 4}
SQUEEZED: dict[str, Any] = {**ENCODER, "pos_conv_kernel": 7, "projection": True}
RELATIVE: dict[str, Any] = {**ENCODER, "num_buckets": 16, "max_distance": 20}
STARTS: dict[str, Any] = {"mask": {"start": 0.1, "span": 5}}
SEQUENCES: dict[str, Any] = {
    "adaptor": {"channels": 12, "dim": 16, "ffn_dim": 24, "num_layers": 1, "num_heads": 2},
    "decoder": {"dim": 16, "ffn_dim": 24, "num_layers": 1, "num_heads": 2},
    "dropout": {"residual": 0.0, "attention": 0.0, "activation": 0.0, "layer": 0.0},
}
UNITS: dict[str, Any] = {**SEQUENCES, "adaptor": {**SEQUENCES["adaptor"], "strides": []}}
JOINER: dict[str, Any] = {"dim": 12, "joint": 16, "dropout": 0.0}
MEL: dict[str, Any] = {"num_units": 1, "num_mels": 20, "dim": 16, "ffn_dim": 24, "num_layers": 1, "num_heads": 2,
                       "kernel": 3, "depth": 1}  # fmt: skip
PROSODY: dict[str, Any] = {"embedding": 5, "encoder": {"hidden": 8, "dropout": 0.0},
                           "predictor": {"hidden": 8, "dropout": 0.0}, "bins": 9}  # fmt: skip
CPC: dict[str, Any] = encoders.TINY["cpc"][0]


@dataclass(frozen=True)
class Case:
    """How to build a small objective, and what its contract is excused from, with the reason in a comment there."""

    settings: dict[str, Any] = field(default_factory=dict)
    family: str = "hubert"
    encoder: dict[str, Any] = field(default_factory=lambda: ENCODER)
    labels: bool = False
    codes: bool = True  # it chooses codes, whose perplexity is watched
    additive: bool = True  # the loss of a batch is the sum over its utterances
    lr: float = 3e-3  # for overfitting one batch
    draws: bool = True  # something at random: masks, distractors, noise
    pitch: bool = False  # log F0 and voicing of each frame
    targets: bool = False  # symbols 1..4 of each utterance, fewer than its frames
    tasks: tuple[str, ...] = ()  # names of auxiliary tasks, whose targets are the same, backwards
    falls_to: float = 0.5  # the share of its first loss that it must get below when one batch is overfitted


TINY: dict[str, list[Case]] = {
    "augmentation_invariant": [
        # nothing is drawn here: speech is changed before
        Case({"hidden": [32]}, labels=True, draws=False, lr=1e-2),
        Case({"hidden": [], "layer": 1}, labels=True, draws=False, lr=1e-2),
        Case({"hidden": [24, 24]}, "tdnn", encoders.TINY["tdnn"][0], labels=True, draws=False, lr=1e-2),
    ],
    "best_rq": [
        Case({**STARTS, "entries": 40, "code_dim": 4, "num_mels": 20}),
        Case({**STARTS, "entries": 40, "code_dim": 4, "num_mels": 20, "stack": 1}, family="sew", encoder=SQUEEZED),
    ],
    "ctc": [
        Case({"num_symbols": 5, "masking": {"gradient": 1.0}}, "wav2vec2", codes=False, targets=True, lr=1e-2),
        Case(
            {"num_symbols": 5, "head": {"layer": 1, "weighted": True}, "average": "utterance"},
            "wavlm",
            RELATIVE,
            codes=False,
            targets=True,
            lr=1e-2,
        ),
        Case(
            {
                "num_symbols": 5,
                "head": {"kind": "transformer", "dim": 16, "num_heads": 2, "pos_conv_kernel": 5, "layer": 1},
            },
            encoder=LARGE,
            codes=False,
            targets=True,
            lr=1e-2,
        ),
        Case(
            {"num_symbols": 5, "head": {"kind": "blstm", "dim": 16}},
            "tdnn",
            encoders.TINY["tdnn"][0],
            codes=False,
            targets=True,
            lr=1e-2,
        ),
        Case(
            {"num_symbols": 5, "head": {"kind": "tdnn", "dim": 16, "dilations": (1, 2)}},
            "tdnn",
            encoders.TINY["tdnn"][0],
            codes=False,
            targets=True,
            lr=1e-2,
        ),
    ],
    "data2vec": [
        # a regression has no codes
        Case({"top_layers": 2, "masking": {"gradient": 1.0}}, family="data2vec_audio", encoder=STACKED, codes=False),
        Case({"top_layers": 1, "beta": 0.5, "decay": {"updates": 2}}, encoder=LARGE, codes=False),
    ],
    "data2vec2": [
        Case({"top_layers": 2, "versions": 2, "decoder": DECODER}, "data2vec2_audio", STACKED, codes=False),
        Case({"top_layers": 1, "versions": 1, "decoder": DECODER, "gradient": 0.5}, "wav2vec2", LARGE, codes=False),
    ],
    "dinosr": [
        Case({"top_layers": 2, "entries": 8}),
        Case({"top_layers": 2, "entries": 8}, "tdnn", encoders.TINY["tdnn"][1]),
        Case({"top_layers": 1, "entries": 5, "freeze_after": 1, "decay": {"updates": 2}}, encoder=LARGE),
        Case({"top_layers": 2, "entries": 8, "codebook_start": "small", "restart_after": 2}),
    ],
    "cpc": [
        Case({"steps": 3, "negatives": 6}, "cpc", CPC, codes=False),
        Case(
            {"steps": 3, "predictor": "transformer", "heads": 2, "ffn_dim": 16}, "cpc", {**CPC, "dim": 16}, codes=False
        ),
        # distractors from other utterances; all of them, so that none is drawn
        Case(
            {"steps": 2, "negatives": 0, "negatives_from": "batch"},
            "cpc",
            CPC,
            codes=False,
            additive=False,
            draws=False,
        ),
        Case(
            {"steps": 2, "negatives": 5, "negatives_from": "speaker", "lipschitz": 1.0, "slope": 2.0},
            "cpc",
            CPC,
            codes=False,
            additive=False,
        ),
    ],
    "hubert": [
        Case({"code_dim": 8, "masking": {"gradient": 1.0}}, labels=True),
        Case({"code_dim": 8, "unmasked_weight": 0.5, "masking": {"channels": {"share": 0.3}}}, labels=True),
        # nothing masked, every frame predicted
        Case(
            {
                "code_dim": 8,
                "penalty": 0.0,  # log-mel frames have unit variance
                "masked_weight": 0.0,
                "unmasked_weight": 1.0,
                "masking": {"time": {"share": 0.0, "min_spans": 0}, "dropout": 0.0},
            },
            "tdnn",
            encoders.TINY["tdnn"][0],
            labels=True,
            draws=False,
        ),
    ],
    "mel_regression": [
        # nothing is drawn: no noise, no masks; a regression has no codes
        Case({"decoder": MEL}, labels=True, codes=False, draws=False, lr=1e-2),
        Case({"decoder": MEL, "num_labels": 0, "layer": 1}, codes=False, draws=False, lr=1e-2),
        Case({"decoder": {**MEL, "prosody": PROSODY}}, labels=True, pitch=True, codes=False, draws=False, lr=1e-2),
    ],
    "mel_flow": [
        Case({"decoder": MEL}, labels=True, codes=False, lr=1e-2),
        Case({"decoder": MEL, "prompt_share": 0.6, "silent_share": 0.7}, labels=True, codes=False, lr=1e-2),
        Case({"decoder": {**MEL, "prosody": PROSODY}}, labels=True, pitch=True, codes=False, lr=1e-2),
    ],
    "mel_diffusion": [
        Case({"decoder": MEL}, labels=True, codes=False, lr=1e-2),
        Case({"decoder": {**MEL, "says": "velocity"}}, labels=True, codes=False, lr=1e-2),
        Case({"decoder": MEL, "num_labels": 0, "layer": 1}, codes=False, lr=1e-2),
        # without babble, which is another utterance of the batch
        Case({"decoder": MEL, "num_labels": 0, "layer": 1, "noise": {"babble_share": 0.0}}, codes=False, lr=1e-2),
        Case({"decoder": {**MEL, "prosody": PROSODY}}, labels=True, pitch=True, codes=False, lr=1e-2),
    ],
    "mp3": [
        Case({"max_positions": 60, "hidden": 0.3}, family="wav2vec2"),
        Case({"max_positions": 60, "hidden": 0.3, "gradient": 0.5}, encoder=LARGE),
    ],
    "seq2seq": [
        # nothing is masked by default
        Case({"num_symbols": 5, **SEQUENCES}, targets=True, draws=False),
        Case(
            {
                "num_symbols": 5,
                **SEQUENCES,
                "ctc_weight": 0.3,
                "blank": 0,
                "layer": 1,
                "smoothing": 0.0,
                "masking": {"gradient": 0.5, "time": {"share": 0.3, "span": 3, "min_spans": 1}},
            },
            family="wavlm",
            encoder=RELATIVE,
            targets=True,
        ),
        Case(
            {
                "num_symbols": 5,
                **SEQUENCES,
                "tasks": [
                    {"name": "one", "num_symbols": 5, "layer": 1, "weight": 0.5},
                    {
                        "name": "two",
                        "num_symbols": 5,
                        "kind": "attention",
                        "weight": 0.3,
                        "decoder": {"dim": 8, "ffn_dim": 8, "num_layers": 1, "num_heads": 2},
                    },
                    {"name": "three", "num_symbols": 5, "side": "decoder", "weight": 0.2},
                ],
            },
            family="conformer",
            encoder={"num_mels": 20, "num_layers": 0, "dim": 40, "projection": False},
            targets=True,
            tasks=("one", "two", "three"),
            draws=False,
        ),
        Case(
            {
                "num_symbols": 5,
                **SEQUENCES,
                "decoder": {**SEQUENCES["decoder"], "stack": 4, "silent": 2},
            },
            family="fbank",
            encoder={"num_mels": 20},
            targets=True,
            draws=False,
        ),
    ],
    "text_to_units": [
        # nothing is drawn; two languages, and one with blocks of its own kind
        Case({"num_units": 5, "num_languages": 2, **UNITS}, labels=True, targets=True, draws=False, lr=1e-2),
        Case(
            {
                "num_units": 5,
                **UNITS,
                "adaptor": {**UNITS["adaptor"], "kind": "conformer", "conv_kernel": 5},
                "smoothing": 0.0,
            },
            labels=True,
            targets=True,
            draws=False,
            lr=1e-2,
        ),
    ],
    "transducer": [
        Case(
            {"num_symbols": 5, "shape": {**JOINER, "prediction": "lstm"}, "masking": {"gradient": 1.0}},
            "wav2vec2",
            codes=False,
            targets=True,
            lr=1e-2,
        ),
        Case(
            {
                "num_symbols": 5,
                "shape": {**JOINER, "context": 2},
                "ctc_weight": 0.3,
                "head": {"kind": "tdnn", "dim": 16, "dilations": (1, 2)},
            },
            "tdnn",
            encoders.TINY["tdnn"][0],
            codes=False,
            targets=True,
            lr=1e-2,
        ),
    ],
    "unit_bart": [
        # two languages, and one with kinds of blocks of its own
        Case({"num_languages": 2, **UNITS}, labels=True, lr=1e-2),
        Case(
            {**UNITS, "adaptor": {**UNITS["adaptor"], "kind": "conformer", "conv_kernel": 5}, "noise": {"share": 0.6}},
            labels=True,
            lr=1e-2,
        ),
    ],
    "unit_bert": [
        Case({**STARTS, "dim": 16, "ffn_dim": 24, "num_layers": 2, "num_heads": 4, "max_positions": 64}, labels=True),
    ],
    "unit_ctc": [
        Case(
            {
                "num_symbols": 5,
                "embedding": 12,
                "augmentation": {"time": {"share": 0.2, "span": 3, "min_spans": 1}},
                "dropout": {"residual": 0.0, "attention": 0.0, "activation": 0.0, "layer": 0.0},
                "adaptor": {
                    "kind": "conformer",
                    "strides": [],
                    "dim": 16,
                    "ffn_dim": 24,
                    "num_layers": 1,
                    "num_heads": 2,
                    "conv_kernel": 5,
                },
            },
            labels=True,
            targets=True,
            codes=False,
            lr=1e-2,
        ),
        Case(
            {
                "num_symbols": 5,
                "embedding": 12,
                "augmentation": {"time": {"share": 0.0}, "noise": 0.1},
                "dropout": {"residual": 0.0, "attention": 0.0, "activation": 0.0, "layer": 0.0},
                "adaptor": {
                    "kind": "zipformer",
                    "strides": [],
                    "dim": 16,
                    "ffn_dim": 24,
                    "num_heads": 2,
                    "num_blocks": [1, 1],
                    "factors": [1, 2],
                    "conv_kernel": 3,
                },
            },
            labels=True,
            targets=True,
            codes=False,
            lr=1e-2,
        ),
    ],
    "unit_lm": [
        # nothing is drawn
        Case(
            {name: UNITS[name] for name in ("decoder", "dropout")},
            labels=True,
            draws=False,
            lr=1e-2,
        ),
        Case(
            {"decoder": {**UNITS["decoder"], "norm_first": False, "tied": False}, "dropout": UNITS["dropout"]},
            labels=True,
            draws=False,
            lr=1e-2,
        ),
    ],
    "unit_translation": [
        # pairs: nothing is drawn; and three languages alone, translated back: inputs change from update to update
        Case({**UNITS}, labels=True, targets=True, draws=False, lr=1e-2),
        Case(
            {**UNITS, "num_languages": 3, "back": {"how": "sample", "max_more": 5}, "smoothing": 0.0},
            labels=True,
            lr=1e-2,
        ),
    ],
    "vq_wav2vec": [
        # five entries are few, and the noise keeps on choosing others
        Case(
            {"contrast": {"steps": 3}, "gumbel_updates": 60},
            "vq_wav2vec",
            encoders.TINY["vq_wav2vec"][0],
            lr=1e-2,
            falls_to=0.7,
        ),
        Case({"contrast": {"steps": 3}}, "vq_wav2vec", encoders.TINY["vq_wav2vec"][1], lr=1e-2),
        Case({"contrast": {"steps": 3}, "restart_after": 3}, "vq_wav2vec", encoders.TINY["vq_wav2vec"][1], lr=1e-2),
    ],
    "wav2vec": [
        Case({"steps": 3}, "wav2vec", encoders.TINY["wav2vec"][0], codes=False),
        Case({"steps": 3, "offset": 3, "weight": 1.0}, "wav2vec", encoders.TINY["wav2vec"][1], codes=False),
    ],
    "wavlm": [
        Case({"code_dim": 8, "mixing": {"share": 0.7}}, family="wavlm", encoder=RELATIVE, labels=True),
        Case({"code_dim": 8, "masking": {"gradient": 1.0}}, encoder=LARGE, labels=True),
    ],
    "wav2vec2": [
        # the diversity loss is about all frames of a batch together
        Case({"dim": 8, "entries": 5, "negatives": 6}, family="wav2vec2", additive=False),
        Case({"dim": 8, "entries": 5, "negatives": 6, "diversity": 0.0}, family="wav2vec2", encoder=LARGE),
        Case({"dim": 8, "entries": 5, "negatives": 6, "diversity": 0.0}, family="sew", encoder=SQUEEZED),
    ],
}
