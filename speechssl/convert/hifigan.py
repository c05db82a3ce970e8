"""What released HiFi-GAN generators of units and of mels have in common: settings, and names of weights."""

from collections.abc import Mapping
from typing import Any

from speechssl.errors import CheckpointError

_BRANCH = {"convs1": "dilated", "convs2": "last"}
LAST_SLOPE = 0.01  # of the leaky ReLU before the last convolution: torch's default


def generator_settings(values: Mapping[str, Any], *, where: str) -> dict[str, Any]:
    """`vocoders.generators`' settings of a config.json.

    CheckpointError for what we do not have; KeyError, TypeError and ValueError for what is none.
    """
    if str(values.get("resblock", "1")) != "1":
        raise CheckpointError(f"{where}: resblock {values['resblock']!r}; only '1' is supported")
    dilations = {tuple(one) for one in values["resblock_dilation_sizes"]}
    if len(dilations) != 1:
        raise CheckpointError(f"{where}: residual branches with different dilations, which is not supported here")
    generator = {"kind": "wave", "channels": values["upsample_initial_channel"],
                 "strides": tuple(values["upsample_rates"]), "up_kernels": tuple(values["upsample_kernel_sizes"]),
                 "kernels": tuple(values["resblock_kernel_sizes"]), "dilations": next(iter(dilations)),
                 "last_kernel": 0, "activation": "leaky_relu"}  # fmt: skip
    if any((kernel - stride) % 2 for kernel, stride in zip(generator["up_kernels"], generator["strides"],
                                                          strict=True)):  # fmt: skip
        raise CheckpointError(f"{where}: upsampling kernels that are longer than their strides by an odd number")
    return generator


def generator_name(stem: str, num_kernels: int) -> str:
    """Our name of a generator's layer, of a unit vocoder or of mels; "" where it has none such."""
    match stem.split("."):
        case ["conv_pre"]:
            return "generator.first"
        case ["conv_post"]:
            return "generator.last"
        case ["ups" | "upsampler", number]:
            return f"generator.blocks.{number}.1"
        case ["resblocks", number, ("convs1" | "convs2") as which, unit] if number.isdecimal():
            block, branch = divmod(int(number[:9]), num_kernels)
            return f"generator.blocks.{block}.2.branches.{branch}.{unit}.{_BRANCH[which]}"
    return ""
