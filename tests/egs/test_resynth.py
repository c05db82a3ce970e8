"""Scripts of egs/kerstin/resynth and of egs/kerstin/mel, on a miniature made here."""

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import soundfile
import torch

from speechssl import cli, load_unit_model
from speechssl.nn.mel_definition import MelDefinition
from speechssl.units import mel_decoder as folders
from speechssl.units import mel_vocoder as mel_vocoders
from speechssl.units.vocoder import SpokenUnits
from speechssl.vocoders import griffin_lim
from speechssl.vocoders.mel_decoder import Config, MelDecoder
from speechssl.vocoders.mel_vocoder import Config as MelVocoderConfig
from speechssl.vocoders.mel_vocoder import MelVocoder
from tests.egs.test_local import EGS, python

LOCAL = EGS / "kerstin" / "resynth" / "local"


def loaded(path: Path) -> ModuleType:
    """A script as a module."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    return script


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """Nine sentences in Kerstin's layout."""
    folder = tmp_path / "kerstin"
    (folder / "verified").mkdir(parents=True)
    random, lines = np.random.default_rng(0), []
    for number in range(9):
        lines.append(f"de-{number}|Satz {number}, größer|er.\n")
        soundfile.write(folder / "verified" / f"de-{number}.opus", random.normal(0, 0.1, 8000 + number), 16000,
                        format="OGG", subtype="OPUS")  # fmt: skip
    (folder / "metadata.csv").write_text("".join(lines), encoding="utf-8")
    return folder


def test_sentences_become_three_data_dirs_without_overlap(corpus: Path, tmp_path: Path) -> None:
    done = python(LOCAL / "prepare_data.py", "--corpus", corpus, "--valid", "2", "--test", "3", tmp_path / "data")
    assert done.returncode == 0, done.stderr
    seen: list[str] = []
    for part, count in (("train", 4), ("valid", 2), ("test", 3)):
        folder = tmp_path / "data" / part
        assert cli.main(["data", "check", str(folder)]) == 0
        texts = dict(line.split(" ", 1) for line in (folder / "text").read_text().splitlines())
        assert len(texts) == count and all(text == f"Satz {name[-1]}, größer|er." for name, text in texts.items())
        seen += texts
    assert len(set(seen)) == 9
    assert python(LOCAL / "prepare_data.py", "--corpus", corpus, tmp_path / "other").returncode == 2
    (corpus / "verified" / "de-3.opus").unlink()
    done = python(LOCAL / "prepare_data.py", "--corpus", corpus, "--valid", "1", "--test", "1", tmp_path / "other")
    assert done.returncode == 2 and "8 recordings for 9 lines" in done.stderr


def test_griffin_lim_gives_the_mels_back_and_the_length() -> None:
    librosa = pytest.importorskip("librosa")
    script = loaded(EGS / "utils" / "griffin_lim.py")
    time = np.arange(8001) / 16000
    wave = 0.3 * np.sin(2 * np.pi * 220 * time) + 0.1 * np.sin(2 * np.pi * 1500 * time)
    found = script.inverted(wave.astype(np.float32), 30)
    mels = [librosa.feature.melspectrogram(y=one, sr=16000, n_fft=1024, hop_length=256, n_mels=80, power=1.0)[:, 4:-4]
            for one in (wave, found)]  # fmt: skip
    assert len(found) == 8001 and np.linalg.norm(mels[0] - mels[1]) < 0.2 * np.linalg.norm(mels[0])


def test_the_table_has_the_columns_that_there_are(tmp_path: Path) -> None:
    (tmp_path / "real.json").write_text(json.dumps({"mcd_db": 0.0, "f0_correlation": None}))
    (tmp_path / "kept.json").write_text(json.dumps({"mcd_db": 5.128, "bitrate": 190.4, "f0_correlation": 0.5}))
    (tmp_path / "kept.wer.json").write_text(json.dumps({"cer": {"rate": 0.4567, "errors": 9}, "utterances": 2}))
    done = python(EGS / "utils" / "speech_table.py", tmp_path, "real kept")
    assert done.stdout.splitlines() == [
        "| | bit/s | MCD dB | F0 correlation | CER % |", "|---|---:|---:|---:|---:|", "| real | - | 0.00 | - | - |",
        "| kept | 190 | 5.13 | 0.50 | 45.7 |",
    ]  # fmt: skip
    for side, similarity in (("source", 0.25), ("target", 0.75)):
        (tmp_path / f"as.{side}.json").write_text(json.dumps({"similarity": similarity, "mcd_db": 9.0}))
    done = python(EGS / "utils" / "speech_table.py", tmp_path, "as kept", "target_similarity source_similarity")
    assert done.stdout.splitlines() == [
        "| | similarity to the target | similarity to the source |", "|---|---:|---:|", "| as | 0.750 | 0.250 |",
        "| kept | - | - |",
    ]  # fmt: skip
    assert python(EGS / "utils" / "speech_table.py", tmp_path, "as", "similar").returncode == 1
    (tmp_path / "as.target.json").write_text(json.dumps({
        "similarity": 0.75, "mcd_db": 0.0, "intervals": {"similarity": [0.7, 0.8], "mcd_db": [0.0, 0.0]}}))  # fmt: skip
    (tmp_path / "as.wer.json").write_text(json.dumps({"cer": {"rate": 0.4567, "low": 0.4, "high": None},
                                                      "wer": {"rate": 0.5, "low": 0.25, "high": 0.75}}))  # fmt: skip
    done = python(EGS / "utils" / "speech_table.py", tmp_path, "as", "target_similarity mcd_db cer wer_wer")
    assert done.stdout.splitlines()[2] == "| as | 0.750 [0.700, 0.800] | 0.00 | 45.7 | 50.0 [25.0, 75.0] |"


def test_mel_scores_are_of_the_decoder_and_the_inverted_mels_have_the_units_length(tmp_path: Path) -> None:
    pytest.importorskip("librosa")
    script = loaded(EGS / "kerstin" / "mel" / "local" / "mel_scores.py")
    model, random = load_unit_model(), np.random.default_rng(0)
    wav = random.normal(0, 0.1, 8000).astype(np.float32)
    soundfile.write(tmp_path / "a.wav", wav, 16000, subtype="FLOAT")
    torch.manual_seed(0)
    small = Config(num_units=100, dim=8, ffn_dim=8, num_layers=1, num_heads=2, kernel=3)
    folders.save(tmp_path / "decoder", MelDecoder(small), SpokenUnits(100, 50.0, model.hash, "built in"))
    command = [str(tmp_path / "a.wav"), str(tmp_path / "decoder"), str(tmp_path / "out" / "m.json")]
    assert script.main([*command, "--inverted", str(tmp_path / "inverted")]) == 0
    decoder, units = folders.load(tmp_path / "decoder"), model(wav, 16000)
    frames = np.pad(wav, (432, 2000))[: 160 * 2 * units.num_frames + 864]  # 1024 samples around the middle of a hop
    real = script.own_mel(decoder, wav, units.num_frames)
    loud = [float(np.log((frames[160 * t :][:1024] ** 2).sum())) for t in range(len(real))]
    assert np.corrcoef(loud, real.mean(1))[0, 1] > 0.5
    scores = json.loads((tmp_path / "out" / "m.json").read_text())
    assert scores["l1"] == pytest.approx(float(abs(real - decoder(units).numpy()).mean()), rel=1e-5)
    wavs = list((tmp_path / "inverted" / "audio").iterdir())
    assert len(wavs) == 1 and soundfile.info(wavs[0]).frames == 320 * units.num_frames


def test_the_floor_of_a_mel_vocoder_is_griffin_lim_of_the_mels_that_it_takes(tmp_path: Path) -> None:
    pytest.importorskip("librosa")
    script = loaded(EGS / "kerstin" / "mel_vocoder" / "local" / "inverted.py")
    wav = np.random.default_rng(0).normal(0, 0.1, 4100).astype(np.float32)
    soundfile.write(tmp_path / "a.wav", wav, 16000, subtype="FLOAT")
    spectral = {"kind": "spectral", "channels": 8, "num_blocks": 1, "hop": 160, "window": 320}
    mel_vocoders.save(tmp_path / "vocoder", MelVocoder(MelVocoderConfig(MelDefinition(), 1, spectral)))
    assert script.main([str(tmp_path / "a.wav"), str(tmp_path / "vocoder"), str(tmp_path / "out")]) == 0
    made = soundfile.read(next((tmp_path / "out" / "audio").iterdir()))[0]
    mels = MelDefinition().log_mels(torch.from_numpy(wav)[None], torch.tensor([4100]), 25)[0].numpy()
    np.testing.assert_allclose(made, griffin_lim.waveform(mels, MelDefinition()), atol=2 / 32768)
