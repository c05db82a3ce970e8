"""Released CodeHiFiGANs: random weights under their names, spoken by a slow form of the published architecture."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import speechssl
from speechssl.cli import main
from speechssl.convert import code_hifigan
from speechssl.errors import CheckpointError
from speechssl.units.vocoder import SpokenUnits

CONFIG: dict[str, Any] = {
    "resblock": "1", "upsample_rates": [5, 4], "upsample_kernel_sizes": [11, 8], "upsample_initial_channel": 12,
    "resblock_kernel_sizes": [3, 7], "resblock_dilation_sizes": [[1, 3, 5], [1, 3, 5]], "num_embeddings": 9,
    "embedding_dim": 4, "model_in_dim": 4, "sampling_rate": 16000, "f0": False, "code_hop_size": 20,
}  # fmt: skip
F0_PART = {"input_emb_width": 1, "output_emb_width": 3, "levels": 1, "downs_t": [2], "strides_t": [2], "width": 4,
           "depth": 2, "m_conv": 1.0, "dilation_growth_rate": 3}  # fmt: skip
F0_CODES: dict[str, Any] = {
    "f0": True, "model_in_dim": 8, "sampling_rate": 4000, "f0_quantizer_path": "checkpoints/g_00400000",
    "f0_quantizer": {"f0_vq_params": {"l_bins": 5, "emb_width": 3, "mu": 0.99, "levels": 1},
                     "f0_encoder_params": F0_PART, "f0_decoder_params": F0_PART},
}  # fmt: skip


def f0_part(part: str, **change: Any) -> dict[str, Any]:
    """With another setting of its quantizer."""
    quantizer = F0_CODES["f0_quantizer"]
    changed = {name: {**quantizer[name], **change} for name in quantizer if part in (name.split("_")[1], "both")}
    return {**F0_CODES, "f0_quantizer": {**quantizer, **changed}}


DURATIONS = {"dur_predictor_params": {"encoder_embed_dim": 4, "var_pred_hidden_dim": 6, "var_pred_kernel_size": 3,
                                      "var_pred_dropout": 0.5}}  # fmt: skip
VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "speakers": {"multispkr": "from_input_file", "num_speakers": 5, "model_in_dim": 8},
    "embedder": {"multispkr": True, "embedder_params": {"path": "x"}, "embedder_dim": 3, "model_in_dim": 8},
    "f0": {"f0": True, "model_in_dim": 5},
    "f0_bins": {"f0": True, "f0_quant_num_bin": 6, "multispkr": "x", "num_speakers": 5, "model_in_dim": 12},
    "f0_codes": F0_CODES,
    "durations": DURATIONS,
}


def random_weights(config: dict[str, Any]) -> dict[str, Tensor]:
    """A generator's state dict, weight norm as length and direction."""
    generator, found = torch.Generator().manual_seed(0), {}

    def draw(*shape: int, scale: float = 0.2) -> Tensor:
        return scale * torch.randn(*shape, generator=generator)

    def conv(name: str, shape: tuple[int, int, int], outputs: int) -> None:
        found[f"{name}.weight_g"] = 0.5 + draw(shape[0], 1, 1).abs()
        found[f"{name}.weight_v"], found[f"{name}.bias"] = draw(*shape), draw(outputs)

    channels, dim = config["upsample_initial_channel"], config["embedding_dim"]
    conv("conv_pre", (channels, config["model_in_dim"], 7), channels)
    number = 0
    for layer, kernel in enumerate(config["upsample_kernel_sizes"]):
        conv(f"ups.{layer}", (channels, channels // 2, kernel), channels // 2)
        channels //= 2
        for size in config["resblock_kernel_sizes"]:
            for which in ("convs1", "convs2"):
                for unit in range(3):
                    conv(f"resblocks.{number}.{which}.{unit}", (channels, channels, size), channels)
            number += 1
    conv("conv_post", (1, channels, 7), 1)
    found["dict.weight"] = draw(config["num_embeddings"], dim)
    if config.get("embedder_params"):
        found |= {"spkr.weight": draw(dim, config["embedder_dim"]), "spkr.bias": draw(dim)}
    elif config.get("multispkr"):
        found["spkr.weight"] = draw(config["num_speakers"], dim)
    if config.get("f0_quant_num_bin"):
        found["f0_quant_embed.weight"] = draw(config["f0_quant_num_bin"], dim)
    if config.get("f0_quantizer_path"):
        found |= {"f0_dict.weight": draw(5, dim), "quantizer.vq.level_blocks.0.k": draw(5, 3, scale=0.05)}

        def plain(name: str, inputs: int, outputs: int, kernel: int, *, up: bool = False) -> None:
            shape = (inputs, outputs, kernel) if up else (outputs, inputs, kernel)
            found[f"quantizer.{name}.weight"], found[f"quantizer.{name}.bias"] = draw(*shape), draw(outputs)

        for side, convolution, blocks in (("encoder", 0, 1), ("decoder", 1, 0)):
            model = f"{side}.level_blocks.0.model"
            for stage in range(2):
                number = stage + (side == "decoder")
                if side == "encoder":
                    plain(f"{model}.{number}.{convolution}", 4 if stage else 1, 4, 4)
                else:
                    plain(f"{model}.{number}.{convolution}", 4, 3 if stage else 4, 4, up=True)
                for block in range(2):
                    plain(f"{model}.{number}.{blocks}.model.{block}.model.1", 4, 4, 3)
                    plain(f"{model}.{number}.{blocks}.model.{block}.model.3", 4, 4, 1)
        plain("encoder.level_blocks.0.model.2", 4, 3, 3)
        plain("decoder.level_blocks.0.model.0", 3, 4, 3)
        plain("decoder.out", 3, 1, 3)
    if config.get("dur_predictor_params"):
        for layer, inputs in ((1, dim), (2, 6)):
            conv_name, norm = f"dur_predictor.conv{layer}.0", f"dur_predictor.ln{layer}"
            found |= {f"{conv_name}.weight": draw(6, inputs, 3), f"{conv_name}.bias": draw(6)}
            found |= {f"{norm}.weight": 1 + draw(6), f"{norm}.bias": draw(6)}
        found |= {"dur_predictor.proj.weight": draw(1, 6, scale=0.5), "dur_predictor.proj.bias": draw(1) + 2.0}
    return found


class Slow:
    """The published forward pass, in float64, written from the papers and the names of the weights."""

    def __init__(self, config: dict[str, Any], tensors: dict[str, Tensor]) -> None:
        self.config, self.tensors = config, {name: tensor.double() for name, tensor in tensors.items()}

    def weight(self, name: str) -> Tensor:
        g, v = self.tensors[f"{name}.weight_g"], self.tensors[f"{name}.weight_v"]
        return torch.stack([g[i, 0, 0] * v[i] / v[i].flatten().dot(v[i].flatten()).sqrt() for i in range(len(v))])

    def conv(self, name: str, x: Tensor, dilation: int = 1) -> Tensor:
        weight = self.weight(name)
        padding = dilation * (weight.shape[2] - 1) // 2
        return F.conv1d(x, weight, self.tensors[f"{name}.bias"], padding=padding, dilation=dilation)

    def up(self, name: str, x: Tensor, stride: int) -> Tensor:
        weight = self.weight(name)  # [in, out, K]
        padding, (steps, kernel) = (weight.shape[2] - stride) // 2, (x.shape[2], weight.shape[2])
        whole = x.new_zeros(1, weight.shape[1], (steps - 1) * stride + kernel)
        for t in range(steps):
            whole[0, :, t * stride : t * stride + kernel] += torch.einsum("i,iok->ok", x[0, :, t], weight)
        whole = whole[:, :, padding : whole.shape[2] - padding]
        return whole + self.tensors[f"{name}.bias"][:, None]

    def speak(self, ids: Tensor, speaker: Any = None, pitch: Tensor | None = None) -> Tensor:
        parts = [self.tensors["dict.weight"][ids].T]
        if pitch is not None:
            bins = self.tensors.get("f0_quant_embed.weight", self.tensors.get("f0_dict.weight"))
            parts.append(bins[pitch].T if bins is not None else pitch.double().T)
        if speaker is not None:
            table = self.tensors["spkr.weight"]
            bias = self.tensors.get("spkr.bias")
            one = table[speaker] if bias is None else table @ speaker.double() + bias
            parts.append(one[:, None].repeat(1, len(ids)))
        x = self.conv("conv_pre", torch.cat(parts)[None])
        number = 0
        for layer, stride in enumerate(self.config["upsample_rates"]):
            x = self.up(f"ups.{layer}", F.leaky_relu(x, 0.1), stride)
            total = torch.zeros_like(x)
            for _ in self.config["resblock_kernel_sizes"]:
                y = x
                for unit, dilation in enumerate((1, 3, 5)):
                    inside = self.conv(f"resblocks.{number}.convs1.{unit}", F.leaky_relu(y, 0.1), dilation)
                    y = y + self.conv(f"resblocks.{number}.convs2.{unit}", F.leaky_relu(inside, 0.1))
                total, number = total + y, number + 1
            x = total / len(self.config["resblock_kernel_sizes"])
        return self.conv("conv_post", F.leaky_relu(x, 0.01)).tanh()[0, 0]

    def f0_vectors(self, f0: Tensor) -> Tensor:
        """Vectors [T / 4, 3] of F0 [T]: two stages that halve it, dilations 1 and 3."""

        def conv(name: str, x: Tensor, **how: int) -> Tensor:
            name = f"quantizer.encoder.level_blocks.0.model.{name}"
            return F.conv1d(x, self.tensors[f"{name}.weight"], self.tensors[f"{name}.bias"], **how)

        x = f0.double()[None, None]
        for stage in range(2):
            x = conv(f"{stage}.0", x, stride=2, padding=1)
            for block in range(2):
                inside = conv(f"{stage}.1.model.{block}.model.1", x.relu(), padding=3**block, dilation=3**block)
                x = x + conv(f"{stage}.1.model.{block}.model.3", inside.relu())
        return conv("2", x, padding=1)[0].T

    def f0_codes(self, f0: Tensor) -> Tensor:
        """Codes [T / 4]: each vector's nearest codeword."""
        words = self.tensors["quantizer.vq.level_blocks.0.k"]
        return torch.stack([(words - vector).square().sum(1).argmin() for vector in self.f0_vectors(f0)])

    def f0_back(self, codes: Tensor) -> Tensor:
        """F0 [4 N] of codes [N], the decoder's."""
        model = "quantizer.decoder.level_blocks.0.model"

        def of(name: str) -> tuple[Tensor, Tensor]:
            return self.tensors[f"{name}.weight"], self.tensors[f"{name}.bias"]

        x = F.conv1d(self.tensors["quantizer.vq.level_blocks.0.k"][codes].T[None], *of(f"{model}.0"), padding=1)
        for stage in (1, 2):
            for block in range(2):
                name = f"{model}.{stage}.0.model.{block}.model"
                inside = F.conv1d(x.relu(), *of(f"{name}.1"), padding=3**block, dilation=3**block)
                x = x + F.conv1d(inside.relu(), *of(f"{name}.3"))
            x = F.conv_transpose1d(x, *of(f"{model}.{stage}.1"), stride=2, padding=1)
        return F.conv1d(x, *of("quantizer.decoder.out"), padding=1)[0, 0]

    def durations(self, ids: Tensor) -> Tensor:
        x = self.tensors["dict.weight"][ids].T[None]
        for layer in ("1", "2"):
            name = f"dur_predictor.conv{layer}.0"
            x = F.conv1d(x, self.tensors[f"{name}.weight"], self.tensors[f"{name}.bias"], padding=1).relu()
            weight, bias = (self.tensors[f"dur_predictor.ln{layer}.{kind}"] for kind in ("weight", "bias"))
            x = F.layer_norm(x.transpose(1, 2), (6,), weight, bias).transpose(1, 2)
        x = x[0].T @ self.tensors["dur_predictor.proj.weight"][0] + self.tensors["dur_predictor.proj.bias"]
        return (x.exp() - 1).round().clamp_min(1).long()


def stored(folder: Path, config: dict[str, Any], tensors: dict[str, Tensor]) -> tuple[Path, Path]:
    (folder / "config.json").write_text(json.dumps(config))
    torch.save({"generator": tensors}, folder / "g_00400000")
    return folder / "config.json", folder / "g_00400000"


@pytest.mark.parametrize("variant", sorted(VARIANTS))
def test_a_released_vocoder_says_what_the_published_architecture_says(variant: str, tmp_path: Path) -> None:
    config = {**CONFIG, **VARIANTS[variant]}
    tensors = random_weights(config)
    vocoder = code_hifigan.load(*stored(tmp_path, config, tensors))
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(9, (11,), generator=generator)
    speaker = {"speakers": 3, "f0_bins": 2, "embedder": torch.rand(3, generator=generator)}.get(variant)
    pitch = {"f0": torch.randn(11, 1, generator=generator), "f0_bins": torch.randint(6, (11,), generator=generator),
             "f0_codes": torch.randint(5, (11,), generator=generator)}  # fmt: skip
    found = vocoder.synthesize(ids, speaker, pitch.get(variant))
    expected = Slow(config, tensors).speak(ids, speaker, pitch.get(variant))
    assert expected.std() > 0.01 and len(expected) == 11 * 20
    torch.testing.assert_close(found.double(), expected, atol=2e-6, rtol=0)
    assert not any("weight_" in name or "parametrizations" in name for name in vocoder.state_dict())


def test_its_durations_are_those_of_the_published_predictor(tmp_path: Path) -> None:
    config = {**CONFIG, **DURATIONS}
    tensors = random_weights(config)
    vocoder = code_hifigan.load(*stored(tmp_path, config, tensors))
    ids = torch.arange(9)
    expected = Slow(config, tensors).durations(ids)
    assert len(set(expected.tolist())) > 2
    assert vocoder.predict_durations(ids).tolist() == expected.tolist()


def test_its_codes_of_f0_are_those_of_the_published_quantizer(tmp_path: Path) -> None:
    config = {**CONFIG, **F0_CODES}
    tensors, f0 = random_weights(config), 2 * torch.randn(24, 1, generator=torch.Generator().manual_seed(2))
    words = Slow(config, tensors).f0_vectors(f0[:, 0])[:5]  # so that different ones are chosen
    slow = Slow(config, tensors := tensors | {"quantizer.vq.level_blocks.0.k": words.float() + 0.01})
    vocoder, expected = code_hifigan.load(*stored(tmp_path, config, tensors)), slow.f0_codes(f0[:, 0])
    assert expected[:5].tolist() == [0, 1, 2, 3, 4] and vocoder.config.pitch_coder is not None
    assert vocoder.config.pitch_coder.frames_per_unit == 1  # 200 units a second, and F0 at 200 Hz
    assert vocoder.coded(f0).tolist() == expected.repeat_interleave(4).tolist()
    assert vocoder.pitch_coder is not None
    torch.testing.assert_close(vocoder.pitch_coder.decode(expected[None])[0, :, 0].double(), slow.f0_back(expected),
                               atol=2e-6, rtol=0)  # fmt: skip


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"resblock": "2"}, "resblock '2'"),
        ({"multistyle": True}, "styles"),
        ({"lambda_commit": 0.02}, "VQ-VAE"),
        ({"f0_quantizer_path": "x"}, "f0_quantizer"),
        (F0_CODES | {"sampling_rate": 4100}, "whole frames"),
        (
            F0_CODES | {"f0_quantizer": {**F0_CODES["f0_quantizer"], "f0_decoder_params": {**F0_PART, "width": 5}}},
            "differ",
        ),
        (F0_CODES | {"f0_quantizer": {**F0_CODES["f0_quantizer"], "f0_vq_params": {"levels": 2}}}, "levels=2"),
        ({"resblock_dilation_sizes": [[1, 3, 5], [1, 2, 5]]}, "different dilations"),
        ({"upsample_kernel_sizes": [10, 8]}, "odd number"),
        ({"embedding_dim": 5}, "does not describe these weights"),
        ({"upsample_rates": "x"}, "config"),
        ({"num_embeddings": 1 << 40}, "config"),
        ({"multispkr": True, "num_speakers": 1 << 40}, "speakers"),
        ({"dur_predictor_params": 3}, "usable config"),
    ],
)
def test_what_it_cannot_be_is_refused(change: dict[str, Any], said: str, tmp_path: Path) -> None:
    config = {**CONFIG, **change}
    paths = stored(tmp_path, config, random_weights(CONFIG))
    with pytest.raises(CheckpointError, match=said):
        code_hifigan.load(*paths)


def test_other_files_are_refused(tmp_path: Path) -> None:
    config, checkpoint = stored(tmp_path, CONFIG, {**random_weights(CONFIG), "stranger.weight": torch.zeros(1)})
    with pytest.raises(CheckpointError, match=r"'stranger\.weight' is no weight"):
        code_hifigan.load(config, checkpoint)
    torch.save({"model": {}}, checkpoint)
    with pytest.raises(CheckpointError, match="'generator'"):
        code_hifigan.load(config, checkpoint)
    config.write_text("{}")
    with pytest.raises(CheckpointError, match="not the config"):
        code_hifigan.load(config, checkpoint)


def test_a_folder_of_one_is_a_vocoder_and_converts_to_ours(tmp_path: Path) -> None:
    (tmp_path / "released").mkdir()
    stored(tmp_path / "released", CONFIG, random_weights(CONFIG))
    released = speechssl.load_vocoder(tmp_path / "released")
    assert main(["convert", str(tmp_path / "released"), str(tmp_path / "ours"), "--to", "vocoder"]) == 0
    ours = speechssl.load_vocoder(tmp_path / "ours")
    assert ours.card.sha256 == released.card.sha256 and ours.card.units == SpokenUnits(9, 800.0)
    assert torch.equal(ours(torch.arange(9)), released(torch.arange(9)))
    (tmp_path / "released" / "second.pt").write_bytes(b"")
    with pytest.raises(CheckpointError, match="one checkpoint"):
        speechssl.load_vocoder(tmp_path / "released")
