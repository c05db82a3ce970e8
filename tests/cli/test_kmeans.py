"""The verb kmeans as a user calls it: from audio, from stored features, from released files; its folder and report."""

import json
from pathlib import Path

import joblib
import kaldiio
import numpy as np
import pytest
import torch
from sklearn.cluster import MiniBatchKMeans

from speechssl import convert
from speechssl.cli import main
from speechssl.data.corpus import open_corpus, read_utterance
from speechssl.extract.outputs import read_units
from speechssl.quantizers.kmeans_fit import fit
from speechssl.units.model import UnitModel
from tests.extract.helpers import contents, corpus


@pytest.fixture
def speech(tmp_path: Path) -> Path:
    corpus(tmp_path / "in", 8)
    return tmp_path


def kmeans(root: Path, *more: object, output: str = "model") -> int:
    options = ["-o", root / output, "--encoder", "mfcc", "--quiet", *more]
    return main(["kmeans", *(str(word) for word in options)])


def mfcc_features(root: Path) -> dict[str, np.ndarray]:
    pretrained = convert.load_encoder("mfcc")
    utterances = open_corpus(root / "in").utterances
    samples = {u.id: torch.from_numpy(read_utterance(u, sample_rate=16000).samples) for u in utterances}
    return {name: pretrained.features(wav, 0).numpy() for name, wav in samples.items()}


def test_audio_to_a_unit_model_that_units_takes(speech: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert kmeans(speech, speech / "in", "-k", 6, "--workers", 0, "--seed", 3) == 0
    output = capsys.readouterr().out
    assert "unit model of 6 units, 39 channels" in output and "perplexity" in output and "0 empty" in output
    features = mfcc_features(speech)
    expected, fitted = fit(lambda: features.items(), num_units=6, seed=3)
    model = UnitModel.load(speech / "model")
    assert torch.equal(model.quantizer.centroids, expected.centroids)
    report = json.loads((speech / "model" / "kmeans.json").read_text())
    assert tuple(report["usage"]) == fitted.usage and report["frames_seen"] == sum(map(len, features.values()))
    assert report["inertia"] == fitted.inertia == model.card.training["kmeans"]["inertia"]
    assert main(["units", str(speech / "in"), "-o", str(speech / "out"), "--model", str(speech / "model"),
                 "--workers", "0", "--quiet"]) == 0  # fmt: skip
    for name, units in read_units(speech / "out"):
        assert np.array_equal(units.ids, expected.encode(torch.from_numpy(features[name])).numpy())


def test_workers_and_full_passes_give_the_same_model(speech: Path) -> None:
    common = (speech / "in", "-k", 6, "--full", "--max-frames", 40)
    assert kmeans(speech, *common, "--workers", 0) == 0
    assert kmeans(speech, *common, "--workers", 2, output="again") == 0
    first, again = contents(speech / "model"), contents(speech / "again")
    assert first.keys() == again.keys() >= {"card.json", "quantizer.safetensors", "kmeans.json"}
    assert all(first[name] == again[name] for name in ("card.json", "quantizer.safetensors"))
    report = json.loads(first["kmeans.json"])
    assert report["mode"] == "full" and report["frames_sampled"] == 40 and len(report["runs"]) == 2


def test_skipped_utterances_are_listed_and_give_exit_code_1(speech: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (speech / "in" / "bad.wav").write_bytes(b"")
    assert kmeans(speech, speech / "in", "-k", 3, "--workers", 0, "--json") == 1
    captured = capsys.readouterr()
    report = json.loads(captured.out)
    assert report["skipped"]["bad"][0] == "empty" and "skipped: bad\tempty" in captured.err


@pytest.mark.parametrize("store", ["npy", "ark", "npz", "safetensors"])
def test_stored_features_give_the_same_model_as_audio(speech: Path, store: str) -> None:
    assert kmeans(speech, speech / "in", "-k", 6, "--workers", 0) == 0
    assert main(["features", str(speech / "in"), "-o", str(speech / "f"), "--encoder", "mfcc", "--format", store,
                 "--workers", "0", "--quiet"]) == 0  # fmt: skip
    assert kmeans(speech, "--features", speech / "f", "-k", 6, output="stored") == 0
    name = "quantizer.safetensors"
    assert (speech / "model" / name).read_bytes() == (speech / "stored" / name).read_bytes()


def test_features_of_another_encoder_are_refused(speech: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["features", str(speech / "in"), "-o", str(speech / "f"), "--encoder", "mfcc", "--workers", "0", "--quiet"])
    job = json.loads((speech / "f" / "job.json").read_text())
    job["model"]["encoder"]["sha256"] = "0" * 64
    (speech / "f" / "job.json").write_text(json.dumps(job))
    assert kmeans(speech, "--features", speech / "f", "-k", 6) == 2
    assert "not of layer 0 of mfcc" in capsys.readouterr().err and not (speech / "model").exists()


def test_features_of_kaldi_and_fairseq_are_read(speech: Path) -> None:
    features = mfcc_features(speech)
    folder = speech / "f"
    for name in ("scp", "ark", "npy"):
        (folder / name).mkdir(parents=True)
    kaldiio.save_ark(str(folder / "ark" / "x.ark"), features, scp=str(folder / "scp" / "feats.scp"))
    np.save(folder / "npy" / "train_0_1.npy", np.concatenate(list(features.values())))
    (folder / "npy" / "train_0_1.len").write_text("".join(f"{len(frames)}\n" for frames in features.values()))
    for number, source in enumerate(("scp", "ark/x.ark", "npy", "npy/train_0_1.npy")):
        assert kmeans(speech, "--features", folder / source, "-k", 6, output=f"m{number}") == 0
        report = json.loads((speech / f"m{number}" / "kmeans.json").read_text())
        assert report["frames_seen"] == sum(map(len, features.values()))
    (folder / "npy" / "train_0_1.len").write_text("5\n")
    assert kmeans(speech, "--features", folder / "npy", "-k", 6, output="bad") == 2
    np.save(folder / "npy" / "train_0_1.npy", np.zeros((50, 5), np.float32))
    (folder / "npy" / "train_0_1.len").unlink()
    assert kmeans(speech, "--features", folder / "npy", "-k", 6, output="bad") == 2


def test_a_released_k_means_is_wrapped(speech: Path) -> None:
    frames = np.concatenate(list(mfcc_features(speech).values()))
    released = MiniBatchKMeans(7, n_init=1, random_state=0).fit(frames)
    joblib.dump(released, speech / "km.bin")
    assert kmeans(speech, "--from-file", speech / "km.bin", "--name", "mine", "--licence", "MIT") == 0
    model = UnitModel.load(speech / "model")
    assert np.array_equal(model.quantizer.encode(torch.from_numpy(frames)).numpy(), released.predict(frames))
    assert (model.card.name, model.card.licence) == ("mine", "MIT")
    assert len(model.card.training["kmeans"]["sha256"]) == 64
    np.save(speech / "narrow.npy", np.zeros((4, 5), np.float32))
    assert kmeans(speech, "--from-file", speech / "narrow.npy", output="bad") == 2
    assert kmeans(speech, "--from-file", speech / "km.bin", "-k", 8, output="bad") == 2
    assert not (speech / "bad").exists()


def test_an_existing_folder_is_replaced_only_when_asked_and_only_a_unit_model(speech: Path) -> None:
    np.save(speech / "c.npy", np.zeros((4, 39), np.float32))
    wrap = ("--from-file", speech / "c.npy")
    assert kmeans(speech, *wrap) == 0
    before = contents(speech / "model")
    assert kmeans(speech, *wrap) == 2 and contents(speech / "model") == before
    np.save(speech / "c.npy", np.ones((4, 39), np.float32))
    assert kmeans(speech, *wrap, "--overwrite") == 0
    assert contents(speech / "model") != before
    assert kmeans(speech, *wrap, "--overwrite", output="in") == 2 and (speech / "in" / "a").is_dir()
    assert sorted(path.name for path in speech.iterdir()) == ["c.npy", "in", "model"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "give one of"),
        (["in", "--from-file", "x"], "give one of"),
        (["in"], "--num-units"),
        (["in", "-k", "0"], "num_units=0"),
        (["in", "-k", "5", "--layer", "3"], "layers 0..0"),
        (["in", "-k", "5", "--workers", "-1"], "--workers"),
        (["in", "-k", "100000"], "cannot make 100000 units"),
        (["absent", "-k", "5"], "no such file"),
        (["--features", "in", "-k", "5"], "no features there"),
    ],
)
def test_wrong_calls_say_what_to_do(
    speech: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, words: list[str], message: str
) -> None:
    monkeypatch.chdir(speech)
    workers = [] if "--workers" in words else ["--workers", "0"]
    assert main(["kmeans", *words, "-o", "model", "--encoder", "mfcc", "--quiet", *workers]) == 2
    assert message in capsys.readouterr().err
    assert [path.name for path in speech.iterdir()] == ["in"]
