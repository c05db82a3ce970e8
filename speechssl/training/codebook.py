"""The codebooks or units of a finished training, as a unit model's quantizer, and the encoder whose frames it takes.

From a run's folder (`recipes.pretrain`): RUN/encoder and the newest checkpoint, of the same update. wav2vec2 and
vq_wav2vec as in `convert.codebooks`. dinosr: the teacher's blocks have a codebook each, of the last `top_layers` ones;
the unit is the codeword nearest to the block's normalised feed-forward output, as the student has to predict it.
hubert, wavlm and augmentation_invariant predict units that they were given: the most likely one of every frame.
"""

import dataclasses
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from speechssl import config
from speechssl.convert import codebooks
from speechssl.convert.codebooks import Trained
from speechssl.encoders import feed_forward
from speechssl.encoders import pretrained as native
from speechssl.encoders.pretrained import Pretrained
from speechssl.errors import CheckpointError, ConfigError
from speechssl.nn.speech_encoder import SpeechEncoder
from speechssl.quantizers.cosine import Cosine
from speechssl.quantizers.gumbel import GumbelCodebooks
from speechssl.quantizers.kmeans import KMeans
from speechssl.quantizers.mlp import MLP
from speechssl.training import checkpoint


def is_run(folder: Path) -> bool:
    """Whether `folder` is that of a training."""
    return (folder / "checkpoints").is_dir() and (folder / "config.toml").is_file()


def of_run(folder: Path, layer: int | None = None) -> Trained:
    """The codebook of a run; `layer`: of which block, where there are several (dinosr).

    Raises CheckpointError where the run is not finished, damaged or has no codebook, ConfigError for the layer.
    """
    run = config.read_toml(folder / "config.toml")
    objective, settings = run.get("objective"), run.get("settings", {})
    if not (folder / "encoder").is_dir():
        raise CheckpointError(f"{folder}: not trained to the end (no encoder/); start the same training again")
    pretrained = native.load(folder / "encoder")
    if objective != "dinosr" and layer is not None:
        raise ConfigError(f"--layer {layer} has no effect: {objective} has codebooks of one place only")
    try:
        match objective:
            case "vq_wav2vec":
                return codebooks.of_vq_wav2vec(pretrained)
            case "wav2vec2":
                held = _newest(folder, pretrained)
                names = ("quantizer.logits.weight", "quantizer.logits.bias", "quantizer.codebook")
                return codebooks.of_front_end(pretrained, GumbelCodebooks(*(held[name] for name in names)))
            case "dinosr":
                return _of_teacher(folder, pretrained, _newest(folder, pretrained), layer)
            case "hubert" | "wavlm":
                held = _newest(folder, pretrained)
                return head(pretrained, held, temperature=settings.get("temperature", 0.1))
            case "augmentation_invariant":
                return network(pretrained, _newest(folder, pretrained), layer=settings.get("layer"))
    except (KeyError, RuntimeError, TypeError) as error:
        raise CheckpointError(f"{folder}: its checkpoint is not that of {objective}: {error}") from error
    raise CheckpointError(
        f"{folder}: {objective} trains no codebook; learn one of {folder / 'encoder'}: speechssl kmeans"
    )


def head(pretrained: Pretrained, held: Mapping[str, Tensor], *, temperature: float) -> Trained:
    """The prediction head over the last layer, from the tensors of `objectives.hubert` or `wavlm`."""
    encoder, norm = pretrained.encoder, None
    if isinstance(encoder, SpeechEncoder) and encoder.transformer.norm_first:  # layers are those before the final norm
        norm = (held["encoder.transformer.norm.weight"], held["encoder.transformer.norm.bias"])
    parts = (held["projection.weight"], held["projection.bias"], held["codes"])
    return Trained(pretrained, encoder.num_layers, Cosine(*parts, torch.tensor(temperature), norm))


def network(pretrained: Pretrained, held: Mapping[str, Tensor], *, layer: int | None) -> Trained:
    """The network over a layer (None: the last), from the tensors of `objectives.augmentation_invariant`."""
    count = sum(name.startswith("linears.") for name in held) // 2
    layers = [(held[f"linears.{i}.weight"], held[f"linears.{i}.bias"]) for i in range(count)]
    return Trained(pretrained, pretrained.encoder.num_layers if layer is None else layer, MLP(layers))


def _of_teacher(folder: Path, pretrained: Pretrained, held: dict[str, Tensor], layer: int | None) -> Trained:
    encoder = pretrained.encoder
    sums, counts = held["codebooks.sums"], held["codebooks.counts"]
    if not isinstance(encoder, SpeechEncoder) or sums.ndim != 3 or counts.shape != sums.shape[:2]:
        raise CheckpointError(f"{folder}: codebooks of shape {list(sums.shape)} are not those of dinosr")
    first = encoder.num_layers - len(sums) + 1
    layers = range(first, encoder.num_layers + 1)
    if layer is None or layer not in layers:
        raise ConfigError(f"{folder}: say whose codebook, --layer {first}..{encoder.num_layers}; got {layer}")
    model = feed_forward.view_of(pretrained.card.family, encoder)
    start = "teacher.encoder."
    model.encoder.load_state_dict({k.removeprefix(start): t for k, t in held.items() if k.startswith(start)})
    card = dataclasses.replace(pretrained.card, family="feed_forward", config=config.to_dict(model.config),
                               name=f"teacher of {pretrained.card.name}")  # fmt: skip
    vectors = sums[layer - first] / counts[layer - first].unsqueeze(-1)
    return Trained(Pretrained(model, card), layer, KMeans(vectors))


def _newest(folder: Path, pretrained: Pretrained) -> dict[str, Tensor]:
    """The model of the newest whole checkpoint, which must be the one that RUN/encoder was written from."""
    path, problems = checkpoint.newest(folder / "checkpoints")
    if path is None:
        raise CheckpointError(f"{folder}: no whole checkpoint there{''.join(f'; {line}' for line in problems)}")
    try:
        held = load_file(path / "model.safetensors")
    except (OSError, ValueError, SafetensorError) as error:
        raise CheckpointError(f"{path}: {error}") from error
    for name, tensor in pretrained.encoder.state_dict().items():
        theirs = held.get(f"encoder.{name}")
        if theirs is None or not torch.equal(theirs, tensor):
            raise CheckpointError(f"{path} is not what {folder / 'encoder'} was written from ({name} differs): the "
                                  "training went on; let it end")  # fmt: skip
    return held
