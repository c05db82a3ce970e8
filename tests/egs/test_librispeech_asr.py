"""egs/librispeech/asr on a miniature: spoken digits, laid out as LibriSpeech and Libri-Light are."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr

from speechssl import cli
from speechssl.decoders import vocabulary
from tests.egs.test_local import EGS, python
from tests.egs.test_recipes import run, speak, table
from tests.egs.test_s2ut import table as read

DIGITS = ["ZERO", "ONE", "TWO", "THREE", "FOUR", "FIVE", "SIX", "SEVEN", "EIGHT", "NINE"]
SETS = ("dev-clean", "dev-other", "test-clean", "test-other")


def write(folder: Path, name: str, samples: np.ndarray, text: str) -> None:
    """An utterance and its line, as in a subset of LibriSpeech."""
    speaker, chapter, _ = name.split("-")
    place = folder / speaker / chapter
    place.mkdir(parents=True, exist_ok=True)
    soundfile.write(place / f"{name}.flac", samples, 16000)
    with (place / f"{speaker}-{chapter}.trans.txt").open("a") as file:
        file.write(f"{name} {text}\n")


def spoken(folder: Path, recordings: Path, speaker: int, voice: str, texts: list[list[int]]) -> None:
    """Utterances of one speaker: recorded digits one after another."""
    for number, digits in enumerate(texts):
        parts = [soundfile.read(recordings / f"{digit}_{voice}_{number}.flac")[0] for digit in digits]
        samples = soxr.resample(np.concatenate(parts), 8000, 16000)
        write(folder, f"{speaker}-7-{number:04d}", samples, " ".join(DIGITS[digit] for digit in digits))


@pytest.mark.corpus
def test_it_runs_from_recorded_digits_to_the_table_beside_the_papers(corpora: Path, tmp_path: Path) -> None:
    recordings, corpus, light = corpora / "fsdd" / "recordings", tmp_path / "LibriSpeech", tmp_path / "light"
    for number, (name, voice) in enumerate(zip(SETS, ("george", "jackson", "lucas", "nicolas"), strict=True)):
        spoken(corpus / name, recordings, 100 + number, voice, [[number, 4, 7], [8, 9 - number]])
    spoken(light / "1h/0/clean", recordings, 200, "theo", [[k, (k + 3) % 10, 9 - k] for k in range(10)])
    spoken(light / "1h/1/other", recordings, 201, "yweweler", [[1, 2]])
    (tmp_path / "sentences").write_text("\n".join(f"{a} {b} {a}" for a, b in zip(DIGITS, DIGITS[3:], strict=False)))
    lm = tmp_path / "words.arpa.gz"
    assert cli.main(["lm", "train", str(tmp_path / "sentences"), "--order", "2", "-o", str(lm)]) == 0
    done = run("librispeech/asr", "--corpus", corpus, "--librilight", light, "--labels", "10m", "--lm", lm, "--tiny",
               "true", "--data", tmp_path / "data", "--exp", tmp_path / "exp", cwd=tmp_path)  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    exp = tmp_path / "exp" / "tiny"
    rows = [[cell.strip() for cell in row.strip("|").split("|")] for row in table(done.stdout)[2:]]
    assert [row[:2] for row in rows if row[2] == "this run"] == [["10m", "greedy"], ["10m", "n-gram"]]
    assert rows[1][2].endswith("Table 9") and rows[1][3:] == ["46.1", "51.5", "46.9", "50.9"]
    assert [row[2].split(" ")[0] for row in rows[3:]] == ["wav2vec", "HuBERT"]
    tuned = json.loads((exp / "texts/10m/decoder.json").read_text())["tuned"]
    for how, row in (("greedy", rows[0]), ("lm", rows[2])):
        scores = [json.loads((exp / f"scores/10m.{how}.{name}.json").read_text()) for name in SETS]
        assert all(found["utterances"] == 2 and found["wer"]["reference"] == 5 for found in scores)
        assert [cell.split(" ")[0] for cell in row[3:]] == [f"{100 * found['wer']['rate']:.1f}" for found in scores]
        assert scores[1]["wer"]["rate"] == tuned["greedy" if how == "greedy" else "best"]["wer"]
    assert tuned["best"]["wer"] <= tuned["greedy"]["wer"] and tuned["by"] == "words"
    reports = [(exp / f"texts/10m/{how}/emissions/report.json").read_text() for how in ("greedy", "lm")]
    assert reports[0] == reports[1], "the encoder ran once for both"
    assert json.loads((exp / "texts/10m/lm/transcripts.json").read_text())["utterances"] == 8
    card = json.loads((exp / "10m/recognizer/card.json").read_text())["training"]
    assert card["utterances"] == 10, "those of 1h/0 alone"
    assert "share = 0.65" in (exp / "10m/config.toml").read_text(), "the paper's settings but for conf/tiny.toml"
    assert vocabulary.load(exp / "10m/recognizer").symbols[2:] == ("'", *map(chr, range(65, 91)))


def tones(corpus: Path) -> Path:
    random = np.random.default_rng(0)
    for number, name in enumerate(
        (*SETS, "train-clean-100", "train-other-500", "1h/0/clean", "1h/5/other", "9h/clean")
    ):
        for utterance in range(2):
            write(corpus / name, f"{number}-1-{utterance:04d}", speak(random)[0], "GO ON")
    return corpus


def test_labels_are_those_of_libri_light_or_of_lists(tmp_path: Path) -> None:
    corpus = tones(tmp_path / "LibriSpeech")
    command = ["--corpus", corpus, "--train", "train-clean-100 train-other-500", "--tiny", "true", "--data",
               tmp_path / "data", "--stop-stage", "0"]  # fmt: skip
    done = run("librispeech/asr", *command, "--librilight", corpus, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    parts = {
        name: set(read(tmp_path / "data/tiny/train" / name / "text")) for name in ("10m", "1h", "10h", "100h", "960h")
    }
    speakers = {name: {key.partition("-")[0] for key in keys} for name, keys in parts.items()}
    assert speakers == {"10m": {"6"}, "1h": {"6", "7"}, "10h": {"6", "7", "8"}, "100h": {"4"}, "960h": {"4", "5"}}
    (tmp_path / "lists").mkdir()
    (tmp_path / "lists" / "1h.ids").write_text("5-1-0001\n4-1-0000\n")
    done = run("librispeech/asr", *command, "--librilight", tmp_path / "lists", "--labels", "1h", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert set(read(tmp_path / "data/tiny/train/1h/text")) == {"4-1-0000", "5-1-0001"}
    for options, said in ((["--labels", "10m"], "--librilight must name"), (["--labels", "2h"], "not 2h")):
        done = run("librispeech/asr", *command, *options, cwd=tmp_path)
        assert done.returncode == 2 and said in done.stderr


def test_the_papers_have_a_row_for_all_labels_and_both_decodings(tmp_path: Path) -> None:
    papers = EGS / "librispeech/asr/conf/papers.tsv"
    rows = [line.split("\t") for line in papers.read_text().splitlines()[1:]]
    wanted = {(labels, how) for labels in ("10m", "1h", "10h", "100h", "960h") for how in ("greedy", "lm")}
    assert {(row[0], row[1]) for row in rows} == wanted and all("Table" in row[2] for row in rows)
    best = {(row[0], row[1], row[2]): [float(cell) for cell in row[3:]] for row in rows}
    for (labels, how, paper), errors in best.items():
        assert errors[0] < errors[1] and errors[2] < errors[3], "clean is easier than other"
        if how == "lm" and paper.startswith("wav2vec"):
            greedy = next(found for (a, b, _), found in best.items() if (a, b) == (labels, "greedy"))
            assert all(a < b for a, b in zip(errors, greedy, strict=True))
    (tmp_path / "100h.lm.test-other.json").write_text('{"wer": {"rate": 0.0804, "low": 0.078, "high": 0.083}}')
    done = python(EGS / "librispeech/asr/local/table.py", tmp_path, papers)
    assert done.stdout.splitlines()[2] == "| 100h | n-gram | this run |  |  |  | 8.0 [7.8, 8.3] |"
    assert done.stdout.splitlines()[3].endswith("Table 9 | 2.7 | 7.9 | 3.4 | 8.0 |")
    assert python(EGS / "librispeech/asr/local/table.py", tmp_path / "none", papers).returncode == 2
