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
from speechssl.metrics import abx_distance, abx_warp
from speechssl.metrics.abx import abx
from speechssl.metrics.abx_distance import all_pairs, frame_distances
from speechssl.metrics.abx_items import Item, make_items, read_items, write_items
from speechssl.metrics.alignments import read_alignments

KINDS = ("angular", "cosine", "euclidean", "kl", "identical", "levenshtein")
CONTEXTS = ("within", "any", "across")


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


def slow_edits(x: list, y: list) -> int:
    """By its definition, without a table."""
    if not x or not y:
        return len(x) + len(y)
    return min(slow_edits(x[1:], y) + 1, slow_edits(x, y[1:]) + 1, slow_edits(x[1:], y[1:]) + (x[0] != y[0]))


def slow_distance(x: np.ndarray, y: np.ndarray, kind: str) -> float:
    if kind == "levenshtein":
        one, other = ([key for key, _ in itertools.groupby(map(tuple, side.tolist()))] for side in (x, y))
        return slow_edits(one, other) / max(len(one), len(other))
    return slow_warp(np.array([[slow_frame_distance(a, b, kind) for b in y] for a in x]))


def slow_abx(items: list[Item], stretches: list[np.ndarray], kind: str, context: str = "within", pool: bool = False
             ) -> tuple[float, float]:  # fmt: skip
    """One triple at a time."""
    cells: dict[str, dict] = {"within": defaultdict(list), "across": defaultdict(list)}
    for (i, a), (j, b), (k, x) in itertools.permutations(enumerate(items), 3):
        if a.speaker != b.speaker or a.phone != x.phone or b.phone == a.phone:
            continue
        if context != "any" and (a.context != b.context or (a.context == x.context) != (context == "within")):
            continue
        to_a, to_b = slow_distance(stretches[k], stretches[i], kind), slow_distance(stretches[k], stretches[j], kind)
        error = 0.5 if abs(to_a - to_b) < 1e-9 else float(to_b < to_a)
        part = "within" if x.speaker == a.speaker else "across"
        contexts = () if context == "any" else (a.context, x.context)
        speakers = ((a.speaker,), (x.speaker, contexts)) if pool else ((a.speaker, x.speaker), contexts)
        cells[part][(a.phone, b.phone), *speakers].append(error)
    return tuple(nested_mean({key: float(np.mean(found)) for key, found in cells[part].items()}) for part in cells)


def nested_mean(cells: dict) -> float:
    """Over contexts, then speakers, then pairs of phones."""
    for _ in range(3):
        groups = defaultdict(list)
        for key, value in cells.items():
            groups[key[:-1]].append(value)
        cells = {key: float(np.mean(found)) for key, found in groups.items()}
    return cells[()]


def corpus(seed: int = 0, channels: int = 4, speakers: int = 2) -> tuple[list[Item], dict[str, Tensor]]:
    """Phones of 1 to 4 frames in two contexts, eight tokens per recording of 25 frames a second."""
    random = np.random.default_rng(seed)
    centres = {phone: random.random(channels) for phone in "abc"}
    items, frames = [], {}
    for name, speaker in (("u1", "s1"), ("u2", "s2"), ("u3", f"s{1 + 2 * (speakers > 2)}")):
        rows: list[np.ndarray] = []
        for _ in range(8):
            phone, count = str(random.choice(list("abc"))), int(random.integers(1, 5))
            context = ("p", "q") if random.random() < 0.6 else ("q", "p")
            onset = len(rows) / 25
            rows += list(np.abs(centres[phone] + 0.3 * random.normal(size=(count, channels))) + 0.01)
            items.append(Item(name, onset, len(rows) / 25, phone, *context, speaker))
        frames[name] = torch.from_numpy(np.array(rows))
    return items, frames


def frames_for(kind: str, frames: dict[str, Tensor]) -> dict[str, Tensor]:
    if kind == "kl":
        return {name: x / x.sum(-1, keepdim=True) for name, x in frames.items()}
    if kind in ("identical", "levenshtein"):
        return {name: (3 * x[:, :2]).long() for name, x in frames.items()}
    return frames


@pytest.mark.parametrize(
    ("kind", "context", "pool"),
    [*((kind, "within", False) for kind in KINDS), *itertools.product(("angular",), CONTEXTS[1:], (False,)),
     *itertools.product(("identical",), CONTEXTS, (True,))],
)  # fmt: skip
def test_it_is_the_average_over_triples_of_the_slow_form(kind: str, context: str, pool: bool) -> None:
    items, frames = corpus(speakers=3 if pool else 2)
    frames = frames_for(kind, frames)
    found = abx(items, frames, rate_hz=25, centre_s=0.02, distance=kind, context=context, max_items=99, max_across=99,
                pool_x_speakers=pool)  # fmt: skip
    stretches = [frames[i.file][round(i.onset_s * 25) : round(i.offset_s * 25)].double().numpy() for i in items]
    within, across = slow_abx(items, stretches, kind, context, pool)
    assert found.within == pytest.approx(within, abs=1e-9) and found.across == pytest.approx(across, abs=1e-9)
    assert found.cells_within > 4 and found.cells_across > 4 and found.without_frames == 0


def test_pooling_the_speakers_of_x_weighs_every_cell_alike() -> None:
    """a and b by s, x by t in two contexts (errors 0, 0), by v in one (1): 1/2 over speakers, 1/3 over cells."""
    values = {"s": (0.0, 1.0), "t": (0.1, None), "v": (0.9, None)}  # of phones a, b; x of t is near a's, of v near b's
    items, frames = [], {}
    for context, speakers in (("p", "stv"), ("q", "st")):
        for speaker in speakers:
            for phone, value in zip("ab", values[speaker], strict=True):
                if value is not None:
                    name = f"{context}{speaker}{phone}"
                    items.append(Item(name, 0.0, 0.02, phone, context, context, speaker))
                    frames[name] = torch.tensor([[value]])
    found = [abx(items, frames, rate_hz=50, centre_s=0.01, distance="euclidean", **choice).across
             for choice in ({"pool_x_speakers": False}, {"pool_x_speakers": True}, {})]  # fmt: skip
    assert found == pytest.approx([1 / 2, 1 / 3, 1 / 3])


@pytest.mark.parametrize(
    ("context", "within", "across"),
    [("within", 0.36574073880910873, 0.17052468191832304), ("any", 0.2847222164273262, 0.17881944278875986)],
)
def test_the_score_is_fastabx(context: str, within: float, across: float) -> None:
    """What fastabx 0.9.0's `zerospeech_abx` gives for these items and frames at 25 Hz without caps (torch 2.10)."""
    items, frames = corpus(speakers=3)
    found = abx(items, frames, rate_hz=25, centre_s=0.02, context=context, max_items=99, max_across=99)
    assert (found.within, found.across) == pytest.approx((within, across), abs=2e-8)


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


def warped(costs: list[np.ndarray]) -> np.ndarray:
    """All pairs one behind another, each inside a wider row."""
    padded = [np.pad(x, ((0, 0), (0, 2)), constant_values=7.0).astype(np.float32) for x in costs]
    starts = np.cumsum([0, *(x.size for x in padded[:-1])])
    strides, rows, columns = (
        np.array([f(x) for x in costs]) for f in (lambda x: x.shape[1] + 2, len, lambda x: x.shape[1])
    )
    return abx_warp.warp(np.concatenate([x.ravel() for x in padded]), starts, strides, rows, columns)


def plain_warp(costs: np.ndarray) -> np.float32:
    """The usual table, in float32, with a sum and a number of steps in each field."""
    table = {(-1, -1): (np.float32(0), 0)}
    far = (np.float32(np.inf), 0)
    for i, j in np.ndindex(costs.shape):
        total, steps = min(table.get(before, far) for before in ((i - 1, j - 1), (i - 1, j), (i, j - 1)))
        table[i, j] = total + np.float32(costs[i, j]), steps + 1
    total, steps = table[costs.shape[0] - 1, costs.shape[1] - 1]
    return total / np.float32(steps)


def test_the_warp_is_the_best_of_all_paths_and_the_shortest_of_equals() -> None:
    random = np.random.default_rng(0)
    sizes = [(1, 1), (1, 5), (5, 1), (3, 4), (5, 5), (4, 2), (3, 4), (5, 5)]
    costs = [random.integers(0, 3, size) / 2 for size in sizes]  # with ties
    assert warped(costs).tolist() == pytest.approx([slow_warp(values) for values in costs])


def test_the_warp_is_a_plain_table_to_the_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(abx_warp, "PAIRS", 16)
    random = np.random.default_rng(1)
    costs = [random.random(random.integers(1, 12, 2)).astype(np.float32) for _ in range(100)]
    assert np.array_equal(warped(costs), [plain_warp(values) for values in costs])


def test_a_warp_by_hand() -> None:
    """Down, then diagonally: 1 + 0 + 2 over 3 steps."""
    assert warped([np.array([[1.0, 9.0], [0.0, 9.0], [5.0, 2.0]])]) == pytest.approx([1.0])
    # 2 by the diagonal's two steps and by the three round a corner: the fewer count
    assert warped([np.array([[1.0, 0.0], [0.0, 1.0]])]) == pytest.approx([1.0])


@pytest.mark.parametrize(("tile", "pool"), [(5, 10**9), (10**9, 1), (7, 300)])
def test_tiles_and_pools_change_nothing(tile: int, pool: int, monkeypatch: pytest.MonkeyPatch) -> None:
    items, frames = corpus()
    whole = [abx(items, frames, rate_hz=25, centre_s=0.02, context=context) for context in CONTEXTS]
    monkeypatch.setattr(abx_distance, "_TILE", tile)
    monkeypatch.setattr(abx_distance, "_POOL", pool)
    assert [abx(items, frames, rate_hz=25, centre_s=0.02, context=context) for context in CONTEXTS] == whole


def test_frame_distances_by_hand() -> None:
    x, y = torch.tensor([[3.0, 4.0]]), torch.tensor([[4.0, -3.0], [6.0, 8.0]])
    assert frame_distances(x, y, "angular")[0].tolist() == pytest.approx([0.5, 0], abs=2e-4)  # arc cosine near 1
    assert frame_distances(x, y, "cosine")[0].tolist() == pytest.approx([1, 0], abs=1e-6)
    assert frame_distances(x, y, "euclidean")[0].tolist() == pytest.approx([math.sqrt(50), 5])
    p, q = torch.tensor([[0.5, 0.5]]), torch.tensor([[0.25, 0.75]])
    expected = (0.5 * math.log(2) + 0.5 * math.log(2 / 3) + 0.25 * math.log(1 / 2) + 0.75 * math.log(3 / 2)) / 2
    assert float(frame_distances(p, q, "kl")) == pytest.approx(expected)
    assert frame_distances(torch.tensor([[1, 2]]), torch.tensor([[1, 2], [1, 3]]), "identical").tolist() == [[0, 1]]


def test_edits_are_between_deduplicated_units_and_over_the_longer_ones() -> None:
    one, other = torch.tensor([[6, 6, 6, 1, 1, 7, 7]]).T, torch.tensor([[6, 6, 7, 7, 7]]).T
    assert float(all_pairs([one, other], "levenshtein")[0, 1]) == pytest.approx(1 / 3)  # 6 1 7 and 6 7
    pairs = torch.tensor([[1, 2], [1, 2], [1, 3]])  # codebooks of two: both must agree
    assert float(all_pairs([pairs, pairs[:1]], "levenshtein")[0, 1]) == pytest.approx(1 / 2)


@pytest.mark.parametrize("kind", KINDS)
def test_distances_are_symmetric_and_those_of_the_slow_form(kind: str) -> None:
    random = np.random.default_rng(1)
    stretches = [torch.from_numpy(random.dirichlet(np.ones(3), size=n)) for n in (1, 2, 4, 3)]
    if kind in ("identical", "levenshtein"):
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
    with pytest.raises(DataError, match="'u' are not all finite"):
        abx([Item("u", 0, 1, "a", "b", "c", "s")], {"u": torch.tensor([[math.nan]])}, rate_hz=1)
    with pytest.raises(DataError, match="'same'"):
        abx([], {}, rate_hz=1, context="same")
    with pytest.raises(DataError, match="spaces"):
        write_items(tmp_path / "x.item", [Item("u 1", 0, 1, "a", "b", "c", "s")])


def test_caps_draw_by_seed_and_change_little() -> None:
    items, frames = corpus(seed=3)
    whole = abx(items, frames, rate_hz=25, centre_s=0.02, context="any")
    capped = [abx(items, frames, rate_hz=25, centre_s=0.02, context="any", max_items=3, seed=s) for s in (0, 0, 1)]
    assert capped[0] == capped[1] != capped[2] and capped[0].items < whole.items


@pytest.mark.parametrize("context", CONTEXTS)
@pytest.mark.parametrize(
    "phones", [(), ("a",), ("a", "a"), ("a", "b")], ids=["none", "one item", "one phone", "one of each"]
)
def test_what_has_no_cell_is_undefined(phones: tuple[str, ...], context: str) -> None:
    items = [Item(str(i), 0, 1, phone, "p", "q", "s") for i, phone in enumerate(phones)]
    found = abx(items, {str(i): torch.ones(50, 2) for i in range(2)}, rate_hz=50, context=context)
    assert math.isnan(found.within) and math.isnan(found.across) and found.cells_within == found.cells_across == 0


def test_contexts_across_cap_what_x_is_taken_from() -> None:
    items, frames = corpus(seed=5)
    items += [Item(i.file, i.onset_s, i.offset_s, i.phone, f"{i.previous}{k}", i.next, i.speaker)
              for i in items for k in range(3)]  # fmt: skip
    whole, capped = (abx(items, frames, rate_hz=25, centre_s=0.02, context="across", max_across=most)
                     for most in (99, 2))  # fmt: skip
    assert 0 < capped.cells_across < whole.cells_across and capped.cells_within < whole.cells_within
