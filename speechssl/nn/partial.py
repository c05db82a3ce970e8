"""Partial fine-tuning: of a pretrained part only norms and attention learn, LNA (arXiv:2010.12829).

arXiv:2204.02967 has the encoder's part of it (LNA-E), the decoder's (LNA-D) and both for speech-to-unit
translation.
"""

from torch import nn

from speechssl.errors import ConfigError
from speechssl.nn.attention import Attention
from speechssl.nn.speech_encoder import SpeechEncoder


def rest_of(model: nn.Module) -> list[nn.Parameter]:
    """The parameters that LNA leaves as they are: all but those of layer norms and of attention (a decoder's to frames
    too). A front end's norms are left as they are. ConfigError for a model without attention.
    """
    front = set(model.conv.modules()) if isinstance(model, SpeechEncoder) else set()
    modules = [module for module in model.modules() if module not in front]
    attention = [module for module in modules if isinstance(module, Attention)]
    if not attention:
        raise ConfigError(f"{type(model).__module__} has no attention (of nn.attention's kind), which LNA would train: "
                          "choose trained='full'")  # fmt: skip
    chosen = [*attention, *(module for module in modules if isinstance(module, nn.LayerNorm))]
    learn = {id(parameter) for module in chosen for parameter in module.parameters()}
    return [parameter for parameter in model.parameters() if id(parameter) not in learn]
