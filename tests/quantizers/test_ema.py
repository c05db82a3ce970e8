"""Online clustering by moving averages."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from speechssl.errors import ConfigError
from speechssl.quantizers.ema import EmaCodebooks


def test_an_update_by_hand() -> None:
    """τ = 0.9: of codewords at 0 and 10, frames 1 and 3 choose the first, none the second."""
    books = EmaCodebooks(1, 2)
    books.sums.copy_(torch.tensor([[[0.0], [10.0]]]))
    x = torch.tensor([[[1.0], [3.0]]])
    codes = books.encode(x)
    assert codes.tolist() == [[0], [0]]
    books.collect(x, codes)
    books.update()
    assert books.sums.flatten().tolist() == pytest.approx([0.1 * 4, 10])
    assert books.counts.flatten().tolist() == pytest.approx([0.9 + 0.1 * 2, 1])
    assert books.vectors.flatten().tolist() == pytest.approx([0.4 / 1.1, 10])
    torch.testing.assert_close(books.decode(codes), books.vectors[:, [0, 0]])


def slow_update(books: EmaCodebooks, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Frame by frame in float64."""
    sums, counts = books.sums.double().clone(), books.counts.double().clone()
    for group in range(books.groups):
        words = [s / n for s, n in zip(sums[group], counts[group], strict=True)]
        for word in range(books.entries):
            mine = [
                frame
                for frame in x[group].double()
                if min(range(books.entries), key=lambda v: float(((frame - words[v]) ** 2).sum())) == word
            ]
            if mine:
                sums[group, word] = books.decay * sums[group, word] + (1 - books.decay) * sum(mine)
                counts[group, word] = books.decay * counts[group, word] + (1 - books.decay) * len(mine)
    return sums, counts


def test_updates_are_those_of_a_slow_oracle() -> None:
    torch.manual_seed(3)
    books = EmaCodebooks(5, 6, 3, decay=0.8)
    for _ in range(3):
        x = torch.randn(3, 20, 5)
        sums, counts = slow_update(books, x)
        books.collect(x, books.encode(x))
        books.update()
        torch.testing.assert_close(books.sums.double(), sums, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(books.counts.double(), counts, rtol=1e-6, atol=1e-6)


def test_micro_batches_give_what_one_batch_does() -> None:
    torch.manual_seed(4)
    one, other = EmaCodebooks(4, 5, 2), EmaCodebooks(4, 5, 2)
    other.load_state_dict(one.state_dict())
    x = torch.randn(2, 30, 4)
    one.collect(x, one.encode(x))
    for part in x.split([7, 0, 23], dim=1):
        other.collect(part, other.encode(part))
    one.update()
    other.update()
    torch.testing.assert_close(one.sums, other.sums, rtol=1e-5, atol=1e-6)
    assert torch.equal(one.counts, other.counts)
    before = {name: tensor.clone() for name, tensor in one.state_dict().items()}
    one.update()  # nothing was collected since
    assert all(torch.equal(tensor, before[name]) for name, tensor in one.state_dict().items())


def test_frames_that_are_not_finite_change_nothing() -> None:
    books = EmaCodebooks(3, 4)
    before = books.sums.clone()
    x = torch.full((1, 2, 3), float("nan"))
    books.collect(x, books.encode(x))
    books.update()
    assert torch.equal(books.sums, before) and bool((books.counts == 1).all())


def test_it_starts_like_frames_normalised_over_time() -> None:
    vectors = EmaCodebooks(6, 50, 2).vectors
    torch.testing.assert_close(vectors.mean(1), torch.zeros(2, 6), atol=1e-5, rtol=0)
    torch.testing.assert_close(vectors.var(1, correction=0), torch.ones(2, 6), atol=1e-3, rtol=0)
    with pytest.raises(ConfigError):
        EmaCodebooks(6, 1)


def test_it_finds_clusters() -> None:
    torch.manual_seed(0)
    centres = torch.tensor([[2.0, 0], [-2, 1], [0, -2]])
    books = EmaCodebooks(2, 3)
    for _ in range(80):
        x = (centres[torch.randint(3, (60,))] + 0.05 * torch.randn(60, 2)).unsqueeze(0)
        books.collect(x, books.encode(x))
        books.update()
    assert float(torch.cdist(centres, books.vectors[0]).min(1).values.max()) < 0.1


WORKER = """
import sys, torch, torch.distributed as dist
from speechssl.quantizers.ema import EmaCodebooks
dist.init_process_group("gloo")
found = open(f"{sys.argv[1]}.{dist.get_rank()}", "w")  # not stdout, where gloo speaks in between
for cut in (11, 30):  # in the second, one process has no frames
    torch.manual_seed(4)
    books = EmaCodebooks(4, 5, 2)
    x = torch.randn(2, 30, 4)
    mine = x[:, :cut] if dist.get_rank() == 0 else x[:, cut:]
    books.collect(mine, books.encode(mine))
    books.update()
    print(float(books.sums.double().sum()), float(books.counts.sum()), file=found)
found.close()
dist.destroy_process_group()
"""


def test_two_processes_give_what_one_does(tmp_path: Path) -> None:
    torch.manual_seed(4)
    books = EmaCodebooks(4, 5, 2)
    x = torch.randn(2, 30, 4)
    books.collect(x, books.encode(x))
    books.update()
    script = tmp_path / "worker.py"
    script.write_text(WORKER)
    root = Path(__file__).parent.parent.parent
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", script, script]
    environment = {**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False, env=environment)
    assert done.returncode == 0, done.stderr[-2000:]
    expected = [float(books.sums.double().sum()), float(books.counts.sum())]
    for rank in (0, 1):
        lines = Path(f"{script}.{rank}").read_text().splitlines()
        assert len(lines) == 2
        for line in lines:
            assert [float(value) for value in line.split()] == pytest.approx(expected, rel=1e-5)
