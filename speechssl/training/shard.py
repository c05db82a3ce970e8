"""FSDP2: parameters, gradients and moments divided over the processes (ZeRO-3, arXiv:1910.02054), by PyTorch's engine.

Each transformer block is gathered when its turn comes and let go after it; the rest of the objective is one more part.
Checkpoints hold whole tensors, so that a run may go on with another number of processes, or unsharded.
"""

from collections.abc import Mapping

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from speechssl.errors import ConfigError
from speechssl.nn.transformer import Block, Transformer
from speechssl.training.distributed import Group


def shard(objective: nn.Module, group: Group) -> FSDPModule:
    """Divide the objective over the group, in place, before an optimizer is made for its parameters.

    Raises ConfigError without several processes, and with layer drop: a process that skips a block would leave the
    others waiting for its part.
    """
    if group.world == 1:
        raise ConfigError("training.shard needs several processes: torchrun --nproc-per-node N -m recipes.pretrain ...")
    if any(isinstance(module, Transformer) and module.layer_drop for module in objective.modules()):
        raise ConfigError("training.shard does not go with dropout.layer > 0: all processes must run the same blocks")
    mesh = init_device_mesh(group.device.type, (group.world,))
    for module in objective.modules():
        if isinstance(module, Block):
            fully_shard(module, mesh=mesh)
    # What is no block stays gathered until backward: the engine finds no tensor in an Outcome to gather it again at.
    return fully_shard(objective, mesh=mesh, reshard_after_forward=False)


def share_buffers(objective: nn.Module) -> None:
    """The first process's buffers (codebooks, counts) for all, as DistributedDataParallel does in each forward."""
    for buffer in objective.buffers():
        dist.broadcast(buffer, 0)


def whole(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same with divided tensors put together: a call that all processes must make."""
    return {name: tensor.full_tensor() if isinstance(tensor, DTensor) else tensor for name, tensor in tensors.items()}


def divided(tensors: Mapping[str, Tensor], like: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The inverse: whole tensors divided as those of `like` are, where they are. All processes must call it."""
    found = {}
    for name, tensor in tensors.items():
        model = like.get(name)
        if isinstance(model, DTensor) and tensor.shape == model.shape:
            tensor = distribute_tensor(tensor.to(model.device), model.device_mesh, model.placements)
        found[name] = tensor
    return found


def divided_moments(tensors: Mapping[str, Tensor], optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Moments of `checkpoint.optimizer_tensors`, divided as their parameters are."""
    parameters = [p for own in optimizer.param_groups for p in own["params"]]
    like = {name: parameters[int(name.partition(".")[0])] for name in tensors}
    return divided(tensors, like)
