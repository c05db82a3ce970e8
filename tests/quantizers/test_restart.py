"""Dead codewords start anew at frames."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from speechssl.errors import ConfigError
from speechssl.quantizers.ema import EmaCodebooks
from speechssl.quantizers.restart import DeadCodes, draw_keys

ROOT = Path(__file__).parents[2]


def test_the_dead_take_the_frames_with_the_smallest_keys() -> None:
    """Of three codewords, the first is chosen; after two updates the others take frames 7 (key 0.1) and 5 (0.4)."""
    dead = DeadCodes(1, 3, 1, after=2)
    x = torch.tensor([[[5.0], [6.0], [7.0]]])
    codes, keys = torch.zeros(3, 1, dtype=torch.int64), torch.tensor([0.4, 0.9, 0.1], dtype=torch.float64)
    dead.collect(x, codes, keys)
    assert not dead.update()[0].any()
    dead.collect(x, codes, keys)
    which, where = dead.update()
    assert which.tolist() == [[False, True, True]] and where[0, 1:].flatten().tolist() == [7, 5]
    assert dead.idle.tolist() == [[0, 0, 0]]


def test_with_fewer_frames_than_dead_the_others_wait() -> None:
    dead = DeadCodes(2, 4, 3, after=1)
    dead.collect(torch.ones(2, 2, 3), torch.zeros(2, 2, dtype=torch.int64), torch.tensor([0.5, 0.6]).double())
    assert dead.update()[0].tolist() == [[False, True, True, False]] * 2
    assert dead.idle.tolist() == [[0, 0, 0, 1]] * 2
    assert not dead.update()[0].any()  # an update without any frame: nobody has somewhere to go
    assert dead.idle.tolist() == [[1, 1, 1, 2]] * 2


def test_codebooks_put_them_there_with_a_number_of_one() -> None:
    books = EmaCodebooks(1, 2, restart_after=1)
    books.sums.copy_(torch.tensor([[[0.0], [10.0]]]))
    x = torch.tensor([[[1.0], [3.0]]])
    books.collect(x, books.encode(x), torch.tensor([0.3, 0.2], dtype=torch.float64))
    books.update()
    assert books.vectors.flatten().tolist() == pytest.approx([0.4 / 1.1, 3]) and books.counts[0, 1] == 1
    with pytest.raises(ConfigError, match="keys"):
        books.collect(x, books.encode(x))


def test_small_codewords_stay_within_reach_in_small_batches() -> None:
    """What is said of `start`: of unit codewords small batches leave most out for good, of small ones few."""
    torch.manual_seed(0)
    centres = 0.8 * torch.randn(200, 64)

    def frames(count: int) -> torch.Tensor:
        return (centres[torch.randint(200, (count,))] + 0.6 * torch.randn(count, 64)).unsqueeze(0)

    used = {}
    for start in ("unit", "small"):
        books = EmaCodebooks(64, 64, start=start)
        for _ in range(60):
            x = frames(100)
            books.collect(x, books.encode(x))
            books.update()
        used[start] = len(books.encode(frames(4000)).unique())
    assert used["small"] > 1.5 * used["unit"], used


def test_keys_are_an_utterances_own() -> None:
    keys = draw_keys(torch.tensor([3, 0, 2]), torch.tensor([8, 9, 7]))
    assert torch.equal(keys[3:], draw_keys(torch.tensor([2]), torch.tensor([7]))) and len(keys.unique()) == 5


SCRIPT = """
import sys, torch, torch.distributed as dist
from speechssl.quantizers.restart import DeadCodes
dist.init_process_group("gloo")
torch.manual_seed(0)
x, keys, codes = torch.randn(2, 10, 3), torch.rand(10).double(), torch.randint(3, (10, 2))
mine = slice(0, 7) if dist.get_rank() == 0 else slice(7, 10)
dead, alone = DeadCodes(2, 6, 3, after=1), DeadCodes(2, 6, 3, after=1)
dead.collect(x[:, mine], codes[mine], keys[mine])
which, where = dead.update()
dist.destroy_process_group()
for a, b, c in zip(x.split(5, 1), codes.split(5), keys.split(5)):
    alone.collect(a, b, c)
expected = alone.update()
assert torch.equal(which, expected[0]) and which.sum() > 4
assert torch.equal(where[which], expected[1][which])
open(f"{sys.argv[1]}.{mine.start}", "w").close()
"""


def test_two_processes_come_to_what_one_does(tmp_path: Path) -> None:
    (tmp_path / "run.py").write_text(SCRIPT)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run([*command, str(tmp_path / "run.py"), str(tmp_path / "fine")], capture_output=True, text=True,
                          env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)})  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    assert len(list(tmp_path.glob("fine.*"))) == 2
