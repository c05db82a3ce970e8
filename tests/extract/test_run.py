"""A corpus to a folder: what is in it, what is refused, what a second run does. All in this process."""

import dataclasses
import itertools
import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from speechssl.data.corpus import Corpus, open_corpus, read_utterance
from speechssl.data.utterance import Utterance
from speechssl.errors import CheckpointError, ConfigError, DataError
from speechssl.extract import lock
from speechssl.extract.job import LongAudio, ModelSpec
from speechssl.extract.merge import Output
from speechssl.extract.outputs import read_features, read_units, verify
from speechssl.extract.run import Options, run_features, run_units
from speechssl.units.formats import Info, unit_format
from speechssl.units.model import UnitModel
from tests.extract.helpers import contents, corpus, model

HERE = Options(workers=0, quiet=True)


def test_units_are_those_of_the_unit_model_called_on_each_file(tmp_path: Path) -> None:
    speech, spec = corpus(tmp_path / "in"), model(tmp_path / "model")
    report = run_units(speech, tmp_path / "out", spec, options=HERE)
    unit_model = UnitModel.load(tmp_path / "model")
    expected = [(u.id, unit_model(u.audio)) for u in speech.utterances]
    assert list(read_units(tmp_path / "out")) == expected
    info = Info(50.0, 20, False, tmp_path)
    assert list(unit_format("text").read(tmp_path / "out", info)) == expected
    assert (report.ok, report.failed, report.exit_code, report.finished) == (12, 0, 0, True)
    assert report.frames == sum(len(units) for _, units in expected)
    assert report.hours * 3600 == pytest.approx(sum(soundfile.info(u.audio).duration for u in speech.utterances))


@pytest.mark.parametrize("name", ["npy", "ark", "npz", "safetensors", "tar"])
def test_features_are_those_of_the_encoder_in_every_format(tmp_path: Path, name: str) -> None:
    speech, spec = corpus(tmp_path / "in", 7), model(tmp_path / "model")
    run_features(speech, tmp_path / "out", spec, format=name, options=HERE, shard_size=3)
    pretrained = UnitModel.load(tmp_path / "model").pretrained
    found = dict(read_features(tmp_path / "out"))
    assert list(found) == [u.id for u in speech.utterances]
    for utterance in speech.utterances:
        samples = torch.from_numpy(read_utterance(utterance, sample_rate=16000).samples)
        assert np.array_equal(found[utterance.id], pretrained.features(samples, 0).numpy())
    assert verify(tmp_path / "out")[0] == []


def test_fairseq_and_kaldi_tools_read_the_feature_shards(tmp_path: Path) -> None:
    import kaldiio

    speech, spec = corpus(tmp_path / "in", 7), model(tmp_path / "model")
    run_features(speech, tmp_path / "npy", spec, options=HERE, shard_size=3)
    expected = dict(read_features(tmp_path / "npy"))
    loaded = []
    for rank in range(3):  # as fairseq's learn_kmeans.py loads them: {split}_{rank}_{nshard}.npy and .len
        array = np.load(tmp_path / "npy" / "shards" / f"features_{rank}_3.npy", mmap_mode="r")
        lengths = [int(n) for n in (tmp_path / "npy" / "shards" / f"features_{rank}_3.len").read_text().splitlines()]
        ends = np.cumsum([0, *lengths])
        loaded += [array[start:end] for start, end in itertools.pairwise(ends)]
    assert all(np.array_equal(a, b) for a, b in zip(loaded, expected.values(), strict=True))
    run_features(speech, tmp_path / "ark", spec, format="ark", options=HERE, shard_size=3)
    by_scp = kaldiio.load_scp(str(tmp_path / "ark" / "feats.scp"))
    assert list(by_scp) == list(expected)
    assert all(np.array_equal(by_scp[name], expected[name]) for name in expected)


def test_a_second_run_computes_nothing_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    speech, spec = corpus(tmp_path / "in"), model(tmp_path / "model")
    first = run_units(speech, tmp_path / "out", spec, options=HERE)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*") if "lock" not in path.name}
    monkeypatch.setattr("speechssl.extract.shard.run_shard", lambda *a, **k: pytest.fail("computed again"))
    second = run_units(speech, tmp_path / "out", spec, options=HERE)
    assert second.nothing_to_do and "nothing was computed" in second.to_text()
    assert (second.ok, second.files) == (first.ok, first.files)
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "out").rglob("*") if "lock" not in p.name} == before


def test_another_format_is_written_from_the_shards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    speech, spec = corpus(tmp_path / "in"), model(tmp_path / "model")
    run_units(speech, tmp_path / "out", spec, options=HERE)
    monkeypatch.setattr("speechssl.extract.shard.run_shard", lambda *a, **k: pytest.fail("computed again"))
    report = run_units(speech, tmp_path / "out", spec, outputs=[Output("jsonl", True)], options=HERE)
    assert {"units", "units.jsonl"} <= set(report.files)
    expected = [(name, units.dedup()) for name, units in read_units(tmp_path / "out")]
    assert list(unit_format("jsonl").read(tmp_path / "out", Info(50.0, 20, True, tmp_path))) == expected
    assert verify(tmp_path / "out")[0] == []


def test_rows_that_fail_are_named_with_a_code_and_the_others_are_untouched(tmp_path: Path) -> None:
    folder, spec = tmp_path / "in", model(tmp_path / "model")
    corpus(folder)
    run_units(open_corpus(folder), tmp_path / "clean", spec, options=HERE)
    good = (folder / "a" / "u000.wav").read_bytes()
    nan = np.zeros(16000, np.float32)
    nan[77] = np.nan
    (folder / "a" / "empty.wav").write_bytes(b"")
    (folder / "a" / "text.wav").write_text("this is no audio\n" * 50)
    (folder / "b" / "cut.wav").write_bytes(good[: len(good) // 2])
    (folder / "b" / "directory.wav").mkdir()
    soundfile.write(folder / "b" / "nan.wav", nan, 16000, subtype="FLOAT")
    soundfile.write(folder / "one.wav", np.zeros(1), 16000)
    soundfile.write(folder / "z399.wav", np.zeros(399), 16000)
    soundfile.write(folder / "z400.wav", np.zeros(400), 16000)
    (folder / "gone.wav").symlink_to(folder / "nowhere")
    bad = open_corpus(folder)
    report = run_units(bad, tmp_path / "out", spec, options=HERE)
    rows = [line.split("\t")[:2] for line in (tmp_path / "out" / "failures.tsv").read_text().splitlines()[1:]]
    assert dict(rows) == {
        "a/empty": "empty",
        "a/text": "unsupported",
        "b/cut": "truncated",
        "b/nan": "non-finite",
        "gone": "missing",
        "one": "too-short",
        "z399": "too-short",
    }
    assert report.ok + report.failed == len(bad.utterances) == 12 + 1 + 7
    assert report.failures["too-short"] == 2
    assert report.exit_code == 1
    clean, found = dict(read_units(tmp_path / "clean")), dict(read_units(tmp_path / "out"))
    assert {name: found[name] for name in clean} == clean
    assert len(found["z400"]) == 1


def test_nothing_usable_is_exit_code_2(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "x.wav").write_bytes(b"")
    report = run_units(open_corpus(tmp_path / "in"), tmp_path / "out", model(tmp_path / "model"), options=HERE)
    assert (report.exit_code, report.finished, (tmp_path / "out" / "units").read_text()) == (2, True, "")


def test_what_was_done_to_recordings_is_counted_in_the_report(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for number in range(3):
        soundfile.write(tmp_path / "in" / f"{number}.wav", np.full((8000, 2), 0.1), 8000)
    report = run_units(open_corpus(tmp_path / "in"), tmp_path / "out", model(tmp_path / "model"), options=HERE)
    assert report.notes == {"mixed 2 channels to mono": 3, "resampled 8000 Hz to 16000 Hz": 3}
    assert "resampled 8000 Hz to 16000 Hz: 3 utterances" in report.to_text()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"long_audio": LongAudio(window_s=99.0)}, r"long_audio\.window_s is 60\.0 there, 99"),
        ({"precision": "bf16"}, "precision is 'fp32' there, 'bf16' now"),
        ({"shard_size": 5}, "num_shards"),
    ],
)
def test_a_changed_setting_in_the_same_folder_is_an_error(tmp_path: Path, change: dict, message: str) -> None:
    speech, spec = corpus(tmp_path / "in"), model(tmp_path / "model")
    run_units(speech, tmp_path / "out", spec, options=HERE)
    with pytest.raises(DataError, match=message):
        run_units(speech, tmp_path / "out", spec, options=HERE, **change)


def test_a_job_that_never_got_anything_done_does_not_block_its_folder(tmp_path: Path) -> None:
    speech, spec = corpus(tmp_path / "in", 3), model(tmp_path / "model")
    with pytest.raises(ConfigError):  # MFCCs have no weights to make smaller
        run_units(speech, tmp_path / "out", spec, precision="int8", options=HERE)
    assert run_units(speech, tmp_path / "out", spec, options=HERE).finished


def test_a_gpu_that_is_not_there_is_a_clear_error(tmp_path: Path) -> None:
    speech, spec = corpus(tmp_path / "in", 3), model(tmp_path / "model")
    if torch.cuda.is_available():
        pytest.skip("there is one")
    with pytest.raises(ConfigError, match="no GPU"):
        run_units(speech, tmp_path / "out", spec, device="cuda", options=HERE)
    with pytest.raises(ConfigError, match="choose fp32"):
        run_units(speech, tmp_path / "out", spec, device="cuda", precision="int8", options=HERE)


def test_a_changed_model_manifest_or_kind_is_an_error_until_overwritten(tmp_path: Path) -> None:
    speech, spec = corpus(tmp_path / "in"), model(tmp_path / "model")
    run_units(speech, tmp_path / "out", spec, options=HERE)
    other = model(tmp_path / "other", num_units=21)
    fewer = dataclasses.replace(speech, utterances=speech.utterances[1:])
    with pytest.raises(DataError, match=r"model\.num_units is 20 there, 21 now"):
        run_units(speech, tmp_path / "out", other, options=HERE)
    with pytest.raises(DataError, match=r"manifest\.sha256"):
        run_units(fewer, tmp_path / "out", spec, options=HERE)
    with pytest.raises(DataError, match="kind is 'units' there"):
        run_features(speech, tmp_path / "out", spec, options=HERE)
    run_units(fewer, tmp_path / "fresh", other, options=HERE)
    run_units(fewer, tmp_path / "out", other, options=dataclasses.replace(HERE, overwrite=True))
    assert contents(tmp_path / "out") == contents(tmp_path / "fresh")


def test_a_model_that_changed_between_runs_of_one_job_is_an_error(tmp_path: Path) -> None:
    """The card says one thing, the files another: noticed by the process that loads them."""
    speech, spec = corpus(tmp_path / "in"), model(tmp_path / "model")
    model(tmp_path / "other", num_units=21)
    (tmp_path / "other" / "quantizer.safetensors").replace(tmp_path / "model" / "quantizer.safetensors")
    with pytest.raises(CheckpointError, match="changed"):
        run_units(speech, tmp_path / "out", spec, options=HERE)


def test_a_folder_with_files_of_others_is_not_written_to(tmp_path: Path) -> None:
    speech, spec = corpus(tmp_path / "in", 2), model(tmp_path / "model")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").write_text("precious")
    for overwrite in (False, True):
        with pytest.raises(DataError, match=r"not empty.*thesis\.tex"):
            run_units(speech, tmp_path / "out", spec, options=dataclasses.replace(HERE, overwrite=overwrite))
    with pytest.raises(DataError, match="a file of that name"):
        run_units(speech, tmp_path / "out" / "thesis.tex", spec, options=HERE)


def test_overwrite_leaves_the_users_own_files(tmp_path: Path) -> None:
    speech, spec = corpus(tmp_path / "in", 2), model(tmp_path / "model")
    run_units(speech, tmp_path / "out", spec, options=HERE)
    (tmp_path / "out" / "notes.md").write_text("mine")
    run_units(speech, tmp_path / "out", spec, options=dataclasses.replace(HERE, overwrite=True))
    assert (tmp_path / "out" / "notes.md").read_text() == "mine"


def test_a_second_writer_is_refused(tmp_path: Path) -> None:
    speech, spec = corpus(tmp_path / "in", 2), model(tmp_path / "model")
    (tmp_path / "out").mkdir()
    with lock.writing(tmp_path / "out", (0, 1)), pytest.raises(DataError, match="another process is writing"):
        run_units(speech, tmp_path / "out", spec, options=HERE)
    with lock.writing(tmp_path / "out", (0, 2)):
        with pytest.raises(DataError, match="another process is writing"):
            run_units(speech, tmp_path / "out", spec, options=HERE)
        with pytest.raises(DataError, match="shard 0/2"):
            run_units(speech, tmp_path / "out", spec, options=dataclasses.replace(HERE, part=(0, 2)))
        assert not run_units(speech, tmp_path / "out", spec, options=dataclasses.replace(HERE, part=(1, 2))).finished


@pytest.mark.parametrize("order", [[0, 1, 2], [2, 0, 1]])
def test_parts_on_a_cluster_give_the_files_of_a_single_run(tmp_path: Path, order: list[int]) -> None:
    speech, spec = corpus(tmp_path / "in"), model(tmp_path / "model")
    run_units(speech, tmp_path / "whole", spec, options=HERE)
    reports = [
        run_units(speech, tmp_path / "out", spec, options=dataclasses.replace(HERE, part=(part, 3))) for part in order
    ]
    assert [report.finished for report in reports] == [False, False, True]
    assert [report.run_utterances for report in reports] == [4, 4, 4]
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")
    assert verify(tmp_path / "out")[0] == []


def test_merge_alone_needs_all_shards_and_computes_none(tmp_path: Path) -> None:
    speech, spec = corpus(tmp_path / "in"), model(tmp_path / "model")
    merge_only = dataclasses.replace(HERE, merge_only=True)
    run_units(speech, tmp_path / "out", spec, options=dataclasses.replace(HERE, part=(0, 2)))
    with pytest.raises(DataError, match=r"6 of 12 shards are missing: \[1, 3, 5"):
        run_units(speech, tmp_path / "out", spec, options=merge_only)
    run_units(speech, tmp_path / "out", spec, options=dataclasses.replace(HERE, part=(1, 2)))
    (tmp_path / "out" / "sha256sums").unlink()
    (tmp_path / "out" / "units").unlink()
    assert run_units(speech, tmp_path / "out", spec, options=merge_only).finished
    assert len((tmp_path / "out" / "units").read_text().splitlines()) == 12


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        (["a", "b", "a"], "rows 1 and 3: utterance id 'a' comes twice"),
        (["a", ""], "row 2.*empty"),
        (["a", "b c"], "row 2: utterance id 'b c': holds white space"),
        (["a", "\udcff"], "row 2.*Unicode"),
    ],
)
def test_ids_that_cannot_be_kept_are_refused_before_anything_is_computed(
    tmp_path: Path, ids: list[str], message: str
) -> None:
    speech = Corpus([Utterance(name, "/nowhere.wav") for name in ids], "files", "test")
    with pytest.raises(DataError, match=message):
        run_units(speech, tmp_path / "out", model(tmp_path / "model"), options=HERE)
    assert not (tmp_path / "out").exists()


def test_ids_that_look_like_paths_stay_inside_the_folder(tmp_path: Path) -> None:
    path = tmp_path / "x.wav"
    soundfile.write(path, np.zeros(800), 16000)
    ids = ["../../up", "/absolute", "a/b", "..", "~", "é" * 200]
    speech = Corpus([Utterance(name, str(path)) for name in ids], "files", "test")
    spec = model(tmp_path / "model")
    before = set(tmp_path.iterdir())
    outputs = [Output(name, True) for name in ("text", "jsonl", "fairseq", "npz", "parquet", "ark")]
    run_units(speech, tmp_path / "out", spec, outputs=outputs, options=HERE)
    for name in ("npy", "npz", "ark", "safetensors"):
        run_features(speech, tmp_path / f"f-{name}", spec, format=name, options=HERE)
        assert [key for key, _ in read_features(tmp_path / f"f-{name}")] == ids
    assert [key for key, _ in read_units(tmp_path / "out")] == ids
    assert {p.name for p in set(tmp_path.iterdir()) - before} == {"out", "f-npy", "f-npz", "f-ark", "f-safetensors"}


def test_the_sidecar_says_how_the_units_came_about(tmp_path: Path) -> None:
    speech, spec = corpus(tmp_path / "in"), model(tmp_path / "model")
    run_units(speech, tmp_path / "out", spec, options=HERE)
    sidecar = json.loads((tmp_path / "out" / "units.json").read_text())
    card = json.loads((tmp_path / "model" / "card.json").read_text())
    assert sidecar["model"]["unit_model"] == card["sha256"]
    assert sidecar["model"]["quantizer"] == card["quantizer"]
    assert sidecar["model"]["encoder"] == card["encoder"]
    assert sidecar["model"]["frame_rule"] == "floor((N - 400) / 320) + 1"
    assert (sidecar["rate_hz"], sidecar["precision"], sidecar["input"]["utterances"]) == (50.0, "fp32", 12)
    assert str(tmp_path / "out") not in (tmp_path / "out" / "units.json").read_text()


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (ModelSpec(), "which model"),
        (ModelSpec(encoder="mfcc"), "--kmeans"),
        (ModelSpec(unit_model="x", layer=3), "own layer"),
        (ModelSpec(unit_model="x", kmeans="y"), "own layer and k-means"),
    ],
)
def test_half_a_model_is_refused_with_what_is_missing(tmp_path: Path, spec: ModelSpec, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        run_units(corpus(tmp_path / "in", 1), tmp_path / "out", spec, options=HERE)
