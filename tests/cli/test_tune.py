"""`speechssl tune`, and what transcribe does with the file it writes."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from speechssl.cli import main
from tests.cli.test_transcribe import recognizer, speech
from tests.cli.test_transcribe_units import NAMES, streams
from tests.cli.test_transcribe_units import recognizer as unit_recognizer

__all__ = ["streams"]  # a fixture


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recogniser, recordings and what it writes of them greedily; texts are that with one word changed."""
    folder = tmp_path_factory.mktemp("tune")
    recognizer().save(folder / "model")
    (folder / "audio").mkdir()
    for number in range(4):
        soundfile.write(folder / "audio" / f"u{number}.wav", speech(1.0 + 0.3 * number, number), 16000)
    command = ["transcribe", str(folder / "audio"), "--model", str(folder / "model"), "-o", str(folder / "out")]
    assert main([*command, "--workers", "0", "--quiet"]) == 0
    texts = dict(line.partition(" ")[::2] for line in (folder / "out/text").read_text().splitlines())
    assert len(texts) == 4 and all(texts.values())
    (folder / "truth").write_text("".join(f"{key} {text}\n" for key, text in texts.items() if key != "u3"))
    (folder / "corpus").write_text("x abc abc\ny dé abc\nz abc\n")
    command = ["lm", "train", str(folder / "corpus"), "--ids", "--unit", "char", "--order", "2", "-o"]
    assert main([*command, str(folder / "lm.arpa")]) == 0
    return folder


def tune(place: Path, out: Path, *options: str, text: str = "truth") -> int:
    command = ["tune", str(place / "out"), str(place / text), "--model", str(place / "model"), "-o", str(out)]
    return main([*command, "--beam", "4", "--lm-weights", "0.5", "5", "--bonuses", "0", "--lm",
                 str(place / "lm.arpa"), *options])  # fmt: skip


def transcribe(place: Path, out: Path, *options: str) -> int:
    command = ["transcribe", str(place / "audio"), "--model", str(place / "model"), "-o", str(out), "--workers", "0"]
    return main([*command, "--quiet", *options])


def test_greedy_is_kept_where_a_model_only_harms(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert tune(place, tmp_path / "decoder.json") == 0
    printed = capsys.readouterr().out.splitlines()
    assert len(printed) == 3 and "greedy" in printed[0] and "WER   0.0 %" in printed[0] and "kept" in printed[0]
    stored = json.loads((tmp_path / "decoder.json").read_text())
    assert stored["settings"]["beam"] == 1 and stored["tuned"]["trials"] == 3
    assert stored["tuned"]["greedy"] == stored["tuned"]["best"] == {"wer": 0.0, "cer": 0.0}
    given = ("--decoder", str(tmp_path / "decoder.json"), "--lm", str(place / "lm.arpa"))
    assert transcribe(place, tmp_path / "again", *given) == 0
    assert (tmp_path / "again/text").read_text() == (place / "out/text").read_text()


def test_what_was_chosen_is_what_transcribe_does(place: Path, tmp_path: Path) -> None:
    lm = ("--lm", str(place / "lm.arpa"))
    assert transcribe(place, tmp_path / "wanted", "--beam", "4", "--lm-weight", "5", "--bonus", "0", *lm) == 0
    said = (tmp_path / "wanted/text").read_text()
    assert said != (place / "out/text").read_text()
    (place / "other").write_text(said)
    assert tune(place, tmp_path / "decoder.json", text="other") == 0
    stored = json.loads((tmp_path / "decoder.json").read_text())
    assert (stored["settings"]["beam"], stored["settings"]["lm_weight"]) == (4, 5.0)
    decoder = ("--decoder", str(tmp_path / "decoder.json"))
    assert transcribe(place, tmp_path / "found", *decoder, *lm) == 0
    assert (tmp_path / "found/text").read_text() == said
    assert transcribe(place, tmp_path / "x", *decoder) == 2  # the model it was tuned with is missing
    (tmp_path / "lm.arpa").write_text((place / "lm.arpa").read_text().replace("-1", "-2", 1))
    assert transcribe(place, tmp_path / "x", *decoder, "--lm", str(tmp_path / "lm.arpa")) == 2  # is another one
    assert transcribe(place, tmp_path / "x", *decoder, *lm, "--beam", "9") == 2  # who decides?
    (tmp_path / "torn.json").write_text((tmp_path / "decoder.json").read_text()[:50])
    assert transcribe(place, tmp_path / "x", "--decoder", str(tmp_path / "torn.json"), *lm) == 2


def test_nothing_to_tune_on_is_an_error(place: Path, tmp_path: Path) -> None:
    (place / "strange").write_text("nobody abc\n")
    assert tune(place, tmp_path / "d.json", text="strange") == 2
    assert tune(place, tmp_path / "d.json", "--beam", "1") == 2
    assert not (tmp_path / "d.json").exists()


def test_recognisers_of_units_are_tuned_as_those_of_recordings_are(tmp_path: Path, streams: list[Path]) -> None:
    made = unit_recognizer()
    made.save(tmp_path / "model")
    (tmp_path / "corpus").write_text("abc d\nd abc\n")
    lm = str(tmp_path / "lm.arpa")
    assert main(["lm", "train", str(tmp_path / "corpus"), "--unit", "char", "--order", "2", "-o", lm]) == 0
    inputs = [*map(str, streams), "--model", str(tmp_path / "model"), "-o"]
    assert main(["transcribe", *inputs, str(tmp_path / "greedy")]) == 0
    given = ["--beam", "4", "--lm", lm, "--lm-weight", "3", "--bonus", "1"]
    assert main(["transcribe", *inputs, str(tmp_path / "wanted"), *given]) == 0
    said = (tmp_path / "wanted/text").read_text()
    assert said != (tmp_path / "greedy/text").read_text()
    with np.load(tmp_path / "greedy/emissions.npz", allow_pickle=False) as arrays:
        found = dict(made.emissions(streams))
        assert list(arrays) == NAMES and all((arrays[name] == found[name]).all() for name in NAMES)
    chosen = ["tune", str(tmp_path / "greedy"), str(tmp_path / "wanted/text"), "--model", str(tmp_path / "model"),
              "--beam", "4", "--lm-weights", "0.5", "3", "--bonuses", "1", "--lm", lm, "-o"]  # fmt: skip
    assert main([*chosen, str(tmp_path / "decoder.json")]) == 0
    stored = json.loads((tmp_path / "decoder.json").read_text())
    assert stored["settings"]["lm_weight"] == 3 and stored["tuned"]["recognizer_sha256"] == made.card.sha256
    assert stored["tuned"]["best"]["cer"] == 0 < stored["tuned"]["greedy"]["cer"]
    again = [*inputs, str(tmp_path / "again"), "--lm", lm, "--decoder", str(tmp_path / "decoder.json")]
    assert main(["transcribe", *again]) == 0 and (tmp_path / "again/text").read_text() == said
    assert main([*chosen, str(tmp_path / "x"), "--language", "fra"]) == 2
    (tmp_path / "greedy/emissions.npz").write_bytes((tmp_path / "greedy/emissions.npz").read_bytes()[:-40])
    assert main([*chosen, str(tmp_path / "x")]) == 2 and not (tmp_path / "x").exists()
