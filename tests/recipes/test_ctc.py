"""The fine-tuning recipe as its users run it: settings, what it writes, resumed, disturbed."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from rapidfuzz.distance import Levenshtein

from recipes.ctc import Run, build, main
from recipes.shared import make_encoder
from speechssl import config
from speechssl.decoders import vocabulary
from speechssl.errors import CheckpointError
from speechssl.recognition.model import Recognizer
from speechssl.training import checkpoint
from tests.encoders.tiny import TINY
from tests.training.helpers import _toml

CONF = Path(__file__).parent.parent.parent / "recipes" / "conf"
FILES = sorted(path.stem for path in CONF.glob("*ctc*.toml"))
NOTES = "abcde"


def corpus(folder: Path, num_utterances: int = 20, *, letters: int = 6, tone: int = 3200) -> Path:
    """Tones of 0.2 s with pauses of 0.1 s, and their names as text; a space where the pause is 0.3 s. tone: samples."""
    random = np.random.default_rng(0)
    folder.mkdir(parents=True)
    tables: dict[str, list[str]] = {"wav.scp": [], "text": [], "utt2spk": []}
    for number in range(num_utterances):
        text = "".join(random.choice(list(NOTES + " "), size=letters))
        text = " ".join(text.split()) or "a"
        parts = [np.zeros(tone // 2)]
        for letter in text:
            hz = 300 + 250 * NOTES.index(letter) if letter != " " else 0
            parts += [0.3 * np.sin(2 * np.pi * hz * np.arange(tone) / 16000), np.zeros(tone // 2)]
        wave = np.concatenate(parts)
        soundfile.write(folder / f"u{number:02}.wav", wave + random.normal(0, 0.003, len(wave)), 16000)
        tables["wav.scp"].append(f"u{number:02} {folder}/u{number:02}.wav\n")
        tables["text"].append(f"u{number:02} {text}\n")
        tables["utt2spk"].append(f"u{number:02} s{number % 2}\n")
    for name, lines in tables.items():
        (folder / name).write_text("".join(lines))
    return folder


def train(data: Path, run: Path, **others: Any) -> int:
    values: dict[str, Any] = {
        "run": run, "threads": 1, "data.train": data, "data.valid": data, "data.batching.seconds": 8.0,
        "data.batching.crop_s": 3.0, "training.updates": 6, "training.log_every": 1, "training.save_every": 2,
        "training.valid_every": 2, "training.workers": 0, "training.keep": 9, "optimizer.lr": 1e-2,
        "encoder.family": "tdnn",
    }  # fmt: skip
    values |= {f"encoder.{name}": value for name, value in TINY["tdnn"][0].items()}
    values |= {name.replace("__", "."): value for name, value in others.items()}
    if "encoder" in others:
        values = {name: value for name, value in values.items() if not name.startswith("encoder.")}
    return main(
        [
            f"{name}={value if str(value).startswith('{') else _toml(value)}"
            for name, value in values.items()
            if value is not None
        ]
    )


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return corpus(tmp_path_factory.mktemp("corpus") / "tones")


@pytest.fixture(scope="module")
def whole(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("whole") / "run"
    assert train(data, run, settings__freeze_updates=3) == 0
    return run


def rows(run: Path, kind: str) -> list[dict[str, float]]:
    return [row for row in map(json.loads, (run / "log.jsonl").read_text().splitlines()) if row["kind"] == kind]


@pytest.mark.parametrize("name", FILES)
def test_a_config_builds_its_model_and_stores_whole(name: str, tmp_path: Path) -> None:
    overrides = [] if name.startswith("tiny") else ['encoder={family="wav2vec2", preset="base"}']
    run = config.load(Run, CONF / f"{name}.toml", overrides)
    symbols = vocabulary.of_characters(["abc"])
    if name.startswith("tiny"):
        encoder, card = make_encoder(run.encoder, normalize=run.normalize, seed=0, purpose="CTC")
        assert card.family == "tdnn"
    else:
        with torch.device("meta"):
            encoder, _ = make_encoder(run.encoder, normalize=run.normalize, seed=0, purpose="CTC")
    with torch.device("meta"):
        objective = build(run, encoder, symbols)
    assert objective.head.output.out_features == 5
    assert not any(p.requires_grad for p in objective.encoder.conv.parameters())
    (tmp_path / "config.toml").write_text(config.to_toml(run), encoding="utf-8")
    assert config.load(Run, tmp_path / "config.toml") == run


def test_the_papers_settings_are_one_family_that_differs_where_the_released_files_do() -> None:
    runs = {name: config.load(Run, CONF / f"ctc_{name}.toml", ['encoder={family="wav2vec2"}'])
            for name in ("10m", "1h", "10h", "100h", "960h")}  # fmt: skip
    facts = {
        name: (run.training.updates, run.optimizer.lr, run.settings["freeze_updates"], run.dropout.layer,
               run.settings["masking"]["time"]["share"], run.settings["masking"]["channels"]["share"])
        for name, run in runs.items()
    }  # fmt: skip
    assert facts == {
        "10m": (13000, 5e-5, 10000, 0.1, 0.65, 0.25), "1h": (13000, 5e-5, 10000, 0.1, 0.65, 0.25),
        "10h": (20000, 5e-5, 10000, 0.05, 0.65, 0.5), "100h": (80000, 3e-5, 0, 0.1, 0.65, 0.5),
        "960h": (320000, 1e-5, 0, 0.1, 0.5, 0.1),
    }  # fmt: skip


def test_it_learns_tones_and_the_recogniser_writes_them(data: Path, tmp_path: Path) -> None:
    unmasked = {
        "settings.masking.time": "{share=0.0, min_spans=0}",
        "settings.masking.channels": "{share=0.0, min_spans=0}",
    }
    assert train(data, tmp_path / "run", training__updates=150, training__valid_every=50, training__log_every=50,
                 training__save_every=150, data__batching__seconds=20.0, **unmasked) == 0  # fmt: skip
    result = json.loads((tmp_path / "run/result.json").read_text())
    assert result["best_token_error_rate"] < 0.3
    model = Recognizer.load(tmp_path / "run" / "recognizer")
    texts = dict(line.split(" ", 1) for line in (data / "text").read_text().splitlines())
    edits = sum(Levenshtein.distance(text, model.transcribe(data / f"{key}.wav")) for key, text in texts.items())
    # a space in front, or two in a row, is an error of a symbol and none of the text
    assert edits / sum(map(len, texts.values())) == pytest.approx(result["best_token_error_rate"], abs=0.03)
    assert model.card.training["best_update"] == result["best_update"]


def test_a_resumed_run_is_the_undisturbed_one_bit_for_bit(data: Path, whole: Path, tmp_path: Path) -> None:
    """Killed behind update 4, in the frozen phase's past; the best model, too."""
    run = tmp_path / "run"
    shutil.copytree(whole, run)
    shutil.rmtree(run / "checkpoints" / "update-000000006")
    shutil.rmtree(run / "recognizer")
    assert train(data, run, settings__freeze_updates=3) == 0
    one, other = (checkpoint.load(path / "checkpoints" / "update-000000006") for path in (whole, run))
    assert one.model.keys() == other.model.keys() and one.progress == other.progress
    for name, tensor in one.model.items():
        assert torch.equal(tensor, other.model[name]), name
    for name in ("recognizer/model.safetensors", "recognizer/card.json", "result.json", "best/model.safetensors"):
        assert (whole / name).read_bytes() == (run / name).read_bytes(), name
    for kind in ("train", "valid"):
        assert [r["loss"] for r in rows(whole, kind)] == [r["loss"] for r in rows(run, kind)]


def test_the_best_model_is_the_one_with_the_least_error(whole: Path) -> None:
    found = {row["update"]: row["token_error_rate"] for row in rows(whole, "valid")}
    best = json.loads((whole / "best/best.json").read_text())
    assert best["update"] == min(found, key=lambda update: (found[update], update))
    assert found[best["update"]] == pytest.approx(best["valid_token_error_rate"], rel=1e-5)


def test_the_encoder_stays_while_it_is_frozen(data: Path, whole: Path) -> None:
    two, four = (checkpoint.load(whole / "checkpoints" / f"update-00000000{n}").model for n in (2, 4))
    fresh, _ = make_encoder({"family": "tdnn", **TINY["tdnn"][0]}, normalize=None, seed=0, purpose="")
    for name, tensor in fresh.state_dict().items():
        assert torch.equal(two[f"encoder.{name}"], tensor), name
    assert not torch.equal(four["encoder.transformer.layers.0.ffn.up.weight"],
                           two["encoder.transformer.layers.0.ffn.up.weight"])  # fmt: skip


def test_what_cannot_be_used_is_counted_and_training_goes_on(data: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad"
    shutil.copytree(data, bad)
    lines = (bad / "text").read_text().splitlines()
    lines[0], lines[1], lines[2] = "u00", "u01 " + "ab" * 60, "u02 ax"
    (bad / "text").write_text("\n".join(lines) + "\n")
    (bad / "u05.wav").write_bytes(b"RIFF")
    (bad / "wav.scp").write_text((bad / "wav.scp").read_text().replace(str(data), str(bad)))
    soundfile.write(bad / "u06.wav", np.zeros(100000), 16000)
    run = tmp_path / "run"
    assert train(bad, run, data__valid=None, vocabulary__texts=data, training__updates=2) == 0
    left = {line.split("\t")[1]: line.split("\t")[2] for line in (run / "left_out.tsv").read_text().splitlines()}
    assert left["u00"] == "no text" and "need" in left["u01"] and "crop_s" in left["u06"]
    assert set(left) == {"u00", "u01", "u02", "u05", "u06"}
    state = json.loads((run / "checkpoints/update-000000002/state.json").read_text())
    assert set(state["failures"]) == set(left)


def test_an_encoder_and_a_vocabulary_of_another_run_can_be_used(data: Path, whole: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    model = Recognizer.load(whole / "recognizer")
    assert train(data, run, encoder=f'{{checkpoint="{whole / "encoder"}"}}', vocabulary__folder=whole / "recognizer",
                 training__updates=2, optimizer__lr=1e-30) == 0  # fmt: skip
    again = Recognizer.load(run / "recognizer")
    assert again.vocabulary == model.vocabulary and "encoder, CTC" in again.card.name
    for name, tensor in model.emissions.encoder.state_dict().items():
        torch.testing.assert_close(again.emissions.encoder.state_dict()[name], tensor, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("others", "message"),
    [
        ({"settings__num_symbols": 9}, "num_symbols"),
        ({"vocabulary__kind": "pieces"}, "size"),
        ({"vocabulary__folder": "no_such"}, "vocabulary"),
        ({"training__best": "no_such"}, "no_such"),
        ({"training__give_up": "{above=0.5, after=2.0}"}, "give_up.after"),
        ({"training__give_up": "{above=0.5}", "data__valid": None}, "needs a validation"),
        ({"settings__head__layer": 99}, "layer=99"),
        ({"encoder": '{family="cpc"}'}, "wav2vec 2.0 kind"),
    ],
)
def test_a_wrong_setting_is_an_error_that_names_it(
    data: Path, tmp_path: Path, others: dict[str, Any], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(data, tmp_path / "run", **others) == 2
    assert message in capsys.readouterr().err


def test_a_training_that_comes_to_nothing_gives_up_where_it_was_told_to(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, rule = tmp_path / "run", {"training__valid_every": 1, "training__give_up": "{above=0.2, after=0.5}"}
    assert train(data, run, **rule) == 3
    assert "gave up at update 3" in capsys.readouterr().err and not (run / "recognizer").exists()
    assert [row["update"] for row in rows(run, "valid")] == [1, 2, 3]
    assert train(data, run, **rule | {"training__give_up": "{above=9.0, after=0.5}"}) == 0, "others may be asked for"
    assert rows(run, "valid")[-1]["update"] == 6


def test_pieces_and_phones_are_targets_too(data: Path, tmp_path: Path) -> None:
    assert train(data, tmp_path / "pieces", vocabulary__kind="pieces", vocabulary__size=12, training__updates=1) == 0
    spelled = tmp_path / "spelled"
    shutil.copytree(data, spelled)
    lines = [line.split(" ", 1) for line in (data / "text").read_text().splitlines()]
    (spelled / "text").write_text("".join(f"{key} {' '.join(text.replace(' ', '|'))}\n" for key, text in lines))
    assert train(spelled, tmp_path / "phones", vocabulary__kind="phones", training__updates=1) == 0
    found = Recognizer.load(tmp_path / "phones/recognizer").vocabulary
    assert found.kind == "phones" and found.word_boundary == "|" and set(NOTES) <= set(found.symbols)


def test_two_corpora_are_learned_from_as_the_one_they_make_up(data: Path, whole: Path, tmp_path: Path) -> None:
    for name, numbers in (("one", range(8)), ("two", range(8, 20))):
        (tmp_path / name).mkdir()
        for table in ("wav.scp", "text", "utt2spk"):
            lines = (data / table).read_text().splitlines(keepends=True)
            (tmp_path / name / table).write_text("".join(line for line in lines if int(line[1:3]) in numbers))
    both = (tmp_path / "one", tmp_path / "two")
    assert train(data, tmp_path / "run", data__train=both, vocabulary__texts=data, settings__freeze_updates=3) == 0
    found, wanted = (Recognizer.load(run / "recognizer") for run in (tmp_path / "run", whole))
    assert found.sha256 == wanted.sha256
    assert found.card.training["train"] == [str(folder) for folder in both]
    assert train(data, tmp_path / "twice", data__train=(data, tmp_path / "one")) == 2


def test_a_changed_recogniser_is_refused(whole: Path, tmp_path: Path) -> None:
    for change in ("vocabulary.json", "card.json", "model.safetensors"):
        folder = tmp_path / change
        shutil.copytree(whole / "recognizer", folder)
        text = (folder / change).read_bytes()
        if change == "model.safetensors":
            changed = text[:-1] + bytes([text[-1] ^ 1])
        else:
            changed = text.replace(b'"keep"', b'"lower"').replace(b'"normalize": false', b'"normalize": true')
        assert changed != text
        (folder / change).write_bytes(changed)
        with pytest.raises(CheckpointError):
            Recognizer.load(folder)
