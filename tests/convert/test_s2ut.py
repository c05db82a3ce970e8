"""fairseq's speech-to-unit checkpoints: equal to transformers' models on the same random weights, or to slow forms."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import speechssl
from speechssl.audio import write as write_audio
from speechssl.cli import main
from speechssl.convert import s2ut
from speechssl.decoders.search import Search
from speechssl.errors import CheckpointError
from speechssl.nn.positional import sinusoids
from tests.convert import s2ut_files
from tests.convert.s2ut_files import DIM, UNITS, speech_to_text, state_dict, write
from tests.encoders.test_mfcc import noise

ORDER = [*range(4, 4 + UNITS), 2, 0, 1, 3]  # our symbols in fairseq's dictionary
SPOKEN = Search(beam=4, num_best=4, max_tokens=9)


def waves() -> list[Tensor]:
    return [noise(samples, seed=seed)[0].float() for seed, samples in enumerate((7000, 4100, 5600))]


def differing(shape: Any, seed: int = 3) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("tied", [False, True])
def test_scores_and_gradients_equal_those_of_transformers(tmp_path: Path, tied: bool) -> None:
    theirs = speech_to_text(tied=tied)
    found = s2ut.load(write(tmp_path / "s2ut.pt", state_dict(theirs), share_decoder_input_output_embed=tied))
    model = found.model.requires_grad_(True)
    one, two = (differing((1, 37, 80)).requires_grad_() for _ in range(2))
    tokens = torch.tensor([[2, 5, 5, 9, 4]])  # of fairseq's dictionary, </s> first
    expected = theirs(input_features=one, decoder_input_ids=tokens, use_cache=False).logits[..., ORDER]
    states, lengths = model.encode(two, torch.tensor([37]))
    scores = model.decoder(torch.tensor([[7, 1, 1, 5, 0]]), states, lengths)
    torch.testing.assert_close(scores, expected, rtol=1e-4, atol=1e-4)
    weights = differing(scores.shape)
    weight = model.adaptor.subsample.layers[0].weight
    ours = torch.autograd.grad((scores * weights).sum(), [two, weight, model.decoder.embedding.weight])
    embedding = theirs.model.decoder.embed_tokens.weight
    wanted = torch.autograd.grad((expected * weights).sum(),
                                 [one, theirs.model.encoder.conv.conv_layers[0].weight, embedding])  # fmt: skip
    for a, b in zip(ours, (*wanted[:2], wanted[2][ORDER]), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-3 * float(b.abs().max()))


@pytest.mark.parametrize("penalty", [0.0, 1.0])
def test_waveforms_give_the_hypotheses_and_scores_of_transformers(tmp_path: Path, penalty: float) -> None:
    from dataclasses import replace

    theirs = speech_to_text(seed=5, decoder_layers=1)
    path = write(tmp_path / "s2ut.pt", state_dict(theirs), decoder_layers=1)
    found = speechssl.load_translator(path).hypotheses(waves(), replace(SPOKEN, length_penalty=penalty))
    encoder = s2ut.load(path).encoder.encoder
    assert len({h.tokens for row in found for h in row}) > 6
    for wave, own in zip(waves(), found, strict=True):  # ours as a batch, theirs one by one
        with torch.no_grad():
            said = theirs.generate(
                input_features=encoder(wave[None])[0], num_beams=4, num_return_sequences=4, do_sample=False,
                max_new_tokens=9, early_stopping=False, length_penalty=penalty, suppress_tokens=[0, 1, 3],
                output_scores=True, return_dict_in_generate=True,
            )  # fmt: skip
        for hypothesis, tokens, score in zip(own, said.sequences, said.sequences_scores, strict=True):
            assert [t + 4 for t in hypothesis.tokens] == [t for t in tokens.tolist()[1:] if t >= 4]
            assert hypothesis.score == pytest.approx(float(score), rel=1e-4, abs=1e-4)


@pytest.mark.parametrize(("order", "attention", "kind"), [
    ("abs", None, None), ("abs", "espnet", None), ("rel_pos", "espnet", "relative"), ("rope", "espnet", "rotary"),
    ("rope", None, None),
])  # fmt: skip
def test_conformers_equal_the_blocks_of_transformers_with_gradients(
    tmp_path: Path, order: str, attention: str | None, kind: str | None
) -> None:
    from transformers.models.wav2vec2_conformer import modeling_wav2vec2_conformer as theirs

    layers = s2ut_files.conformer_layers(kind)
    state = {key: value for key, value in state_dict(speech_to_text()).items()
             if not key.startswith(("encoder.transformer_layers", "encoder.layer_norm"))}  # fmt: skip
    linear = s2ut_files.randomized(nn.Linear(DIM, DIM), 4)
    state |= s2ut_files.conformer_state(layers, espnet=attention == "espnet")
    state |= {f"encoder.linear.{key}": value for key, value in linear.state_dict().items()}
    if kind == "rotary":
        state["encoder.conformer_layers.0.self_attn.rotary_emb.inv_freq"] = torch.zeros(4)
    path = write(tmp_path / "conformer.pt", state, arch="s2ut_conformer", _name="s2ut_conformer", pos_enc_type=order,
                 attn_type=attention, depthwise_conv_kernel_size=5)  # fmt: skip
    model = s2ut.load(path).model
    one, two = (differing((1, 37, 80)).requires_grad_() for _ in range(2))
    x = one.transpose(1, 2)
    for number in range(2):
        name = f"encoder.subsample.conv_layers.{number}"
        x = F.glu(F.conv1d(x, state[f"{name}.weight"], state[f"{name}.bias"], stride=2, padding=2), 1)
    x = x.transpose(1, 2) * math.sqrt(DIM)
    if order == "abs":
        x = x + sinusoids(x.shape[1] + 2, DIM)[2:]
    x, positions = linear(x), None
    if kind is not None:
        made = {"relative": theirs.Wav2Vec2ConformerRelPositionalEmbedding,
                "rotary": theirs.Wav2Vec2ConformerRotaryPositionalEmbedding}[kind]  # fmt: skip
        positions = made(_config())(x)
    for layer in layers:
        x = layer(x, relative_position_embeddings=positions)[0]
    found, _ = model.encode(two, torch.tensor([37]))
    torch.testing.assert_close(found, x, rtol=1e-4, atol=1e-4)
    weights = differing(found.shape)
    (a,) = torch.autograd.grad((found * weights).sum(), two)
    (b,) = torch.autograd.grad((x * weights).sum(), one)
    torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-3 * float(b.abs().max()))


def _config() -> Any:
    from transformers import Wav2Vec2ConformerConfig

    return Wav2Vec2ConformerConfig(hidden_size=DIM, num_attention_heads=2, max_source_positions=100)


HEADS = """
letters: {decoder_type: transformer, dict: dict.txt, encoder_layer: 1, loss_weight: 8.0,
          decoder_args: {decoder_embed_dim: 16, decoder_ffn_embed_dim: 20, decoder_layers: 2}}
sounds: {decoder_type: ctc, encoder_layer: 1, loss_weight_max: 2.0, loss_weight_decay_steps: 10}
text: {decoder_type: ctc, decoder_layer: 2, loss_weight: 1.6}
"""


def with_heads(theirs: nn.Module) -> tuple[dict[str, Tensor], nn.Module]:
    """A checkpoint with three of them; and the transformers model whose decoder is the first."""
    head = speech_to_text(seed=9, tied=True, symbols=5)
    state = state_dict(theirs)
    for key, tensor in state_dict(head).items():
        if key.startswith("decoder."):
            state[f"letters_{key}"] = tensor
    for name, size, seed in (("sounds", 6, 1), ("text", 9, 2)):
        state |= {f"{name}_decoder.proj.weight": differing((size, DIM), seed),
                  f"{name}_decoder.proj.bias": differing(size, seed)}  # fmt: skip
    return state, head


def test_multitask_heads_look_where_fairseqs_do(tmp_path: Path) -> None:
    theirs = speech_to_text()
    state, head = with_heads(theirs)
    (tmp_path / "tasks.yaml").write_text(HEADS)
    found = s2ut.load(write(tmp_path / "s2ut.pt", state, multitask_config_yaml="/elsewhere/tasks.yaml"))
    assert [(t.name, t.kind, t.side, t.layer, t.weight) for t in found.model.config.tasks] == [
        ("letters", "attention", "adaptor", 1, 8.0), ("sounds", "ctc", "adaptor", 1, 2.0),
        ("text", "ctc", "decoder", 1, 1.6)]  # fmt: skip
    x, letters = differing((1, 37, 80)), torch.tensor([[3, 0, 4]])
    targets = torch.tensor([[1, 1, 5, 0]])
    with torch.no_grad():
        tasks = {"letters": letters, "sounds": letters, "text": letters}
        scores = found.model(x, torch.tensor([37]), targets, tasks)
        inner = theirs(input_features=x, decoder_input_ids=torch.tensor([[2, 5, 5, 9, 4]]), use_cache=False,
                       output_hidden_states=True)  # fmt: skip
        block, step = inner.encoder_hidden_states[1], inner.decoder_hidden_states[1]
        hidden = head.model.decoder(input_ids=torch.tensor([[2, 7, 4, 8]]), encoder_hidden_states=block,
                                    use_cache=False)[0]  # fmt: skip
    torch.testing.assert_close(scores.tasks["letters"][0], head.lm_head(hidden)[..., [4, 5, 6, 7, 8, 2, 0, 1, 3]],
                               rtol=1e-4, atol=1e-4)  # fmt: skip
    for name, states in (("sounds", block), ("text", step)):
        logits = states @ state[f"{name}_decoder.proj.weight"].T + state[f"{name}_decoder.proj.bias"]
        expected = logits.log_softmax(-1)[..., [*range(1, logits.shape[-1]), 0]]  # the blank is <s>
        torch.testing.assert_close(scores.tasks[name][0], expected, rtol=1e-4, atol=1e-4)
    assert scores.tasks["text"][1].tolist() == [5]


def test_heads_whose_place_is_not_known_are_left_out_by_name(tmp_path: Path) -> None:
    state, _ = with_heads(speech_to_text())
    path = write(tmp_path / "s2ut.pt", state)
    found = s2ut.load(path)
    assert not found.model.config.tasks and "sounds_decoder.proj.weight" in found.dropped
    assert any("config_multitask.yaml" in note and "letters, sounds, text" in note for note in found.notes)
    (tmp_path / "config_multitask.yaml").write_text("sounds: {decoder_type: ctc, encoder_layer: 2}\n")
    found = s2ut.load(path)
    assert [task.name for task in found.model.config.tasks] == ["sounds"]
    for text, message in (
        ("sounds: {decoder_type: rnn}\n", "decoder_type='rnn'"), ("other: {decoder_type: ctc}\n", "no other_decoder"),
        ("text: {decoder_type: ctc, decoder_layer: 1}\n", "decoder_layer=1"),
        ("letters: {decoder_args: {decoder_layers: 3}}\n", "decoder_layers=3"),
        ("1: {}\nb: {}\n", "has a task '1'"), ("letters: {decoder_args: [1]}\n", "letters"),
        ("letters: {is_first_pass_decoder: true}\n", "two passes"),
        ("sounds: {decoder_type: ctc, encoder_layer: 3}\n", "layer 3 does not exist"),
    ):  # fmt: skip
        (tmp_path / "config_multitask.yaml").write_text(text)
        with pytest.raises(CheckpointError, match=message):
            s2ut.load(path)


class Stacked(nn.Module):
    """fairseq's StackedEmbedding: N units in one number, units - 4 as its digits, the first of them the highest."""

    def __init__(self, weight: Tensor, join: Tensor, height: int) -> None:
        super().__init__()
        self.weight, self.join, self.height, self.padding_idx = weight, join, height, 1

    def forward(self, packed: Tensor) -> Tensor:
        rows = []
        for number in packed.flatten().tolist():
            digits = [number] * self.height
            if number >= 4:
                digits = [(number - 4) // UNITS ** (self.height - 1 - i) % UNITS + 4 for i in range(self.height)]
            rows.append(torch.cat([self.weight[digit] for digit in digits]) @ self.join.T)
        return torch.stack(rows).view(*packed.shape, -1)


def test_stacks_say_what_fairseqs_greedy_generator_says(tmp_path: Path) -> None:
    theirs, height = speech_to_text(seed=20), 3
    state = state_dict(theirs)
    join, spread = differing((DIM, height * DIM), 1) * 0.2, differing((height * DIM, DIM), 2) * 0.4
    state |= {"decoder.embed_tokens.project_in_dim.weight": join, "decoder.out_proj_n_frames.weight": spread}
    path = write(tmp_path / "stacked.pt", state, n_frames_per_step=height)
    translator = speechssl.load_translator(path)
    assert not translator.output.reduced
    decoder = theirs.model.decoder
    decoder.embed_tokens = Stacked(state["decoder.embed_tokens.weight"], join, height)
    lengths = set()
    for wave in waves():
        features = translator.parts.encoder(wave[None])[0]
        with torch.no_grad():
            memory = theirs.model.encoder(features)[0]
        read, said, total, ended = [2], [], 0.0, False
        while not ended and len(said) < 12:
            with torch.no_grad():
                hidden = decoder(input_ids=torch.tensor([read]), encoder_hidden_states=memory, use_cache=False)[0]
                log_probs = theirs.lm_head((spread @ hidden[0, -1]).view(height, DIM)).log_softmax(-1)
            log_probs[:, [0, 1, 3]] = -math.inf
            best, symbols = log_probs.max(1)
            for symbol, score in zip(symbols.tolist(), best.tolist(), strict=True):
                total, ended = total + score, symbol == 2
                if ended:
                    break
                said.append(symbol - 4)
            if not ended:
                packed = sum((unit - 4) * UNITS ** (height - 1 - i) for i, unit in enumerate(symbols.tolist())) + 4
                read.append(packed)
        (found,) = translator.hypotheses([wave], Search(beam=1, max_tokens=12 + ended))[0]
        assert list(found.tokens) == said and found.ended == ended
        assert found.log_prob == pytest.approx(total, rel=1e-4)
        lengths.add(len(said))
    assert len(lengths) > 1  # some end within a stack


def test_programs_take_the_file_and_the_folder_made_of_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path / "s2ut.pt", state_dict(speech_to_text(seed=5)))
    (tmp_path / "config.yaml").write_text(
        "feature_transforms: {'*': [utterance_cmvn], _train: [utterance_cmvn, specaugment]}\n"
    )
    (tmp_path / "audio").mkdir()
    for number, wave in enumerate(waves()):
        write_audio(tmp_path / "audio" / f"{number}.wav", wave.numpy(), 16_000)
    assert main(["convert", str(path), str(tmp_path / "folder")]) == 0
    assert "7 units of a unit model that is not stated, runs merged" in capsys.readouterr().out
    for model in (path, tmp_path / "folder"):
        assert main(["info", str(model), "--json"]) == 0
        told = json.loads(capsys.readouterr().out)
        assert told["kind"] == "translator" and told["model"]["num_symbols"] == UNITS
        out = tmp_path / f"out-{model.name}"
        assert main(["translate", str(tmp_path / "audio"), "--model", str(model), "-o", str(out), "--max-tokens", "9",
                     "--max-per-frame", "0"]) == 0  # fmt: skip
        capsys.readouterr()
    one, two = (speechssl.load_translator(model) for model in (path, tmp_path / "folder"))
    assert one.sha256 == two.sha256 == told["sha256"]
    assert (tmp_path / "out-folder" / "units").read_text() == (tmp_path / "out-s2ut.pt" / "units").read_text()
    assert main(["info", str(tmp_path / "out-folder" / "units")]) == 2
    with pytest.raises(CheckpointError, match="translator of speech, not an encoder"):
        speechssl.load_encoder(path)


def test_features_are_normalised_as_the_file_beside_it_says(tmp_path: Path) -> None:
    path = write(tmp_path / "s2ut.pt", state_dict(speech_to_text()))
    assert s2ut.load(path).encoder.encoder.config.cmvn == "utterance" and "config.yaml" in s2ut.load(path).notes[0]
    yaml = tmp_path / "config.yaml"
    yaml.write_text("transforms: {'*': [global_cmvn]}\nglobal_cmvn: {stats_npz_path: /elsewhere/stats.npz}\n")
    np.savez(tmp_path / "stats.npz", mean=np.arange(80.0), std=np.full(80, 3.0))
    found = s2ut.load(path)
    assert found.encoder.encoder.conv.std.tolist() == [3.0] * 80 and not any("CMVN" in note for note in found.notes)
    np.savez(tmp_path / "stats.npz", mean=np.arange(80.0), std=np.zeros(80))
    with pytest.raises(CheckpointError, match="std above 0"):
        s2ut.load(path)
    for text, message in (
        ("transforms: {'*': [delta_deltas]}\n", "delta_deltas"), ("use_audio_input: true\n", "use_audio_input"),
        ("transforms: {'*': [global_cmvn]}\n", "stats_npz_path"), ("input_channels: 2\n", "input_channels"),
        ("transforms: {'*': [utterance_cmvn]}\nutterance_cmvn: {norm_vars: false}\n", "norm_vars"),
        ("transforms: {'*': [{a: 1}]}\n", "'a': 1"), ("transforms: [x, 1]\n", "'x', 1"),
        ("transforms: {'*': [global_cmvn]}\nglobal_cmvn: 3\n", "stats_npz_path"),
        ("prepend_tgt_lang_tag_as_bos: true\n", "prepend_tgt_lang_tag_as_bos"),
    ):  # fmt: skip
        yaml.write_text(text)
        with pytest.raises(CheckpointError, match=message):
            s2ut.load(path)
    yaml.write_text("{}\n")
    assert s2ut.load(path).encoder.encoder.config.cmvn == "none"


@pytest.mark.parametrize(("changes", "message"), [
    ({"conv_version": "convtransformer"}, "conv_version"), ({"layernorm_embedding": True}, "layernorm_embedding"),
    ({"encoder_normalize_before": False}, "encoder_normalize_before"), ({"conv_kernel_sizes": "5,3"}, "equal"),
    ({"target_speaker_embed": True}, "target_speaker_embed"), ({"activation_fn": "gelu"}, "activation_fn"),
    ({"decoder_output_dim": 8}, "decoder_output_dim"), ({"target_code_size": 8}, "target_code_size=8"),
    ({"encoder_layers": 10**9}, "encoder_layers=1000000000, but the weights are of 2"),
    ({"encoder_layers": "2"}, "encoder_layers='2'"), ({"decoder_ffn_embed_dim": 10**12}, "shapes disagree"),
    ({"decoder_attention_heads": 3}, "multiple of num_heads"), ({"n_frames_per_step": 2}, "join.weight"),
    ({"arch": "s2t_transformer_s", "_name": "s2t_transformer_s"}, "s2t_transformer_s is no speech-to-unit model"),
    ({"share_decoder_input_output_embed": True}, "share_decoder_input_output_embed"),
], ids=str)  # fmt: skip
def test_what_cannot_be_had_is_an_error_that_names_it(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    path = write(tmp_path / "s2ut.pt", state_dict(speech_to_text()), **changes)
    with pytest.raises(CheckpointError, match=message):
        s2ut.load(path)


def test_weights_of_something_else_are_errors_that_name_them(tmp_path: Path) -> None:
    state = state_dict(speech_to_text())
    for wrong, message in (
        ({"encoder.spk_emb_proj.weight": torch.zeros(2, 2)}, "spk_emb_proj.weight"),
        ({"mystery.weight": torch.zeros(2)}, "mystery.weight"),
        ({"encoder.layer_norm.weight": torch.full((DIM,), math.nan)}, "not finite"),
        ({"decoder.layers.1.fc1.bias": None}, "ffn.up.bias"),
    ):  # fmt: skip
        changed = {key: value for key, value in {**state, **wrong}.items() if value is not None}
        with pytest.raises(CheckpointError, match=message):
            s2ut.load(write(tmp_path / "s2ut.pt", changed))


def test_the_old_names_of_fairseq_are_read(tmp_path: Path) -> None:
    state = state_dict(speech_to_text(tied=True))
    new = s2ut.load(write(tmp_path / "new.pt", state, share_decoder_input_output_embed=True)).model.state_dict()
    del state["decoder.output_projection.weight"]
    old = s2ut.load(write(tmp_path / "old.pt", state, share_decoder_input_output_embed=True)).model.state_dict()
    assert new.keys() == old.keys() and all(torch.equal(new[key], old[key]) for key in new)
