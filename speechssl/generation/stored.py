"""What folders of sequence-to-sequence models need beside `units.stored`: hashes that stay, tensors without copies."""

from pathlib import Path
from typing import Any

from torch import nn

from speechssl import config, files
from speechssl.decoders import seq2seq, transformer
from speechssl.nn import adaptor
from speechssl.units.stored import check_shapes, without


def plain_model(model: seq2seq.Config) -> dict[str, Any]:
    """A config's values for a hash, without settings that came later and have no effect."""
    values = config.to_dict(model)
    tasks = [{**task, "decoder": without(task["decoder"], transformer.LATER)} for task in values["tasks"]]
    return {**values, "adaptor": without(values["adaptor"], adaptor.LATER),
            "decoder": without(values["decoder"], transformer.LATER), "tasks": tasks}  # fmt: skip


def plain_decoder(decoder: transformer.Config) -> dict[str, Any]:
    """The same of a decoder alone."""
    return without(config.to_dict(decoder), transformer.LATER)


def fill(module: nn.Module, folder: Path) -> None:
    """Give a module made on the meta device the tensors of model.safetensors. ValueError where they are not its own."""
    from safetensors.torch import load_file

    files.check_regular(folder / "model.safetensors")
    tensors = load_file(folder / "model.safetensors")
    check_shapes(module, tensors)
    module.load_state_dict(tensors, assign=True)
