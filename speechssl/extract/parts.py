"""Which part of a job this process does: "I/N", or told by a Slurm array or by torchrun, where that is asked for."""

from collections.abc import Mapping

from speechssl.errors import ConfigError


def part(text: str, environment: Mapping[str, str]) -> tuple[int, int]:
    """(i, n) with 0 <= i < n of "I/N", "slurm" or "torchrun". ConfigError where the text or the environment is wrong.

    slurm: the tasks of an array, whatever number it starts from, if no number is left out (sbatch --array=0-99 or
    1-100, not 1,5,7). torchrun: RANK of WORLD_SIZE.
    """
    if text == "slurm":
        return _slurm(environment)
    if text == "torchrun":
        rank, size = (_number(environment, name, text) for name in ("RANK", "WORLD_SIZE"))
        if not rank < size:
            raise ConfigError(f"--shard torchrun: RANK is {rank}, WORLD_SIZE {size}")
        return rank, size
    index, _, count = text.partition("/")
    if not (_is_number(index) and _is_number(count) and int(index) < int(count)):
        raise ConfigError(f"--shard {text}: expected I/N with I in 0..N-1, such as 0/4, or slurm, or torchrun")
    return int(index), int(count)


def own_gpu(environment: Mapping[str, str]) -> str:
    """The GPU of this torchrun rank, as CUDA_VISIBLE_DEVICES wants it. ConfigError where ranks outnumber GPUs."""
    rank = _number(environment, "LOCAL_RANK", "torchrun")
    visible = environment.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        return str(rank)
    devices = [device for device in visible.split(",") if device]
    if rank >= len(devices):
        raise ConfigError(f"--shard torchrun: LOCAL_RANK is {rank}, CUDA_VISIBLE_DEVICES has {len(devices)} GPUs")
    return devices[rank]


def _slurm(environment: Mapping[str, str]) -> tuple[int, int]:
    names = (f"SLURM_ARRAY_TASK_{word}" for word in ("ID", "COUNT", "MIN", "MAX"))
    number, count, first, last = (_number(environment, name, "slurm") for name in names)
    if last - first != count - 1 or not first <= number <= last:
        raise ConfigError(f"--shard slurm: {count} tasks from {first} to {last} leave numbers out; take an array such "
                          "as --array=0-99, and --shard I/N to do single parts again")  # fmt: skip
    return number - first, count


def _number(environment: Mapping[str, str], name: str, asked: str) -> int:
    value = environment.get(name)
    if value is None:
        raise ConfigError(f"--shard {asked}: {name} is not set; is this process started by {asked}?")
    if not _is_number(value):
        raise ConfigError(f"--shard {asked}: {name} is {value!r}")
    return int(value)


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal()
