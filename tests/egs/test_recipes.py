"""The recipes from raw audio to the table, on miniatures: made here, so the phones are known, and on shared corpora."""

import gzip
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
RATE = 16000
PHONES = {"SIL": None, "A": (300, 900), "I": (250, 2400), "S": "noise"}

Segment = tuple[float, float, str]


def speak(rng: np.random.Generator, num_phones: int = 12) -> tuple[np.ndarray, list[Segment]]:
    """About a second of something that a phone classifier could tell apart, and who sounds when."""
    samples: list[np.ndarray] = []
    segments: list[Segment] = []
    for i in range(num_phones):
        name = "SIL" if i in (0, num_phones - 1) else str(rng.choice(list(PHONES)))
        count = int(rng.uniform(0.06, 0.15) * RATE)
        kind = PHONES[name]
        time_s = np.arange(count) / RATE
        if kind is None:
            sound = np.zeros(count)
        elif kind == "noise":
            sound = np.diff(rng.normal(size=count + 1)) * 0.1
        else:
            sound = sum(np.sin(2 * np.pi * f * time_s + rng.uniform(0, 6)) * 0.2 for f in kind)
        start = sum(map(len, samples)) / RATE
        samples.append(sound + rng.normal(size=count) * 1e-4)
        segments.append((start, start + count / RATE, name))
    return np.concatenate(samples), segments


def make_mboshi(folder: Path, per_split: int = 12) -> Path:
    import soundfile

    rng = np.random.default_rng(0)
    rows, phones = ["utt_id\tsplit\tspeaker\tmboshi\tfrench"], ["utt_id\tstart_s\tend_s\tlabel"]
    for split in ("train", "dev"):
        (folder / split).mkdir(parents=True)
        for i in range(per_split):
            name = f"spk{i % 3}_{split}{i}"
            samples, segments = speak(rng)
            soundfile.write(folder / split / f"{name}.wav", samples, RATE)
            rows.append(f"{name}\t{split}\tspk{i % 3}\tkyέma\tle singe")
            if i:  # one utterance of each split has no alignment, as in the real corpus
                phones += [f"{name}\t{start:.4f}\t{end:.4f}\t{label}" for start, end, label in segments]
    (folder / "utterances.tsv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    with gzip.open(folder / "phones.tsv.gz", "wt", encoding="utf-8") as file:
        file.write("\n".join(phones) + "\n")
    return folder


def make_librispeech(folder: Path) -> Path:
    import soundfile

    rng = np.random.default_rng(1)
    for subset, speakers in (("train-clean-100", (19, 26)), ("dev-clean", (84, 1272))):
        for speaker in speakers:
            chapter = folder / subset / str(speaker) / "121"
            chapter.mkdir(parents=True)
            lines = []
            for i in range(3):
                name = f"{speaker}-121-{i:04d}"
                samples, segments = speak(rng)
                soundfile.write(chapter / f"{name}.flac", samples, RATE)
                lines.append(f"{name} GO ON\n")
                write_textgrid(folder / "alignments" / str(speaker) / f"{name}.TextGrid", segments)
            (chapter / f"{speaker}-121.trans.txt").write_text("".join(lines))
    return folder


def write_textgrid(path: Path, segments: list[Segment]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    end = segments[-1][1]
    lines = ['File type = "ooTextFile"', 'Object class = "TextGrid"', "", "0", str(end), "<exists>", "1"]
    lines += ['"IntervalTier"', '"phones"', "0", str(end), str(len(segments))]
    for start, stop, label in segments:
        lines += [f"{start:.5f}", f"{stop:.5f}", '""' if label == "SIL" else f'"{label}"']
    path.write_text("\n".join(lines) + "\n")


def run(recipe: str, *arguments: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    script = os.path.relpath(ROOT / "egs" / recipe / "run.sh", cwd)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "OMP_NUM_THREADS": "1"}
    command = ["bash", script, *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True)


def table(output: str) -> list[str]:
    return [line for line in output.splitlines() if line.startswith("|")]


def test_mboshi_runs_from_audio_to_the_table_and_a_second_run_does_nothing(tmp_path: Path) -> None:
    make_mboshi(tmp_path / "my corpus")
    options = ("--corpus", "my corpus", "--data", tmp_path / "data", "--exp", tmp_path / "exp")
    options += ("--num-units", "4 8", "--seeds", "0 1", "--workers", "0")
    first = run("mboshi/units", *options, cwd=tmp_path)
    assert first.returncode == 0, first.stdout + first.stderr
    assert [row.split()[1] for row in table(first.stdout)[2:]] == ["4", "8"]
    scores = json.loads((tmp_path / "exp" / "scores" / "k8_s0.json").read_text())
    assert scores["utterances"] == 11 and scores["num_phones"] == 4 and scores["num_units"] == 8
    assert scores["pnmi"] > 0.5 and scores["phone_purity"] > 0.7  # MFCCs tell these phones apart
    files = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
    second = run("mboshi/units", *options, cwd=tmp_path)
    assert table(second.stdout) == table(first.stdout)
    steps = [line for line in first.stdout.splitlines() if line.startswith("  ") and " -> " in line]
    assert second.stdout.count("done before") == len(steps) == 3 + 3 * 4  # data, encoder, features; 4 codebooks
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()} == files
    other = run("mboshi/units", *options, "--num-units", "8", "--stage", "4", cwd=tmp_path)
    assert table(other.stdout)[2:] == table(first.stdout)[3:]


def test_a_recipe_without_its_corpus_says_so(tmp_path: Path) -> None:
    for recipe in ("mboshi/units", "librispeech/units"):
        for arguments in ((), ("--corpus", "nowhere")):
            refused = run(recipe, *arguments, cwd=tmp_path)
            assert refused.returncode == 2 and "--corpus must name" in refused.stderr
    help_text = run("librispeech/units", "--help", cwd=tmp_path).stdout
    assert "--kmeans FILE" in help_text and "shellcheck" not in help_text


@pytest.fixture(scope="module")
def hubert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A HuBERT of random weights as transformers saves it."""
    import torch
    from transformers import HubertConfig, HubertModel, Wav2Vec2FeatureExtractor

    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("hubert")
    config = HubertConfig(hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64,
                          conv_dim=(32,) * 7, num_conv_pos_embeddings=16, num_conv_pos_embedding_groups=4)  # fmt: skip
    HubertModel(config).save_pretrained(folder)
    Wav2Vec2FeatureExtractor(do_normalize=False).save_pretrained(folder)
    return folder


def test_librispeech_with_a_trained_and_with_a_released_kmeans(hubert: Path, tmp_path: Path) -> None:
    make_librispeech(tmp_path / "LibriSpeech")
    options = ("--corpus", "LibriSpeech", "--encoder", hubert, "--layer", "2", "--workers", "0",
               "--data", tmp_path / "data")  # fmt: skip
    trained = run("librispeech/units", *options, "--num-units", "6", "--seeds", "0", "--exp", tmp_path / "a",
                  "--alignments", tmp_path / "LibriSpeech" / "alignments", cwd=tmp_path)  # fmt: skip
    assert trained.returncode == 0, trained.stdout + trained.stderr
    scores = json.loads((tmp_path / "a" / "scores" / "k6_s0.json").read_text())
    assert (scores["utterances"], scores["num_phones"]) == (6, 4) and 0 < scores["pnmi"] < 1
    np.save(tmp_path / "km.npy", np.random.default_rng(0).normal(size=(5, 32)).astype(np.float32))
    released = run("librispeech/units", *options, "--kmeans", "km.npy", "--exp", tmp_path / "b", cwd=tmp_path)
    assert released.returncode == 0, released.stdout + released.stderr
    scores = json.loads((tmp_path / "b" / "scores" / "released.json").read_text())
    assert scores["num_units"] == 5 and scores["pnmi"] is None and scores["bitrate"] > 0


def test_librispeech_does_not_download_unless_asked(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    refused = run("librispeech/units", "--corpus", "empty", "--data", tmp_path / "d", "--stop-stage", "0", cwd=tmp_path)
    assert refused.returncode == 2 and "--download true" in refused.stderr
    assert list((tmp_path / "empty").iterdir()) == []


@pytest.mark.corpus
def test_mboshi_miniature_of_the_real_corpus(corpora: Path, tmp_path: Path) -> None:
    done = run("mboshi/units", "--corpus", corpora / "mboshi", "--tiny", "true", "--data", tmp_path / "data", "--exp",
               tmp_path / "exp", cwd=tmp_path)  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    scores = json.loads((tmp_path / "exp" / "tiny" / "scores" / "k16_s0.json").read_text())
    assert scores["utterances"] == 37 and 0.05 < scores["pnmi"] < 0.5


def test_mboshi_units_are_scored_in_other_conditions_too(tmp_path: Path) -> None:
    make_mboshi(tmp_path / "corpus")
    done = run("mboshi/unit_quality", "--corpus", "corpus", "--tiny", "true", "--models", "mfcc default", "--changes",
               "noise", "--phone-shift", 0, "--data", tmp_path / "data", "--exp", tmp_path / "exp",
               cwd=tmp_path)  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    rows = [[cell.strip() for cell in row.strip("|").split("|")] for row in table(done.stdout)]
    assert rows[0][-1] == "UED noise" and [row[0] for row in rows[2:]] == ["mfcc", "default"]
    for row in rows[2:]:
        assert 0 < float(row[1]) < 1 and 0 < float(row[-1]) < 1


def test_mboshi_units_are_learned_from_units(tmp_path: Path) -> None:
    """Soft ones, and in two iterations those that changes of the recording change less."""
    make_mboshi(tmp_path / "corpus")
    done = run("mboshi/unit_quality", "--corpus", "corpus", "--tiny", "true", "--models", "tdnn_soft tdnn_invariant",
               "--changes", "", "--stop-stage", 1, "--data", tmp_path / "data", "--exp", tmp_path / "exp",
               cwd=tmp_path)  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    for name, kind in (("tdnn_soft", "cosine"), ("tdnn_invariant", "mlp")):
        card = json.loads((tmp_path / "exp" / "tiny" / name / "model" / "card.json").read_text())
        assert card["quantizer"]["kind"] == kind and card["num_units"] == 8
    first, second = (
        (tmp_path / "exp/tiny" / f"labels_{name}" / "units").read_text() for name in ("tdnn", "invariant1")
    )
    assert first != second
