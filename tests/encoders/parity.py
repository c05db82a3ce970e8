"""Compare an encoder with another library's model that holds the same random weights.

The other model ("oracle") is made by its own library and filled with random numbers; `names` says, for each of our
tensors, where the oracle keeps it. Weight-normalised weights are read as the oracle computes them, so folding the norm
is part of what is compared.
"""

import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

Outputs = list[Tensor]  # every layer the oracle shows, then its final output; each [B, T, C]
RunOracle = Callable[[Tensor, Tensor | None], Outputs]

LENGTHS = (6173, 8000, 4211, 400)  # samples; the second is the longest, the last gives one frame


def randomize(model: nn.Module, seed: int = 1) -> None:
    """Random numbers in every tensor, of a size that keeps activations and gradients alive in all layers."""
    generator = torch.Generator().manual_seed(seed)
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        if not tensor.is_floating_point() or not tensor.numel():
            continue
        noise = torch.randn(tensor.shape, generator=generator, dtype=tensor.dtype)
        scale = {1: 0.2}.get(tensor.ndim, 1 / max(1, tensor[0].numel()) ** 0.5 if tensor.ndim else 0.2)
        offset = 1.0 if tensor.ndim == 1 and name.endswith("weight") else 0.0
        tensor.data = (noise * scale + offset).abs() if name.endswith("running_var") else noise * scale + offset


def fill_from_oracle(model: nn.Module, oracle: nn.Module, names: Mapping[str, str]) -> None:
    """Load our model with the oracle's tensors; every one of ours must be named."""
    state = {ours: operator.attrgetter(theirs)(oracle).detach() for ours, theirs in names.items()}
    model.load_state_dict(state, strict=True)


def waves(dtype: torch.dtype = torch.float32, lengths: tuple[int, ...] = LENGTHS) -> tuple[Tensor, Tensor]:
    """A batch of coloured noise [B, S] with zeros behind each utterance, and the lengths [B]."""
    generator = torch.Generator().manual_seed(5)
    noise = torch.randn(len(lengths), max(lengths) + 8, generator=generator, dtype=torch.float64)
    wav = noise.unfold(1, 9, 1).mean(-1)[:, : max(lengths)]
    for row, length in zip(wav, lengths, strict=True):
        row[length:] = 0
    return wav.to(dtype), torch.tensor(lengths)


def assert_close(ours: Tensor, theirs: Tensor, *, tolerance: float, what: str, floor: float = 0.0) -> None:
    """Largest difference at most `tolerance` of the largest value of `theirs` (or of `floor` if that is larger)."""
    assert ours.shape == theirs.shape, f"{what}: {tuple(ours.shape)} against {tuple(theirs.shape)}"
    if theirs.numel() == 0:
        return
    error = (ours - theirs).abs().max().item() / max(theirs.abs().max().item(), floor)
    assert error <= tolerance, f"{what}: relative error {error:.2e} > {tolerance:.0e}"


@dataclass(frozen=True)
class Pair:
    """Our model and its oracle with the same weights, both in eval mode."""

    model: nn.Module
    oracle: nn.Module
    run_oracle: RunOracle
    names: Mapping[str, str]
    masks_right: bool = False  # the oracle's padded batches equal its single utterances
    tolerance: float = 1e-5

    def ours(self, wav: Tensor, lengths: Tensor | None = None) -> Outputs:
        """Our layers, less the last where a final norm follows (oracles show it normalised), then the final output."""
        states, _ = self.model.layers(wav, lengths)
        final, _ = self.model(wav, lengths)
        return [*(states[:-1] if self.model.config.norm_first else states), final]


def check_single(pair: Pair) -> None:
    """Every layer of one utterance."""
    wav, _ = waves(_dtype(pair))
    with torch.no_grad():
        _compare(pair.ours(wav), pair.run_oracle(wav, None), pair.tolerance, "batch of equal lengths")
        for samples in LENGTHS:
            row = wav[1:2, :samples]
            _compare(pair.ours(row), pair.run_oracle(row, None), pair.tolerance, f"{samples} samples")


def check_padded(pair: Pair) -> None:
    """Our padded batch against the oracle's single utterances, and its padded batch where it masks as it should."""
    wav, lengths = waves(_dtype(pair))
    with torch.no_grad():
        batch = pair.ours(wav, lengths)
        together = pair.run_oracle(wav, lengths) if pair.masks_right else None
        for row, (samples, frames) in enumerate(zip(lengths, pair.model.frame_lengths(lengths), strict=True)):
            ours = [x[row : row + 1, :frames] for x in batch]
            alone = pair.run_oracle(wav[row : row + 1, :samples], None)
            _compare(ours, alone, pair.tolerance, f"row {row} against the oracle alone")
            if together is not None:
                theirs = [x[row : row + 1, :frames] for x in together]
                _compare(ours, theirs, pair.tolerance, f"row {row} against the oracle's batch")


def check_gradients(pair: Pair, *, padded: bool) -> None:
    """Gradients of a random weighting of all layers, with respect to the waveform and to every parameter."""
    wav, lengths = waves(_dtype(pair))
    if padded and not pair.masks_right:
        _check_gradients_one_by_one(pair, wav, lengths)
        return
    given = lengths if padded else None
    frames = pair.model.frame_lengths(lengths if padded else torch.full_like(lengths, wav.shape[1]))
    ours_wav, theirs_wav = wav.clone().requires_grad_(), wav.clone().requires_grad_()
    _weighted_sum(pair.ours(ours_wav, given), frames).backward()
    _weighted_sum(pair.run_oracle(theirs_wav, given), frames).backward()
    _compare_gradients(pair, ours_wav.grad, theirs_wav.grad)


def _check_gradients_one_by_one(pair: Pair, wav: Tensor, lengths: Tensor) -> None:
    frames = pair.model.frame_lengths(lengths)
    ours_wav, theirs_wav = wav.clone().requires_grad_(), wav.clone().requires_grad_()
    _weighted_sum(pair.ours(ours_wav, lengths), frames).backward()
    for row, samples in enumerate(lengths):
        states = pair.run_oracle(theirs_wav[row : row + 1, :samples], None)
        _weighted_sum(states, frames[row : row + 1], first_row=row).backward()
    _compare_gradients(pair, ours_wav.grad, theirs_wav.grad)


def _weighted_sum(states: Outputs, frames: Tensor, first_row: int = 0) -> Tensor:
    total = states[0].new_zeros(())
    for row, count in enumerate(frames.tolist()):
        for layer, state in enumerate(states):
            generator = torch.Generator().manual_seed(1000 * (first_row + row) + layer)
            weights = torch.randn(count, state.shape[-1], generator=generator, dtype=torch.float64).to(state.dtype)
            total = total + (state[row, :count] * weights).sum()
    return total


def _compare_gradients(pair: Pair, ours_wav: Tensor | None, theirs_wav: Tensor | None) -> None:
    assert ours_wav is not None and theirs_wav is not None
    assert theirs_wav.abs().max() > 0
    assert_close(ours_wav, theirs_wav, tolerance=pair.tolerance, what="gradient of the waveform")
    theirs = {name: p.grad for name, p in pair.oracle.named_parameters() if p.grad is not None}
    pair.oracle.zero_grad(set_to_none=True)
    for name, parameter in pair.model.named_parameters():
        assert parameter.grad is not None, f"no gradient reaches {name}"
        # Through whatever makes the oracle's tensor (a weight norm, or nothing) down to its own parameters.
        operator.attrgetter(pair.names[name])(pair.oracle).backward(parameter.grad)
    ours = {name: p.grad for name, p in pair.oracle.named_parameters() if p.grad is not None}
    assert ours.keys() == theirs.keys()
    # Some true gradients are 0 (the keys' bias) or tiny beside the rest; their rounding errors are measured against a
    # share of the largest gradient: 1e-3 of it in float64, a tenth in float32.
    share = 1e-3 if _dtype(pair) == torch.float64 else 0.1
    floor = share * max(float(g.abs().max()) for g in theirs.values())
    for name, gradient in ours.items():
        assert_close(gradient, theirs[name], tolerance=pair.tolerance, what=f"gradient of {name}", floor=floor)
    pair.model.zero_grad(set_to_none=True)
    pair.oracle.zero_grad(set_to_none=True)


def _compare(ours: Outputs, theirs: Outputs, tolerance: float, what: str) -> None:
    assert len(ours) == len(theirs), f"{what}: {len(ours)} outputs against {len(theirs)}"
    for layer, (a, b) in enumerate(zip(ours, theirs, strict=True)):
        assert_close(a, b, tolerance=tolerance, what=f"{what}, output {layer}")


def _dtype(pair: Pair) -> torch.dtype:
    return next(pair.model.parameters()).dtype
