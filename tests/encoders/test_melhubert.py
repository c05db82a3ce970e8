"""Log-mel frames and the blocks behind them, against torchaudio and transformers."""

import numpy as np
import torch
import torchaudio
from torch import Tensor
from transformers import HubertConfig, HubertModel

from speechssl.encoders.melhubert import Config, Model
from speechssl.nn.mel_frontend import MelFrontEnd
from speechssl.objectives.best_rq import covered_samples
from tests.encoders.parity import randomize

SMALL = {"dim": 32, "ffn_dim": 48, "num_layers": 3, "num_heads": 4, "pos_conv_kernel": 16, "pos_conv_groups": 4}


def speechlike(samples: int) -> Tensor:
    noise = torch.randn(samples, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return 0.1 * noise * (1 + torch.linspace(0, 40, samples, dtype=torch.float64).sin())


def test_the_front_end_is_a_mel_spectrogram_normalised_and_stacked() -> None:
    wav = speechlike(16_000)
    frames = MelFrontEnd(num_mels=40, sample_rate=16_000)(wav[None])[0].numpy()
    assert frames.shape == (49, 80)
    padded = np.pad(wav.numpy(), (160, 0))
    power = np.abs(np.stack([np.fft.rfft(padded[s : s + 400] * np.hanning(400), 512) for s in range(0, 98 * 160, 160)]))
    banks = torchaudio.compliance.kaldi.get_mel_banks(40, 512, 16_000.0, 0.0, 0.0, 100.0, -500.0, 1.0)[0].numpy()
    mel = power[:, :-1] ** 2 @ banks.T
    mel = np.log(np.maximum(mel, 1e-6))
    expected = ((mel - mel.mean(0)) / mel.std(0)).reshape(49, 80)
    np.testing.assert_allclose(frames, expected, atol=2e-5)


def test_neither_level_nor_a_fixed_colour_of_the_recording_matters() -> None:
    wav = torch.randn(16_000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    front = MelFrontEnd(num_mels=23, sample_rate=16_000)
    torch.testing.assert_close(front(0.1 * wav[None]), front(wav[None]), atol=1e-6, rtol=0)
    coloured = wav - 0.5 * torch.cat([wav[:1], wav[:-1]])
    assert float((front(coloured[None]) - front(wav[None])).abs().mean()) < 0.1


def test_silence_gives_numbers() -> None:
    frames = MelFrontEnd(num_mels=23, sample_rate=16_000)(torch.zeros(1, 4000))
    assert not frames.any()


def test_what_inference_computed_first_can_be_trained_on() -> None:
    front = MelFrontEnd(num_mels=17, sample_rate=16_000)
    with torch.inference_mode():
        front(torch.randn(1, 4000))
    wav = torch.randn(1, 4000, requires_grad=True)
    front(wav).square().sum().backward()
    assert wav.grad is not None and wav.grad.isfinite().all()


def test_the_blocks_are_huberts() -> None:
    """The same weights behind the same frames give what transformers' HuBERT gives there, gradients included."""
    ours = Model(Config(num_mels=20, **SMALL))
    randomize(ours)
    ours.double().eval()
    theirs = HubertModel(
        HubertConfig(hidden_size=32, intermediate_size=48, num_hidden_layers=3, num_attention_heads=4, conv_dim=(40,),
                     conv_kernel=(400,), conv_stride=(320,), num_conv_pos_embeddings=16,
                     num_conv_pos_embedding_groups=4, attn_implementation="eager")
    )  # fmt: skip
    theirs.double().eval()
    convolution = theirs.encoder.pos_conv_embed.conv
    torch.nn.utils.parametrize.remove_parametrizations(convolution, "weight")
    names = {
        "feature_projection.layer_norm": ours.projection.norm, "feature_projection.projection": ours.projection.linear,
        "encoder.pos_conv_embed.conv": ours.pos_conv.conv, "encoder.layer_norm": ours.transformer.norm,
    }  # fmt: skip
    for i, block in enumerate(ours.transformer.layers):
        at = f"encoder.layers.{i}"
        names |= {
            f"{at}.attention.q_proj": block.attention.query, f"{at}.attention.k_proj": block.attention.key,
            f"{at}.attention.v_proj": block.attention.value, f"{at}.attention.out_proj": block.attention.out,
            f"{at}.layer_norm": block.attention_norm, f"{at}.feed_forward.intermediate_dense": block.ffn.up,
            f"{at}.feed_forward.output_dense": block.ffn.down, f"{at}.final_layer_norm": block.ffn_norm,
        }  # fmt: skip
    for name, module in names.items():
        theirs.get_submodule(name).load_state_dict(module.state_dict())
    wav = speechlike(16_000)[None]
    layers, _ = ours.layers(wav)
    hidden = theirs.feature_projection(ours.conv(wav))
    states = theirs.encoder(hidden, output_hidden_states=True).hidden_states
    for mine, other in zip(layers, states, strict=True):
        torch.testing.assert_close(mine, other, atol=1e-9, rtol=1e-9)
    layers[-1].pow(3).sum().backward()
    states[-1].pow(3).sum().backward()
    for name, module in names.items():
        other = dict(theirs.get_submodule(name).named_parameters())
        for key, mine in module.named_parameters():
            torch.testing.assert_close(mine.grad, other[key].grad, atol=1e-8, rtol=1e-7)


def test_a_masked_frame_hides_all_it_sees() -> None:
    mask = torch.tensor([[False, True, False]])
    hidden = covered_samples(mask, num_samples=1200, hop=320, window=400, history=160)[0]
    assert hidden.nonzero().flatten().tolist() == list(range(160, 720))
