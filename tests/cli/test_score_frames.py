"""`speechssl score abx` and `score probe` on features and units that the command line made."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from torch import Tensor

from speechssl import encoders
from speechssl.cli import main
from speechssl.encoders.pretrained import EncoderCard, Pretrained
from speechssl.errors import DataError
from speechssl.metrics.alignments import read_alignments
from speechssl.metrics.probe import label_frames
from speechssl.metrics.unit_report import score_corpus
from speechssl.units import layer_sweep
from tests.egs.test_recipes import RATE, speak


@pytest.fixture(scope="module")
def speech(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two speakers, phones that MFCCs tell apart, features and units of them."""
    folder = tmp_path_factory.mktemp("speech")
    rng = np.random.default_rng(0)
    (folder / "in").mkdir()
    rows, speakers = [], []
    for i in range(16):
        samples, segments = speak(rng, 16)
        soundfile.write(folder / "in" / f"u{i:02}.wav", samples, RATE)
        rows += [f"u{i:02}\t{start:.4f}\t{end:.4f}\t{label}" for start, end, label in segments]
        speakers.append(f"u{i:02} s{i % 2}")
    (folder / "phones.tsv").write_text("\n".join(rows) + "\n")
    (folder / "utt2spk").write_text("\n".join(speakers) + "\n")
    mfcc = ("--encoder", "mfcc", "--layer", "0", "--quiet")
    assert main(["features", str(folder / "in"), "-o", str(folder / "feats"), "--workers", "0", *mfcc]) == 0
    assert main(["kmeans", str(folder / "in"), "-o", str(folder / "km"), "-k", "12", "--workers", "0", *mfcc]) == 0
    assert main(["units", str(folder / "in"), "-o", str(folder / "units"), "--model", str(folder / "km"), "--workers",
                 "0", "--quiet"]) == 0  # fmt: skip
    return folder


def scored(capsys: pytest.CaptureFixture[str], *arguments: object) -> dict:
    capsys.readouterr()
    assert main(["score", *map(str, arguments), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_abx_of_features_and_units(speech: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    where = ("--phones", speech / "phones.tsv", "--speakers", speech / "utt2spk")
    features = scored(capsys, "abx", speech / "feats", *where, "-o", tmp_path / "new" / "abx.json")
    assert features == json.loads((tmp_path / "new" / "abx.json").read_text())
    assert features["distance"] == "angular" and features["cells_within"] > 5 and features["cells_across"] > 5
    assert features["within"] < 0.1 and features["across"] < 0.1  # MFCCs tell these phones apart
    units = scored(capsys, "abx", speech / "units", *where)
    assert units["distance"] == "identical" and units["within"] < 0.3
    apart = scored(capsys, "abx", speech / "units", *where, "--no-pool-x-speakers")
    assert units["pool_x_speakers"] and apart == units | {"pool_x_speakers": False}  # two speakers: the same
    alone = scored(capsys, "abx", speech / "feats", *where, "--on", "phone", "--context", "any")
    assert alone["cells_within"] == 2 * 6 and alone["within"] < 0.1  # 2 speakers, 6 ordered pairs of A, I, S
    assert main(["score", "abx", str(speech / "feats"), *map(str, where)]) == 0
    text = capsys.readouterr().out
    assert f"within speakers  {100 * features['within']:.3f} %" in text and "0 in utterances" in text


def test_an_item_file_gives_the_same_as_the_alignment(
    speech: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from speechssl.metrics.abx_items import make_items, write_items

    speakers = dict(line.split() for line in (speech / "utt2spk").read_text().splitlines())
    write_items(tmp_path / "all.item", make_items(read_alignments(speech / "phones.tsv"), speakers))
    by_items = scored(capsys, "abx", speech / "feats", "--item", tmp_path / "all.item")
    made = scored(capsys, "abx", speech / "feats", "--phones", speech / "phones.tsv", "--speakers", speech / "utt2spk")
    assert by_items.pop("on") == "item file" and made.pop("on") == "triphone" and by_items == made


def test_the_probe_finds_what_mfccs_hold(speech: Path, capsys: pytest.CaptureFixture[str]) -> None:
    where = ("--train", speech / "feats", "--phones", speech / "phones.tsv", "--train-phones", speech / "phones.tsv")
    found = scored(capsys, "probe", speech / "feats", *where)
    assert found["labels"] == 4 and found["train_frames"] == found["test_frames"] > 500
    assert 0.85 < found["accuracy"] <= 1 and found["accuracy_without_silence"] > 0.85 and found["majority"] < 0.5
    few = scored(capsys, "probe", speech / "feats", *where, "--max-frames", 50)
    assert few["train_frames"] == 50 and few["accuracy"] < found["accuracy"]
    late = scored(capsys, "probe", speech / "feats", *where, "--phone-shift", 0.1)
    assert late["accuracy"] < found["accuracy"] - 0.2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("abx", "feats"), "give --phones and --speakers, or --item"),
        (("abx", "feats", "--phones", "phones.tsv", "--speakers", "utt2spk", "--rate", "50"), "--rate has no effect"),
        (("abx", "feats", "--item", "utt2spk"), "expected 'file onset offset"),
        (
            ("probe", "units", "--train", "feats", "--phones", "phones.tsv", "--train-phones", "phones.tsv"),
            "holds units",
        ),
    ],
)
def test_what_cannot_be_measured_is_refused(
    speech: Path, arguments: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(speech)
    assert main(["score", *arguments]) == 2
    assert message in capsys.readouterr().err


def test_a_sweep_over_layers_gives_what_single_commands_do(
    speech: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """MFCCs have one layer: the probe, ABX of its frames, and the scores of units."""
    phones, speakers = ("--phones", speech / "phones.tsv"), ("--speakers", speech / "utt2spk")
    both = ("--train-phones", speech / "phones.tsv", *phones)
    swept = scored(capsys, "layers", speech / "in", "--train", speech / "in", "--encoder", "mfcc", *both, *speakers,
                   "-k", 12, "-o", tmp_path / "sweep.json")  # fmt: skip
    assert swept == json.loads((tmp_path / "sweep.json").read_text())
    assert len(swept["layers"]) == 1 and swept["best_layer"] == 0 and swept["skipped"] == {}
    probe = scored(capsys, "probe", speech / "feats", "--train", speech / "feats", *both)
    assert swept["probe"] == pytest.approx(probe["accuracy"], abs=0.002)
    frames = scored(capsys, "abx", speech / "feats", *phones, *speakers)
    assert swept["abx_frames_within"] == pytest.approx(frames["within"])
    assert swept["abx_frames_across"] == pytest.approx(frames["across"])
    units = scored(capsys, "units", speech / "units", *phones)  # another codebook of as many units
    assert swept["pnmi"] == pytest.approx(units["pnmi"], abs=0.1)
    edges = scored(capsys, "boundaries", speech / "units", *phones)
    assert swept["boundary_f1"] == pytest.approx(edges["f1"], abs=0.1)
    command = ["score", "layers", str(speech / "in"), "--train", str(speech / "in"), "--encoder", "mfcc", "-k", "12"]
    lengths = sorted(soundfile.info(path).duration for path in (speech / "in").iterdir())
    for longest, code in ((lengths[-2] + 1e-3, 1), (0.5, 2)):
        assert main([*command, *map(str, both), "--max-s", str(longest)]) == code
        assert "too-long" in capsys.readouterr().err


def test_a_layer_of_few_different_frames_has_these_for_units(speech: Path) -> None:
    """vq-wav2vec's layer 0 is made of codebook entries."""
    alignments = read_alignments(speech / "phones.tsv")
    entries = torch.eye(5)
    layer = [entries[torch.arange(300) % 3], entries[torch.arange(300) % 2]]
    vocabulary = {label: number for number, label in enumerate(alignments.labels)}
    learned = layer_sweep.learn([("u00", layer)], alignments, vocabulary, layer_sweep.Sweep(50, 0.0125, num_units=9))
    assert [model.codebook.size for model in learned] == [3, 2]
    assert torch.equal(learned[0].codebook.decode(learned[0].codebook.encode(layer[0])), layer[0])
    _, units = layer_sweep.score([("u00", layer)], alignments, vocabulary, learned, layer_sweep.Sweep(50, 0.0125, 9))
    assert len(units[0]["u00"].unique()) == 3


def test_units_of_a_sweep_are_scored_as_they_are_elsewhere(speech: Path) -> None:
    alignments = read_alignments(speech / "phones.tsv")
    encoder = encoders.build("tdnn", {"num_mels": 20, "dim": 16, "ffn_dim": 24, "dilations": (1, 2)}).eval()
    pretrained = Pretrained(encoder, EncoderCard("tdnn", {}))

    def encoded() -> Iterator[tuple[str, list[Tensor]]]:
        for path in sorted((speech / "in").glob("*.wav")):
            yield path.stem, pretrained.all_layers(torch.from_numpy(soundfile.read(path, dtype="float32")[0]))

    vocabulary = {label: number for number, label in enumerate(alignments.labels)}
    sweep = layer_sweep.Sweep(rate_hz=50, centre_s=0.0125, num_units=9, shift_s=-0.01)
    learned = layer_sweep.learn(encoded(), alignments, vocabulary, sweep)
    rows, units = layer_sweep.score(encoded(), alignments, vocabulary, learned, sweep)
    assert [row.layer for row in rows] == [0, 1, 2] and len(units) == 3
    for number, (row, model, own) in enumerate(zip(rows, learned, units, strict=True)):
        assert torch.equal(own["u00"], model.codebook.encode(dict(encoded())["u00"][number]))
        expected = score_corpus(((name, ids.numpy()) for name, ids in own.items()), alignments, num_units=9,
                                unit_rate=50, label_shift_s=-0.01).scores  # fmt: skip
        assert (row.pnmi, row.phone_purity, row.bitrate) == (expected.pnmi, expected.phone_purity, expected.bitrate)
        parts = [label_frames(layers[number], alignments, name, vocabulary, rate_hz=50, centre_s=0.0125, shift_s=-0.01)
                 for name, layers in encoded()]  # fmt: skip
        accuracy = model.probe.accuracy(torch.cat([x for x, _ in parts]), torch.cat([y for _, y in parts]))
        assert row.probe == pytest.approx(accuracy)
    assert layer_sweep.best(rows) == max(range(3), key=lambda i: rows[i].probe)
    for nothing in (layer_sweep.learn, lambda *a: layer_sweep.score(a[0], a[1], a[2], learned, a[3])):
        with pytest.raises(DataError, match="has an alignment"):
            nothing([("other", next(iter(encoded()))[1])], alignments, vocabulary, sweep)


def test_scores_say_which_model_they_are_of(speech: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from speechssl.units.card import read_card

    card = read_card(speech / "km")
    units, feats, phones = speech / "units", speech / "feats", ("--phones", speech / "phones.tsv")
    whole = {"encoder": card.encoder.id, "encoder_sha256": card.encoder.sha256, "layer": 0}
    quantized = {**whole, "quantizer": "kmeans", "quantizer_sha256": card.quantizer.sha256, "unit_model": card.sha256}
    of_units, of_feats = {"input": str(units), **quantized}, {"input": str(feats), **whole}
    speakers = ("--speakers", speech / "utt2spk")
    options = {"units": phones, "boundaries": phones, "durations": (), "zipf": (), "abx": (*phones, *speakers),
               "sharing": ("--groups", speech / "utt2spk"), "neighbours": ("--labels", speech / "utt2spk")}  # fmt: skip
    for kind, more in options.items():
        assert scored(capsys, kind, units, *more)["made_by"] == [of_units], kind
    assert scored(capsys, "edits", units, units)["made_by"] == [of_units] * 2
    assert scored(capsys, "similarity", feats, feats, "--neighbours", 0)["made_by"] == [of_feats] * 2
    probe = scored(capsys, "probe", feats, "--train", feats, *phones, "--train-phones", speech / "phones.tsv")
    assert probe["made_by"] == [of_feats] * 2
    (tmp_path / "units.txt").write_text("u 0 0 1\n")
    alone = scored(capsys, "zipf", tmp_path / "units.txt", "--num-units", 2)
    assert alone["made_by"] == [{"input": str(tmp_path / "units.txt")}]
    utterances = scored(capsys, "utterances", speech / "in", "--train", speech / "in", "--encoder", "mfcc", "--labels",
                        speech / "utt2spk", "--l2", 0.1)  # fmt: skip
    assert utterances["encoder_sha256"] == card.encoder.sha256
