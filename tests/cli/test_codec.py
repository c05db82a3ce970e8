"""The verb codec as a user calls it: audio to codes and back, stopped and gone on, refused."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

import speechssl
from speechssl import cli
from speechssl.data.corpus import open_corpus, read_utterance
from speechssl.extract import waveforms
from speechssl.units import codec as files
from tests.codecs.helpers import make
from tests.extract.helpers import contents, corpus


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six recordings, two codecs, and the codes of the first."""
    folder = tmp_path_factory.mktemp("codec")
    corpus(folder / "in", 6)
    files.save(folder / "rvq", make("wave-rvq"))
    files.save(folder / "fsq", make("mel-fsq"))
    for name in ("rvq", "fsq"):
        assert encode(folder, name, folder / f"{name}.codes") == 0
    return folder


def encode(root: Path, name: str, out: Path, *more: str) -> int:
    return cli.main(["codec", "encode", str(root / "in"), "--model", str(root / name), "-o", str(out), "--workers", "0",
                     "--quiet", *more])  # fmt: skip


def decode(root: Path, name: str, tokens: Path, out: Path) -> int:
    return cli.main(["codec", "decode", str(tokens), "--model", str(root / name), "-o", str(out), "--quiet"])


def stored(folder: Path) -> dict[str, np.ndarray]:
    found: dict[str, np.ndarray] = {}
    for path in sorted((folder / "shards").glob("*.npz")):
        with np.load(path) as arrays:
            found |= dict(arrays)
    return found


@pytest.mark.parametrize("name", ["rvq", "fsq"])
def test_codes_on_disk_are_those_of_the_api_and_come_back_as_its_waveforms(
    root: Path, name: str, tmp_path: Path
) -> None:
    codec = speechssl.load_codec(root / name)
    found = stored(root / f"{name}.codes")
    assert decode(root, name, root / f"{name}.codes", tmp_path / "again") == 0
    again = {u.id: u for u in open_corpus(tmp_path / "again").utterances}
    utterances = open_corpus(root / "in").utterances
    assert set(found) == set(again) == {u.id for u in utterances}
    for utterance in utterances:
        samples = read_utterance(utterance, sample_rate=16_000).samples
        codes = codec.encode(torch.from_numpy(samples)[None])[0][0]
        assert found[utterance.id].dtype == np.uint16
        np.testing.assert_array_equal(found[utterance.id], codes.numpy())
        made = read_utterance(again[utterance.id], sample_rate=16_000).samples
        assert len(made) == len(samples)
        np.testing.assert_allclose(made, codec.synthesize(codes, len(samples)).clamp(-1, 1).numpy(), atol=1e-4)


def test_units_of_the_codecs_unit_model_are_decoded_to_the_same_recordings(root: Path, tmp_path: Path) -> None:
    assert cli.main(["units", str(root / "in"), "--model", str(root / "rvq"), "-o", str(tmp_path / "units"),
                     "--workers", "0", "--quiet"]) == 0  # fmt: skip
    assert decode(root, "rvq", tmp_path / "units", tmp_path / "one") == 0
    assert decode(root, "rvq", root / "rvq.codes", tmp_path / "other") == 0
    one, other = ({p.name: p.read_bytes() for p in (tmp_path / n / "audio").iterdir()} for n in ("one", "other"))
    assert one == other and len(one) == 6


def test_fewer_codebooks_are_the_first_ones_and_decode_too(root: Path, tmp_path: Path) -> None:
    assert encode(root, "rvq", tmp_path / "codes", "--codebooks", "2") == 0
    few, all_of_them = stored(tmp_path / "codes"), stored(root / "rvq.codes")
    for name, codes in few.items():
        np.testing.assert_array_equal(codes, all_of_them[name][:, :2])
    assert decode(root, "rvq", tmp_path / "codes", tmp_path / "out") == 0
    assert encode(root, "rvq", tmp_path / "more", "--codebooks", "4") == 2


def test_encoding_is_verified_and_reported_as_any_extraction(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["verify", str(root / "rvq.codes")]) == 0
    sidecar = json.loads((root / "rvq.codes" / "features.json").read_text())
    assert sidecar["model"]["quantizer"]["kind"] == "residual_codes" and sidecar["rate_hz"] == 400
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "bad.wav").write_bytes(b"")
    soundfile.write(tmp_path / "in" / "good.wav", np.zeros(500), 16_000)
    arguments = ["codec", "encode", str(tmp_path / "in"), "--model", str(root / "rvq"), "-o", str(tmp_path / "out")]
    capsys.readouterr()
    assert cli.main([*arguments, "--workers", "0", "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["failures"] == {"empty": 1}


def test_decoding_that_was_stopped_goes_on_and_gives_the_same_files(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert decode(root, "rvq", root / "rvq.codes", tmp_path / "whole") == 0
    write, calls = waveforms.audio.write, []

    def dying(*args: object) -> None:
        calls.append(args)
        if len(calls) == 4:
            raise KeyboardInterrupt
        write(*args)

    monkeypatch.setattr(waveforms.audio, "write", dying)
    with pytest.raises(KeyboardInterrupt):
        decode(root, "rvq", root / "rvq.codes", tmp_path / "stopped")
    assert not (tmp_path / "stopped" / "wav.scp").exists()
    monkeypatch.setattr(waveforms.audio, "write", write)
    capsys.readouterr()
    assert decode(root, "rvq", root / "rvq.codes", tmp_path / "stopped") == 0
    assert "6 recordings" in (out := capsys.readouterr().out) and "(3 made now" in out
    one, other = contents(tmp_path / "whole"), contents(tmp_path / "stopped")
    del one["wav.scp"], other["wav.scp"]  # absolute paths
    assert one == other


def test_tokens_of_another_model_and_foreign_folders_are_refused(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert decode(root, "fsq", root / "rvq.codes", tmp_path / "out") == 2
    assert "not by this codec" in capsys.readouterr().err and not (tmp_path / "out").exists()
    assert decode(root, "rvq", root / "rvq.codes", tmp_path / "out") == 0
    assert decode(root, "fsq", root / "fsq.codes", tmp_path / "out") == 2
    assert "other tokens" in capsys.readouterr().err
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("")
    assert decode(root, "rvq", root / "rvq.codes", tmp_path / "mine") == 2
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["thesis.tex"]
    (root / "rvq.codes" / "sha256sums").rename(tmp_path / "sums")
    try:
        assert decode(root, "rvq", root / "rvq.codes", tmp_path / "new") == 2
        assert "not finished" in capsys.readouterr().err
    finally:
        (tmp_path / "sums").rename(root / "rvq.codes" / "sha256sums")


def test_a_folder_without_a_codec_is_refused_and_info_tells_what_one_is(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["codec", "info", str(root / "rvq")]) == 0
    assert "3 codebooks of 16 entries" in (out := capsys.readouterr().out) and "4800 bit/s" in out
    assert cli.main(["codec", "info", str(root / "fsq"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["config"]["levels"] == [5, 4, 3]
    assert cli.main(["codec", "info", str(tmp_path)]) == 2
    assert "no codec there" in capsys.readouterr().err
    assert encode(root, "in", tmp_path / "out") == 2
    assert cli.main(["features", str(root / "in"), "--model", str(root / "rvq"), "-o", str(tmp_path / "f"), "--quiet",
                     "--workers", "0"]) == 0  # fmt: skip
    assert decode(root, "rvq", tmp_path / "f", tmp_path / "out") == 2
