"""Recognisers of units: with and without the neighbours of an utterance, by Python and by `speechssl transcribe`."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from speechssl.cli import main
from speechssl.data.context import Context, Sessions
from speechssl.data.unit_batches import padded
from speechssl.decoders import unit_ctc, vocabulary
from speechssl.errors import ConfigError, DataError
from speechssl.nn.adaptor import Config as AdaptorConfig
from speechssl.recognition.units import UnitRecognizer

SIZES, NAMES = (7, 3), [f"u{k}" for k in range(5)]


def recognizer(context: Context | None = None, strides: tuple[int, ...] = (2,)) -> UnitRecognizer:
    """Random weights, large ones in the output, so that it writes many symbols."""
    torch.manual_seed(0)
    adaptor = AdaptorConfig("conformer", strides=strides, channels=16, dim=16, ffn_dim=16, num_layers=2, num_heads=2,
                            conv_kernel=5)  # fmt: skip
    model = unit_ctc.Model(unit_ctc.Config(SIZES, 6, embedding=12, adaptor=adaptor, context=context))
    with torch.no_grad():
        model.output.weight.mul_(20)
        if context is not None:
            model.sides.normal_()
    return UnitRecognizer(
        model, vocabulary.of_characters(["abc d"]), rate_hz=50, unit_models=("m", None), name="random"
    )


def units(seed: int, length: int) -> np.ndarray:
    random = np.random.default_rng(seed)
    return np.stack([random.integers(0, size, length) for size in SIZES], 1)


@pytest.fixture
def streams(tmp_path: Path) -> list[Path]:
    found = []
    for g in range(2):
        path = tmp_path / f"stream{g}"
        lines = [f"{name} {' '.join(map(str, units(k, 9 + 4 * k)[:, g]))}\n" for k, name in enumerate(NAMES)]
        path.write_text("".join(lines))
        found.append(path)
    return found


@pytest.mark.parametrize("strides", [(), (2,)])
def test_only_the_utterance_is_scored_and_its_frames_are_those_of_the_whole_row(strides: tuple[int, ...]) -> None:
    model = recognizer(Context(1, 1), strides).model
    before, own, after = units(1, 6), units(2, 9), units(3, 5)
    labels, lengths, where = padded([own], [(before, after)])
    assert where is not None and where.tolist() == [[6, 9]] and lengths.tolist() == [20]
    found, counts = model(labels, lengths, own=where)
    x = model.units(labels, lengths)
    x[0, :6] += model.sides[0]
    x[0, 15:] += model.sides[1]
    states, _ = model.adaptor(x, lengths)
    first, count = 6 // model.factor, -(-9 // model.factor)
    torch.testing.assert_close(found[0], model.log_probs(states)[0, first : first + count])
    assert counts.tolist() == [count]


def test_batches_give_what_one_by_one_gives_whatever_the_neighbours() -> None:
    model = recognizer(Context(2, 1))
    own = [units(k, n) for k, n in enumerate((8, 20, 1))]
    around = [(units(9, 4), units(8, 7)), (own[0][:0], units(7, 30)), (units(6, 12), own[0][:0])]
    found, counts = model.log_probs(own, around)
    for row, count in enumerate(counts.tolist()):
        one, one_count = model.log_probs(own[row : row + 1], around[row : row + 1])
        assert one_count.tolist() == [count]
        torch.testing.assert_close(found[row, :count], one[0], rtol=1e-4, atol=1e-4)


def test_without_neighbours_it_is_the_model_without_a_context() -> None:
    seeing, blind = recognizer(Context()), recognizer()
    blind.model.load_state_dict({k: v for k, v in seeing.model.state_dict().items() if k != "sides"})
    own = [units(0, 11), units(1, 6)]
    torch.testing.assert_close(seeing.log_probs(own)[0], blind.log_probs(own)[0])
    other = seeing.log_probs(own, [(units(2, 8), units(3, 8))] * 2)[0]
    assert (other - blind.log_probs(own)[0]).abs().max() > 1e-2
    with pytest.raises(ConfigError, match="not trained with a context"):
        blind.log_probs(own, [(units(2, 8), units(3, 8))] * 2)


def test_a_saved_one_knows_its_context_and_cards_without_one_are_as_they_were(tmp_path: Path) -> None:
    for context in (None, Context(2, 0, most=90)):
        made = recognizer(context)
        made.save(tmp_path / str(context))
        again = UnitRecognizer.load(tmp_path / str(context))
        assert again.card == made.card and again.model.config.context == context
    raw = json.loads((tmp_path / "None" / "card.json").read_text())
    del raw["model"]["context"]
    (tmp_path / "None" / "card.json").write_text(json.dumps(raw))
    assert UnitRecognizer.load(tmp_path / "None").card.sha256 == recognizer().card.sha256


def test_texts_of_units_from_files_are_those_from_python(tmp_path: Path, streams: list[Path]) -> None:
    for context in (None, Context(1, 1)):
        made, folder, out = recognizer(context), tmp_path / f"model{context}", tmp_path / f"out{context}"
        made.save(folder)
        own = [units(k, 9 + 4 * k) for k in range(5)]
        order, more = ["u1", "u0", "u4"], []
        around = None
        if context is not None:
            (tmp_path / "sessions").write_text(f"s {' '.join(order)}\n")
            more = ["--sessions", str(tmp_path / "sessions")]
            sides = Sessions.join([order])
            around = []
            for name in NAMES:
                before, after = ([own[int(n[1])] for n in found] for found in sides.around(name, context))
                past = np.concatenate([own[0][:0], *before])
                around.append((past[len(past) % 2 :], np.concatenate([own[0][:0], *after])))
        command = ["transcribe", *map(str, streams), "--model", str(folder), "-o", str(out), *more]
        assert main(command) == 0
        wanted = made.transcribe(own, around)
        lines = (out / "text").read_text().splitlines()
        assert lines == [f"{name} {text}".rstrip() for name, text in zip(NAMES, wanted, strict=True)]
        assert any(len(text) > 3 for text in wanted)
        assert main(command) == 2, "what is there is not replaced unasked"
        (tmp_path / "list").write_text("u4 some text\nu0\n")
        assert main([*command, "--overwrite", "--utt-list", str(tmp_path / "list")]) == 0
        assert (out / "text").read_text().splitlines() == [lines[4], lines[0]]
        assert main([*command, "--overwrite", "--format", "ctm"]) == 0
        assert float((out / "ctm").read_text().split()[3]) % 0.04 < 0.0401, "a frame is two units of 20 ms"


def test_other_units_are_refused(tmp_path: Path, streams: list[Path]) -> None:
    made = recognizer()
    with pytest.raises(DataError, match="2 streams of units, and 1 came"):
        list(made.emissions(streams[:1]))
    with pytest.raises(DataError, match="give no sessions"):
        list(made.emissions(streams, Sessions({})))
    with pytest.raises(DataError, match="give sessions"):
        list(recognizer(Context()).emissions(streams))
    other = tmp_path / "other"
    other.mkdir()
    (other / "units").write_text(streams[0].read_text())
    card = {"model": {"num_units": 7, "unit_model": "another"}, "rate_hz": 50.0,
            "outputs": [{"format": "text", "merged": False}]}  # fmt: skip
    (other / "units.json").write_text(json.dumps(card))
    with pytest.raises(DataError, match="units of another unit model"):
        list(made.emissions([other, streams[1]]))
    (other / "units.json").write_text(json.dumps({**card, "rate_hz": 25.0, "model": {"num_units": 7}}))
    with pytest.raises(DataError, match="25 units a second, trained on 50"):
        list(made.emissions([other, streams[1]]))
    made.save(tmp_path / "model")
    (tmp_path / "list").write_text("u9\n")
    with pytest.raises(DataError, match="no units of 'u9'"):
        list(made.emissions(streams, only=["u9", "u1"]))
    for wrong in (["--shard", "0/2"], ["--language", "fra"], ["--utt-list", str(tmp_path / "list")]):
        assert main(["transcribe", *map(str, streams), "--model", str(tmp_path / "model"), "-o", str(tmp_path / "x"),
                     *wrong]) == 2  # fmt: skip
