"""The recipe of sequence-to-sequence models: learns, goes on after a stop, and its model says what it learned."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from recipes.seq2seq import Run, Targets, build, main
from recipes.shared import make_encoder
from recipes.unit_bart import Run as BartRun
from speechssl import config
from speechssl.audio import read
from speechssl.data.sequences import UnitTargets
from speechssl.decoders import vocabulary
from speechssl.decoders.search import Search
from speechssl.errors import CheckpointError, DataError
from speechssl.generation.model import Seq2Seq
from speechssl.training import checkpoint
from tests.recipes.test_ctc import corpus as texts_corpus
from tests.training.helpers import _toml, corpus

CONF = Path(__file__).parent.parent.parent / "recipes" / "conf"
SMALL: dict[str, Any] = {
    "threads": 1, "data.batching.seconds": 30.0, "data.batching.crop_s": 5.0, "training.workers": 0,
    "training.log_every": 20, "training.save_every": 2, "training.valid_every": 2, "training.updates": 6,
    "training.keep": 9, "training.clip": 5.0, "optimizer.lr": 3e-3, "encoder.family": "conformer",
    "encoder.num_mels": 20, "encoder.num_layers": 0, "encoder.dim": 40, "encoder.projection": False,
    "settings.adaptor.kind": "conformer", "settings.adaptor.channels": 64, "settings.adaptor.dim": 48,
    "settings.adaptor.ffn_dim": 96, "settings.adaptor.num_layers": 2, "settings.adaptor.num_heads": 4,
    "settings.adaptor.conv_kernel": 7, "settings.decoder.dim": 48, "settings.decoder.ffn_dim": 96,
    "settings.decoder.num_layers": 1, "settings.decoder.num_heads": 4, "settings.smoothing": 0.0,
    "settings.dropout.residual": 0.0, "settings.dropout.attention": 0.0, "settings.dropout.activation": 0.0,
    "search.beam": 3, "search.max_tokens": 40, "schedule.name": "constant", "schedule.warmup": 0.15,
}  # fmt: skip


def train(run: Path, **others: Any) -> int:
    values = {**SMALL, "run": run, **{name.replace("__", "."): value for name, value in others.items()}}
    return main([f"{name}={value if str(value)[:1] in '{[' else _toml(value)}" for name, value in values.items()])


@pytest.fixture(scope="module")
def tones(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return corpus(tmp_path_factory.mktemp("corpus") / "tones", 8)


@pytest.fixture(scope="module")
def learned(tones: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("learned") / "run"
    assert train(run, data__train=tones, data__valid=tones, data__targets=tones.with_suffix(".labels"),
                 settings__ctc_weight=0.3, training__updates=150, training__valid_every=75,
                 training__save_every=75) == 0  # fmt: skip
    return run


def test_it_learns_units_and_the_model_says_them(tones: Path, learned: Path) -> None:
    result = json.loads((learned / "result.json").read_text())
    assert result["error_rate"] < 0.1 and result["best_accuracy"] > 0.9
    model = Seq2Seq.load(learned / "model")
    assert model.output.kind == "units" and model.output.reduced and model.vocabulary is None
    stored = {line.split("\t")[0]: line.split("\t") for line in (learned / "hypotheses.tsv").read_text().splitlines()}
    for name in ("u00", "u07"):
        units = model(tones / f"{name}.wav", search=Search(beam=3, max_per_frame=1.0, max_tokens=40))
        assert " ".join(map(str, units.tolist())) == stored[name][2]


@pytest.mark.corpus
def test_it_learns_a_few_utterances_of_real_speech_by_heart(corpora: Path, tmp_path: Path) -> None:
    """Characters of four utterances of Mboshi, every one of them right in a beam search."""
    table = (line.split("\t") for line in (corpora / "mboshi" / "utterances.tsv").read_text().splitlines())
    found = [row for row in table if row[1] == "dev"][:4]
    manifest = tmp_path / "four.jsonl"
    rows = [
        {"id": row[0], "audio": str(corpora / "mboshi" / "dev" / f"{row[0]}.opus"), "text": row[3]} for row in found
    ]
    manifest.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert train(tmp_path / "run", data__train=manifest, data__valid=manifest, settings__ctc_weight=0.3,
                 settings__adaptor__dim=64, settings__decoder__dim=64, encoder__num_mels=40, encoder__dim=80,
                 training__updates=150, training__valid_every=150, training__save_every=150,
                 search__max_tokens=80) == 0  # fmt: skip
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert result["best_accuracy"] > 0.98 and result["exact"] == 1


def test_several_recordings_at_once_give_what_each_gives_alone(tones: Path, learned: Path) -> None:
    model = Seq2Seq.load(learned / "model")
    waves = [torch.from_numpy(read(tones / f"u0{k}.wav", sample_rate=16000).samples) for k in range(3)]
    together = model.hypotheses([*waves, torch.zeros(100)], Search(beam=2, num_best=2, max_tokens=30))
    for wave, found in zip(waves, together, strict=False):
        (alone,) = model.hypotheses([wave], Search(beam=2, num_best=2, max_tokens=30))
        assert [h.tokens for h in alone] == [h.tokens for h in found]
        assert [h.score for h in alone] == pytest.approx([h.score for h in found], abs=1e-3)
    assert together[3] == [] and len(model(np.zeros(100), 16000)) == 0
    with pytest.raises(DataError, match="600 s are more than 60 s"):
        model(np.zeros(600 * 16000), 16000)


def test_a_resumed_run_is_the_undisturbed_one_bit_for_bit(tones: Path, tmp_path: Path) -> None:
    same = {"data__train": tones, "data__valid": tones, "data__targets": tones.with_suffix(".labels"),
            "settings__dropout__residual": 0.1}  # fmt: skip
    assert train(tmp_path / "one", **same) == 0
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    shutil.rmtree(tmp_path / "two" / "checkpoints" / "update-000000006")
    shutil.rmtree(tmp_path / "two" / "model")
    assert train(tmp_path / "two", **same) == 0
    one, two = (checkpoint.load(tmp_path / run / "checkpoints" / "update-000000006") for run in ("one", "two"))
    assert all(torch.equal(tensor, two.model[name]) for name, tensor in one.model.items())
    for name in ("model/model.safetensors", "model/card.json", "result.json", "hypotheses.tsv"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes(), name


def test_texts_with_ctc_and_a_task_train_and_search_jointly(tmp_path: Path) -> None:
    data = texts_corpus(tmp_path / "data", 6)
    other = tmp_path / "other"
    other.write_text("".join(f"u{k:02} {'ab' * (k + 1)}\n" for k in range(5)))
    assert train(
        tmp_path / "run", data__train=data, data__valid=data, settings__ctc_weight=0.3, search_ctc_weight=0.3,
        data__tasks=f'{{mine="source", yours="{other}"}}', training__updates=2,
        settings__tasks='[{name="mine", layer=1}, {name="yours", kind="attention", weight=0.5, decoder={dim=16, ffn_dim=16, num_layers=1, num_heads=2}}]',  # noqa: E501
    ) == 0  # fmt: skip
    model = Seq2Seq.load(tmp_path / "run" / "model")
    assert isinstance(model(data / "u00.wav", ctc_weight=0.3), str) and model.vocabulary is not None
    (row,) = [r for r in map(json.loads, (tmp_path / "run/log.jsonl").read_text().splitlines()) if r["kind"] == "valid"]
    assert {"ctc_loss", "mine_loss", "yours_loss", "yours_left_out", "ctc_no_path"} <= set(row)
    assert row["yours_left_out"] == pytest.approx(1 / 6, abs=0.05)
    for change in ("vocabulary.json", "card.json", "model.safetensors"):
        folder = tmp_path / change
        shutil.copytree(tmp_path / "run" / "model", folder)
        raw = (folder / change).read_bytes()
        changed = raw[:-1] + bytes([raw[-1] ^ 1]) if change == "model.safetensors" else raw.replace(
            b'"keep"', b'"lower"').replace(b'"tied": true', b'"tied": false')  # fmt: skip
        assert changed != raw
        (folder / change).write_bytes(changed)
        with pytest.raises(CheckpointError):
            Seq2Seq.load(folder)


def test_what_cannot_be_used_is_listed(tones: Path, tmp_path: Path) -> None:
    targets = tmp_path / "units"
    lines = tones.with_suffix(".labels").read_text().splitlines()
    targets.write_text("\n".join([*lines[:5], "u05", *lines[6:7]]) + "\n")
    assert train(tmp_path / "run", data__train=tones, data__targets=targets, training__updates=1) == 0
    left = [line.split("\t") for line in (tmp_path / "run" / "left_out.tsv").read_text().splitlines()]
    assert {row[1]: row[2] for row in left} == dict.fromkeys(("u05", "u07"), "no target")


def test_speech_without_one_parallel_line_is_an_error(
    tones: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "units").write_text("other 1 2\nu03\n")  # of other speech, and of no unit
    assert train(tmp_path / "run", data__train=tones, data__targets=tmp_path / "units") == 2
    assert "none of 8 utterances has a usable target (no target)" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("others", "message"),
    [
        ({"settings__num_symbols": 9}, "num_symbols"),
        ({"data__num_units": 3}, "not below 3"),
        ({"settings__tasks": '[{name="a"}]'}, "each needs the other"),
        ({"data__targets": "no_such"}, "no_such"),
        ({"encoder__family": "cpc"}, "unknown key"),
    ],
)
def test_a_wrong_setting_is_an_error_that_names_it(
    tones: Path, tmp_path: Path, others: dict[str, Any], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    values = {"data__train": tones, "data__targets": tones.with_suffix(".labels"), **others}
    assert train(tmp_path / "run", **values) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("name", ["s2ut", "s2ut_stacked", "s2ut_enhanced", "tiny_s2ut", "aed_asr"])
def test_a_config_builds_its_model_and_stores_whole(name: str, tmp_path: Path) -> None:
    run = config.load(Run, CONF / f"{name}.toml")
    symbols = vocabulary.of_characters(["abc"])
    units = UnitTargets({}, 100, True) if "s2ut" in name else None
    tasks = dict.fromkeys(run.data.tasks, symbols)
    with torch.device("meta"):
        encoder, _ = make_encoder(run.encoder, normalize=run.normalize, seed=0, purpose="")
        objective = build(run, encoder, Targets(units, None if units else symbols, tasks))
    total = sum(parameter.numel() for parameter in objective.parameters())
    least, most = {"tiny_s2ut": (0, 6e6), "s2ut_enhanced": (450e6, 600e6)}.get(name, (20e6, 40e6))
    assert least < total < most
    (tmp_path / "config.toml").write_text(config.to_toml(run), encoding="utf-8")
    assert config.load(Run, tmp_path / "config.toml") == run


def test_the_decoder_of_enhanced_s2ut_is_that_of_the_unit_mbart_in_front_of_it() -> None:
    runs = [config.load(kind, CONF / f"{name}.toml") for kind, name in ((Run, "s2ut_enhanced"), (BartRun, "unit_bart"))]
    assert runs[0].settings["decoder"] == runs[1].settings["decoder"]
    assert runs[0].settings["adaptor"]["dim"] == runs[1].settings["adaptor"]["dim"]


def test_stacks_of_units_of_all_frames_are_learned_by_heart(tones: Path, tmp_path: Path) -> None:
    """Nothing is merged or cut off: targets end in every place of a stack."""
    frames = {name: units.split() for name, _, units in
              (line.partition(" ") for line in tones.with_suffix(".labels").read_text().splitlines())}  # fmt: skip
    targets = tmp_path / "units"  # of every third frame, so that they are few
    kept = {name: units[::3][: 12 + number % 3] for number, (name, units) in enumerate(frames.items())}
    targets.write_text("".join(f"{name} {' '.join(units)}\n" for name, units in kept.items()))
    assert len({len(units) % 3 for units in kept.values()}) == 3 and "1 1 1" in targets.read_text()
    assert train(tmp_path / "run", data__train=tones, data__valid=tones, data__targets=targets, data__reduced=False,
                 settings__decoder__stack=3, search__beam=2, training__updates=150, training__valid_every=150,
                 training__save_every=150) == 0  # fmt: skip
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert result["error_rate"] < 0.05 and result["best_accuracy"] > 0.97
    model = Seq2Seq.load(tmp_path / "run" / "model")
    assert not model.output.reduced and model.parts.model.config.decoder.stack == 3
    stored = {line.split("\t")[0]: line.split("\t")[2] for line in
              (tmp_path / "run" / "hypotheses.tsv").read_text().splitlines()}  # fmt: skip
    units = model(tones / "u03.wav", search=Search(beam=2, max_per_frame=1.0, max_tokens=40))
    assert " ".join(map(str, units.tolist())) == stored["u03"]
