"""Fine-tuned recognisers of Hugging Face and fairseq as ours."""

from pathlib import Path

import torch

from speechssl.convert import recognizers
from speechssl.errors import CheckpointError
from speechssl.nn.adapters import add_adapters
from speechssl.nn.frame_head import FrameHead, Head
from speechssl.nn.speech_encoder import SpeechEncoder
from speechssl.recognition.model import Recognizer, RecognizerCard


def from_elsewhere(spec: str | Path, *, language: str | None = None) -> Recognizer:
    """The recogniser of a folder or file, see `convert.recognizers`. Raises CheckpointError."""
    found = recognizers.load(spec, language=language)
    pretrained = found.encoder.pretrained
    encoder = pretrained.encoder
    if not isinstance(encoder, SpeechEncoder):
        raise CheckpointError(f"{spec}: a {pretrained.card.family} encoder cannot be a recogniser's")
    if found.adapters:
        bottleneck = found.adapters.get("0.down.bias", torch.zeros(0))
        if bottleneck.ndim != 1 or not 0 < len(bottleneck) <= 1 << 16:
            raise CheckpointError(f"{spec}: adapters of an odd shape")
        add_adapters(encoder, len(bottleneck))
        named = {
            f"{i}.adapter.{rest}": t for i, _, rest, t in ((*k.partition("."), t) for k, t in found.adapters.items())
        }
        left = encoder.transformer.layers.load_state_dict(named, strict=False)
        if left.unexpected_keys or any(".adapter." in key for key in left.missing_keys):
            raise CheckpointError(f"{spec}: adapters do not fit the encoder: {left.unexpected_keys[:3]}")
    head = FrameHead(Head(), encoder, len(found.vocabulary))
    head.output.load_state_dict({"weight": found.weight.float(), "bias": found.bias.float()})
    name = pretrained.card.name + (f", {language}" if language else "")
    card = RecognizerCard(name, pretrained.card.licence, {"source": found.encoder.format})
    return Recognizer(encoder, pretrained.card, head, found.vocabulary, card)
