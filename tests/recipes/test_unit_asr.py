"""The recipe of recognisers of units: learns from files of units alone, goes on after a stop, refuses other units."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from recipes.unit_asr import Run, build, main
from speechssl import config
from speechssl.data.batch_plan import Batching
from speechssl.data.context import read_sessions
from speechssl.data.corpus import open_corpus
from speechssl.data.training_set import Place
from speechssl.data.unit_batches import UnitBatches, open_units
from speechssl.decoders import vocabulary
from speechssl.errors import CheckpointError, DataError
from speechssl.recognition.units import UnitRecognizer
from speechssl.training import checkpoint
from tests.training.helpers import _toml

CONF = Path(__file__).parent.parent.parent / "recipes" / "conf"
SMALL: dict[str, Any] = {
    "threads": 1, "training.updates": 6, "training.save_every": 2, "training.valid_every": 3, "training.keep": 9,
    "training.log_every": 20, "optimizer.lr": 5e-3, "data.batching.seconds": 30.0, "data.batching.crop_s": 9.0,
    "settings.embedding": 16, "settings.adaptor.kind": "zipformer", "settings.adaptor.strides": (),
    "settings.adaptor.dim": 32, "settings.adaptor.ffn_dim": 32, "settings.adaptor.num_heads": 2,
    "settings.adaptor.num_blocks": (1, 1), "settings.adaptor.factors": (1, 2), "settings.adaptor.conv_kernel": 5,
    "settings.augmentation.time.share": 0.0, "settings.augmentation.time.min_spans": 0,
}  # fmt: skip


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Letters a..d, each 3 to 5 frames of its own unit, 4 between; a second stream that says whether it is a or b."""
    random, folder = np.random.default_rng(0), tmp_path_factory.mktemp("units")
    tables: dict[str, list[str]] = {"wav.scp": [], "text": [], "utt2spk": [], "one": [], "two": []}
    for number in range(12):
        text = "".join(random.choice(list("abcd"), size=8))
        units = [4]
        for letter in text:
            units += ["abcd".index(letter)] * int(random.integers(3, 6)) + [4]
        tables["wav.scp"].append(f"u{number:02} /nowhere/u{number:02}.wav\n")  # audio plays no part
        tables["text"].append(f"u{number:02} {text}\n")
        tables["utt2spk"].append(f"u{number:02} s\n")
        tables["one"].append(f"u{number:02} {' '.join(map(str, units))}\n")
        tables["two"].append(f"u{number:02} {' '.join(str(int(u < 2)) for u in units)}\n")
    for name, lines in tables.items():
        (folder / name).write_text("".join(lines))
    return folder


def train(run: Path, data: Path, streams: tuple[str, ...] = ("one",), **others: Any) -> int:
    values = {**SMALL, "run": run, "data.train": data, "data.units": tuple(data / stream for stream in streams),
              "data.valid": data, **{name.replace("__", "."): value for name, value in others.items()}}  # fmt: skip
    return main([f"{name}={_toml(value)}" for name, value in values.items()])


def test_it_learns_and_the_recogniser_writes(data: Path, tmp_path: Path) -> None:
    assert train(tmp_path / "run", data, training__updates=100, training__valid_every=50) == 0
    result = json.loads((tmp_path / "run/result.json").read_text())
    assert result["best_token_error_rate"] < 0.05
    model = UnitRecognizer.load(tmp_path / "run" / "recognizer")
    texts = [line.split()[1] for line in (data / "text").read_text().splitlines()]
    units = [np.array(line.split()[1:], dtype=int) for line in (data / "one").read_text().splitlines()]
    written = model.transcribe(units)
    assert sum(a == b for a, b in zip(written, texts, strict=True)) >= 10
    assert [model.transcribe([one])[0] for one in units] == written, "batched equals one by one"
    with pytest.raises(DataError, match="has unit 9"):
        model.transcribe([np.array([1, 9])])
    with pytest.raises(DataError, match="1 streams"):
        model.transcribe([np.zeros((4, 2), int)])


def test_a_resumed_run_is_the_undisturbed_one_bit_for_bit(data: Path, tmp_path: Path) -> None:
    others = {"settings__augmentation__time__share": 0.3, "settings__augmentation__noise": 0.2,
              "data__batching__seconds": 9.0}  # fmt: skip
    assert train(tmp_path / "one", data, ("one", "two"), **others) == 0
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    shutil.rmtree(tmp_path / "two" / "checkpoints" / "update-000000006")
    assert train(tmp_path / "two", data, ("one", "two"), **others) == 0
    one, two = (checkpoint.load(tmp_path / run / "checkpoints" / "update-000000006") for run in ("one", "two"))
    assert all(torch.equal(tensor, two.model[name]) for name, tensor in one.model.items())
    for name in ("recognizer/model.safetensors", "recognizer/card.json", "result.json"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes(), name
    assert UnitRecognizer.load(tmp_path / "one" / "recognizer").model.config.sizes == (5, 2)
    raw = (tmp_path / "one/recognizer/card.json").read_text()
    (tmp_path / "one/recognizer/card.json").write_text(raw.replace('"rate_hz": 50', '"rate_hz": 25'))
    with pytest.raises(CheckpointError, match="changed"):
        UnitRecognizer.load(tmp_path / "one" / "recognizer")


def test_it_begins_where_another_recogniser_ended_with_a_context_or_without(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    still: dict[str, Any] = {"training__updates": 2, "optimizer__lr": 1e-30}
    assert train(tmp_path / "known", data) == 0
    known = UnitRecognizer.load(tmp_path / "known/recognizer")
    (tmp_path / "sessions").write_text("s " + " ".join(f"u{k:02}" for k in range(12)) + "\n")
    contexts: list[dict[str, Any]] = [{}, {"settings__context__before": 1, "data__sessions": tmp_path / "sessions"}]
    for number, context in enumerate(contexts):
        run = tmp_path / f"run{number}"
        assert train(run, data, start=tmp_path / "known/recognizer", **still, **context) == 0
        model = UnitRecognizer.load(run / "recognizer").model
        assert (model.config.context is not None) == bool(context)
        for name, tensor in known.model.state_dict().items():
            torch.testing.assert_close(model.state_dict()[name], tensor, rtol=0, atol=1e-12)
    for other, message in (({"settings__embedding": 32}, "other settings"), ({"vocabulary__case": "upper"}, "symbols")):
        assert train(tmp_path / "no", data, start=tmp_path / "known/recognizer", **other) == 2
        assert message in capsys.readouterr().err
    assert train(tmp_path / "no", data, ("one", "two"), start=tmp_path / "known/recognizer") == 2
    assert not (tmp_path / "no").exists()


def test_a_batch_holds_units_texts_and_seeds_of_its_own(data: Path) -> None:
    symbols = vocabulary.of_characters(["abcd"])
    found = open_units(open_corpus(str(data)), [data / "one", data / "two"], symbols.encode, longest_s=9.0)
    batches = UnitBatches(found, Batching(seconds=9.0, crop_s=9.0, min_s=0.1), 0)
    seen = [loaded.batch for loaded in batches.once()]
    assert sorted(name for batch in seen if batch for name in batch.ids) == [f"u{k:02}" for k in range(12)]
    batch = seen[0]
    assert batch is not None and batch.labels is not None and batch.targets is not None
    row, number = 0, int(batch.ids[0][1:])
    length = int(batch.lengths[row])
    assert torch.equal(batch.labels[row, :length], torch.from_numpy(found.units[number]).long())
    assert (batch.labels[row, length:] == -1).all() and found.hours == pytest.approx(found.seconds.sum() / 3600)
    first = [loaded.batch.ids for loaded, _ in zip(batches.start(Place()), range(9), strict=False) if loaded.batch]
    middle = next(loaded for k, loaded in enumerate(batches.start(Place())) if k == 3).next
    again = [loaded.batch.ids for loaded, _ in zip(batches.start(middle), range(5), strict=False) if loaded.batch]
    assert again == first[4:]


def test_what_cannot_be_used_is_counted(data: Path, tmp_path: Path) -> None:
    lines = (data / "one").read_text().splitlines()
    (tmp_path / "one").write_text("\n".join([*lines[:4], "u04 1 1 2", lines[5], "u06 0", *lines[7:]]) + "\n")
    (tmp_path / "two").write_text((data / "two").read_text().replace("u07", "u77"))
    symbols = vocabulary.of_characters(["abcd"])
    found = open_units(open_corpus(str(data)), [tmp_path / "one", tmp_path / "two"], symbols.encode, longest_s=9.0)
    reasons = dict(found.failures)
    assert "streams of [3," in reasons["u04"] and reasons["u07"] == "no units" and "streams of [1," in reasons["u06"]
    (tmp_path / "short").write_text("u00 1 2\n")
    with pytest.raises(DataError, match="none of 12 utterances"):
        open_units(open_corpus(str(data)), [tmp_path / "short"], symbols.encode, longest_s=9.0)


@pytest.mark.parametrize("name", ["unit_asr", "tiny_unit_asr"])
def test_a_config_builds_its_model_and_stores_whole(name: str, tmp_path: Path) -> None:
    run = config.load(Run, CONF / f"{name}.toml")
    with torch.device("meta"):
        objective = build(run, (500,), vocabulary.of_characters(["abc"]))
    total = sum(parameter.numel() for parameter in objective.parameters())
    assert total < 3e6 if name.startswith("tiny") else 20e6 < total < 40e6
    (tmp_path / "config.toml").write_text(config.to_toml(run), encoding="utf-8")
    assert config.load(Run, tmp_path / "config.toml") == run


def test_settings_that_follow_from_the_data_are_refused(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(tmp_path / "run", data, settings__num_labels=9) == 2
    assert "num_labels" in capsys.readouterr().err and not (tmp_path / "run").exists()


def test_with_a_context_it_learns_what_only_the_neighbours_tell(tmp_path: Path) -> None:
    """Before each utterance one of 0s or 1s, which says how unit 3 is written; the same units with either of them."""
    lines: dict[str, list[str]] = {"wav.scp": [], "text": [], "utt2spk": [], "units": [], "sessions": [], "swapped": []}
    random, wanted = np.random.default_rng(0), []
    for pair in range(12):
        letters = [*random.permutation([2, 2, 2, 2, 3, 3, 3]).tolist(), 3]
        frames = [4, *(unit for letter in letters for unit in (letter, letter, letter, 4))]
        for cue in (0, 1):
            name = f"u{pair:02}{cue}"
            text = "".join("c" if letter == 2 else "ab"[cue] for letter in letters)
            wanted.append(text)
            lines["wav.scp"].append(f"{name} /nowhere.wav\n")
            lines["utt2spk"].append(f"{name} s\n")
            lines["text"].append(f"{name} {text}\n")
            lines["units"] += [f"{name} {' '.join(map(str, frames))}\n", f"cue{name} {f'{cue} ' * 6}\n"]
            lines["sessions"].append(f"s{name} cue{name} {name}\n")
            lines["swapped"].append(f"s{name} cueu{pair:02}{1 - cue} {name}\n")
    for name, rows in lines.items():
        (tmp_path / name).write_text("".join(rows))
    others = {"settings__context__before": 1, "settings__context__after": 0, "data__sessions": tmp_path / "sessions",
              "data__valid": tmp_path, "settings__adaptor__kind": "conformer", "settings__adaptor__num_blocks": (),
              "settings__adaptor__factors": (), "settings__adaptor__num_layers": 2, "training__updates": 150,
              "training__valid_every": 50, "optimizer__lr": 1e-2}  # fmt: skip
    assert train(tmp_path / "run", tmp_path, ("units",), **others) == 0
    result = json.loads((tmp_path / "run/result.json").read_text())
    assert result["best_token_error_rate"] < 0.1, "without the cues a quarter of the symbols is wrong at the least"
    model = UnitRecognizer.load(tmp_path / "run" / "recognizer")
    swapped = [text.translate(str.maketrans("ab", "ba")) for text in wanted]
    for order, expected in (("sessions", wanted), ("swapped", swapped)):
        found = {
            n: best_text(model, x) for n, x in model.emissions([tmp_path / "units"], read_sessions(tmp_path / order))
        }
        right = sum(found[f"u{k // 2:02}{k % 2}"] == expected[k] for k in range(24))
        assert right >= 20, (order, right)
    assert train(tmp_path / "other", tmp_path, ("units",), data__sessions=tmp_path / "sessions") == 2


def best_text(model: UnitRecognizer, log_probs: np.ndarray) -> str:
    symbols = log_probs.argmax(1)
    kept = symbols[(np.diff(symbols, prepend=-1) != 0) & (symbols != model.vocabulary.blank)]
    return model.vocabulary.decode(kept.tolist())
