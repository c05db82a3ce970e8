"""`speechssl tune`, and what transcribe does with the file it writes."""

import json
from pathlib import Path

import pytest
import soundfile

from speechssl.cli import main
from tests.cli.test_transcribe import recognizer, speech


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
