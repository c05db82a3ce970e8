"""ABX against a slow float64 form, and by hand."""

import itertools
import math
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from speechssl.errors import DataError
from speechssl.metrics.abx import abx
from speechssl.metrics.abx_distance import all_pairs, frame_distances, warp
from speechssl.metrics.abx_items import Item, make_items, read_items, write_items
from speechssl.metrics.alignments import read_alignments

KINDS = ("angular", "cosine", "euclidean", "kl", "identical")


def slow_frame_distance(x: np.ndarray, y: np.ndarray, kind: str) -> float:
    norm = math.sqrt(float(x @ x)) * math.sqrt(float(y @ y))
    match kind:
        case "angular":
            return math.acos(max(-1.0, min(1.0, float(x @ y) / norm))) / math.pi
        case "cosine":
            return 1 - float(x @ y) / norm
        case "euclidean":
            return math.sqrt(float(((x - y) ** 2).sum()))
        case "kl":
            return float((x * np.log(x / y)).sum() + (y * np.log(y / x)).sum()) / 2
        case _:
            return 0.0 if (x == y).all() else 1.0


def slow_warp(costs: np.ndarray) -> float:
    """Every path, one by one."""
    best: tuple[float, int] = (math.inf, 0)
    end = (costs.shape[0] - 1, costs.shape[1] - 1)

    def walk(i: int, j: int, total: float, steps: int) -> None:
        nonlocal best
        total, steps = total + float(costs[i, j]), steps + 1
        if (i, j) == end:
            best = min(best, (round(total, 12), steps))
            return
        for di, dj in ((1, 0), (0, 1), (1, 1)):
            if i + di <= end[0] and j + dj <= end[1]:
                walk(i + di, j + dj, total, steps)

    walk(0, 0, 0.0, 0)
    return best[0] / best[1]


def slow_distance(x: np.ndarray, y: np.ndarray, kind: str) -> float:
    return slow_warp(np.array([[slow_frame_distance(a, b, kind) for b in y] for a in x]))


def slow_abx(items: list[Item], stretches: list[np.ndarray], kind: str) -> tuple[float, float]:
    """One triple at a time."""
    cells: dict[str, dict] = {"within": defaultdict(list), "across": defaultdict(list)}
    for (i, a), (j, b), (k, x) in itertools.permutations(enumerate(items), 3):
        same = a.context == b.context == x.context and a.speaker == b.speaker
        if not same or a.phone != x.phone or b.phone == a.phone:
            continue
        to_a, to_b = slow_distance(stretches[k], stretches[i], kind), slow_distance(stretches[k], stretches[j], kind)
        error = 0.5 if abs(to_a - to_b) < 1e-9 else float(to_b < to_a)
        part = "within" if x.speaker == a.speaker else "across"
        cells[part][(a.phone, b.phone), (a.speaker, x.speaker), a.context].append(error)
    return tuple(nested_mean({key: float(np.mean(found)) for key, found in cells[part].items()}) for part in cells)


def nested_mean(cells: dict) -> float:
    """Over contexts, then speakers, then pairs of phones."""
    for _ in range(3):
        groups = defaultdict(list)
        for key, value in cells.items():
            groups[key[:-1]].append(value)
        cells = {key: float(np.mean(found)) for key, found in groups.items()}
    return cells[()]


def corpus(seed: int = 0, channels: int = 4) -> tuple[list[Item], dict[str, Tensor]]:
    """Phones of 1 to 4 frames in two contexts by two speakers, eight tokens per recording of 25 frames a second."""
    random = np.random.default_rng(seed)
    centres = {phone: random.random(channels) for phone in "abc"}
    items, frames = [], {}
    for name, speaker in (("u1", "s1"), ("u2", "s2"), ("u3", "s1")):
        rows: list[np.ndarray] = []
        for _ in range(8):
            phone, count = str(random.choice(list("abc"))), int(random.integers(1, 5))
            context = ("p", "q") if random.random() < 0.6 else ("q", "p")
            onset = len(rows) / 25
            rows += list(np.abs(centres[phone] + 0.3 * random.normal(size=(count, channels))) + 0.01)
            items.append(Item(name, onset, len(rows) / 25, phone, *context, speaker))
        frames[name] = torch.from_numpy(np.array(rows))
    return items, frames


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_the_average_over_triples_of_the_slow_form(kind: str) -> None:
    items, frames = corpus()
    if kind == "kl":
        frames = {name: x / x.sum(-1, keepdim=True) for name, x in frames.items()}
    if kind == "identical":
        frames = {name: (3 * x[:, :1]).long() for name, x in frames.items()}
    found = abx(items, frames, rate_hz=25, centre_s=0.02, distance=kind)
    stretches = [frames[i.file][round(i.onset_s * 25) : round(i.offset_s * 25)].double().numpy() for i in items]
    within, across = slow_abx(items, stretches, kind)
    assert found.within == pytest.approx(within, abs=1e-9) and found.across == pytest.approx(across, abs=1e-9)
    assert found.cells_within > 4 and found.cells_across > 4 and found.without_frames == 0


def test_a_case_by_hand() -> None:
    """One frame each on a line: a at 0 and 1, b at 3 and 0.4; x = 0: nearer to a (1) than b at 3, not than b at 0.4."""
    values = {"a1": 0.0, "a2": 1.0, "b1": 3.0, "b2": 0.4}
    items = [Item(name, 0.0, 0.02, name[0], "p", "q", "s") for name in values]
    frames = {name: torch.tensor([[value]]) for name, value in values.items()}
    found = abx(items, frames, rate_hz=50, centre_s=0.01, distance="euclidean")
    # x = a1: a2 at 1; b1 at 3: right, b2 at 0.4: wrong. x = a2: a1 at 1; b1 at 2: right, b2 at 0.6: wrong.
    # x = b1: b2 at 2.6; a1 at 3: right, a2 at 2: wrong. x = b2: b1 at 2.6; a1 at 0.4: wrong, a2 at 0.6: wrong.
    assert found.within == pytest.approx((0.5 + 0.75) / 2) and found.cells_within == 2
    assert math.isnan(found.across) and found.cells_across == 0


def test_equal_frames_are_half_an_error_and_perfect_ones_none() -> None:
    items, frames = corpus()
    same = {name: torch.ones_like(x) for name, x in frames.items()}
    assert abx(items, same, rate_hz=25, centre_s=0.02).within == 0.5
    perfect = {name: x.clone() for name, x in frames.items()}
    for item in items:
        rows = slice(round(item.onset_s * 25), round(item.offset_s * 25))
        perfect[item.file][rows] = torch.eye(4, dtype=x_dtype(perfect))["abc".index(item.phone)]
    found = abx(items, perfect, rate_hz=25, centre_s=0.02)
    assert found.within == 0 and found.across == 0


def x_dtype(frames: dict[str, Tensor]) -> torch.dtype:
    return next(iter(frames.values())).dtype


def test_the_warp_is_the_best_of_all_paths_whatever_the_padding() -> None:
    random = np.random.default_rng(0)
    sizes = [(1, 1), (1, 5), (5, 1), (3, 4), (5, 5), (4, 2)]
    costs = torch.full((len(sizes), 5, 5), float("nan"), dtype=torch.float64)
    whole = [random.integers(0, 3, size) / 2 for size in sizes]  # with ties
    for block, values in zip(costs, whole, strict=True):
        block[: values.shape[0], : values.shape[1]] = torch.from_numpy(values)
    costs = costs.nan_to_num(9.0)
    found = warp(costs, torch.tensor([n for n, _ in sizes]), torch.tensor([m for _, m in sizes]))
    assert found.tolist() == pytest.approx([slow_warp(values) for values in whole])


@pytest.mark.parametrize("kind", KINDS)
def test_distances_are_symmetric_and_those_of_the_slow_form(kind: str) -> None:
    random = np.random.default_rng(1)
    stretches = [torch.from_numpy(random.dirichlet(np.ones(3), size=n)) for n in (1, 2, 4, 3)]
    if kind == "identical":
        stretches = [(2 * x[:, :1]).long() for x in stretches]
    found = all_pairs(stretches, kind)
    assert torch.equal(found, found.T) and not found.diagonal().any()
    for i, j in itertools.combinations(range(4), 2):
        expected = slow_distance(stretches[i].double().numpy(), stretches[j].double().numpy(), kind)
        assert float(found[i, j]) == pytest.approx(expected, abs=1e-6)


def test_an_unknown_distance_is_named() -> None:
    with pytest.raises(DataError, match="manhattan"):
        frame_distances(torch.ones(1, 1), torch.ones(1, 1), "manhattan")


def alignment(folder: Path) -> Path:
    rows = [("u", 0.0, 0.1, "SIL"), ("u", 0.1, 0.2, "a"), ("u", 0.2, 0.3, "b"), ("u", 0.3, 0.4, "a"),
            ("u", 0.4, 0.5, "c"), ("u", 0.6, 0.7, "a"), ("u", 0.7, 0.8, "b"), ("u", 0.8, 0.9, "c")]  # fmt: skip
    path = folder / "phones.tsv"
    path.write_text("".join("\t".join(map(str, row)) + "\n" for row in rows))
    return path


def test_items_are_phones_between_phones(tmp_path: Path) -> None:
    found = read_alignments(alignment(tmp_path))
    items = make_items(found, {"u": "s"})
    assert [(i.previous, i.phone, i.next) for i in items] == [("a", "b", "a"), ("b", "a", "c"), ("a", "b", "c")]
    assert (items[0].onset_s, items[0].offset_s) == (0.1, 0.4)
    alone = make_items(found, {"u": "s"}, on="phone", shift_s=-0.05)
    assert (alone[0].onset_s, alone[0].offset_s) == pytest.approx((0.15, 0.25))
    write_items(tmp_path / "a.item", items)
    assert read_items(tmp_path / "a.item") == items
    assert (tmp_path / "a.item").read_text().splitlines()[1] == "u 0.100000 0.400000 b a a s"


def test_what_cannot_be_used_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="'u' has an alignment and no speaker"):
        make_items(read_alignments(alignment(tmp_path)), {})
    (tmp_path / "bad.item").write_text("#file\nu 0.1 0.4 b a a s\nu 0.1 x b a a s\n")
    with pytest.raises(DataError, match=r"bad.item:3"):
        read_items(tmp_path / "bad.item")
    with pytest.raises(DataError, match="'u'"):
        abx([Item("u", 0, 1, "a", "b", "c", "s")], {}, rate_hz=50)
    with pytest.raises(DataError, match="spaces"):
        write_items(tmp_path / "x.item", [Item("u 1", 0, 1, "a", "b", "c", "s")])


def test_caps_draw_by_seed_and_change_little() -> None:
    items, frames = corpus(seed=3)
    whole = abx(items, frames, rate_hz=25, centre_s=0.02, any_context=True)
    capped = [abx(items, frames, rate_hz=25, centre_s=0.02, any_context=True, max_items=3, seed=s) for s in (0, 0, 1)]
    assert capped[0] == capped[1] != capped[2] and capped[0].items < whole.items
