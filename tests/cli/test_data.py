"""`speechssl data`: exit codes, messages, JSON."""

import json
from pathlib import Path

import numpy as np
import pytest

from speechssl import audio
from speechssl.cli import main
from speechssl.data.corpus import open_corpus


@pytest.fixture
def wavs(tmp_path: Path) -> Path:
    for index in range(4):
        path = tmp_path / "wavs" / f"s{index // 2}" / f"u{index}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        audio.write(path, np.random.default_rng(index).uniform(-0.5, 0.5, 16000), 16000)
    return tmp_path / "wavs"


def out(capsys: pytest.CaptureFixture[str]) -> str:
    return capsys.readouterr().out


def test_a_folder_goes_through_every_format_and_back(
    wavs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ids = [u.id for u in open_corpus(wavs).utterances]
    steps = ["a.jsonl", "b.tsv", "kaldi", "lhotse", "espnet", "c.jsonl"]
    source = str(wavs)
    for step in steps:
        target = str(tmp_path / "out" / step)
        kind = ["--to", step] if "." not in step else []
        assert main(["data", "convert", source, target, *kind]) == 0
        assert [u.id for u in open_corpus(target).utterances] == ids
        source = target
    assert "4 utterances as jsonl" in out(capsys)


def test_check_fix_subset_split(wavs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, good = tmp_path / "data", tmp_path / "good"
    main(["data", "convert", str(wavs), str(data), "--to", "kaldi"])
    lines = (data / "wav.scp").read_text().splitlines(keepends=True)
    (data / "utt2spk").write_text("".join(f"{line.split()[0]} {line[:2]}\n" for line in lines))
    assert main(["data", "check", str(data), "--audio"]) == 0
    (data / "wav.scp").write_text("".join([*reversed(lines), "gone /no/such.wav\n"]))
    out(capsys)
    assert main(["data", "check", str(data)]) == 1
    assert "wav.scp:5: 'gone': no such file" in out(capsys)
    assert main(["data", "fix", str(data), str(good), "--json"]) == 1
    report = json.loads(out(capsys))
    assert report["num_utterances"] == 4 and report["dropped"][0]["line"] == 5
    assert main(["data", "check", str(good), "--json"]) == 0
    assert json.loads(out(capsys))["problems"] == []
    assert main(["data", "fix", str(good)]) == 0
    assert main(["data", "subset", str(good), str(tmp_path / "sub"), "--num", "2", "--seed", "7"]) == 0
    assert main(["data", "split", str(good), str(tmp_path / "split"), "2", "--by", "speaker"]) == 0
    assert [u.id for u in open_corpus(tmp_path / "split" / "2").utterances] == ["s1/u2", "s1/u3"]
    assert main(["data", "split", str(good), str(tmp_path / "split"), "2"]) == 2
    assert "exists already" in capsys.readouterr().err


def test_bad_recordings_stop_a_conversion_or_are_listed(
    wavs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (wavs / "s0" / "u0.wav").write_text("no audio")
    assert main(["data", "check", str(wavs), "--audio"]) == 1
    assert "'s0/u0': unsupported" in out(capsys)
    assert main(["data", "convert", str(wavs), str(tmp_path / "x.tsv")]) == 2
    assert main(["data", "convert", str(wavs), str(tmp_path / "x.tsv"), "--skip-bad", "--json"]) == 1
    result = json.loads(out(capsys))
    assert result["num_utterances"] == 3 and result["skipped"][0]["id"] == "s0/u0"


def test_nothing_to_do_is_exit_code_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (["check", str(tmp_path / "none")], ["fix", str(tmp_path)], ["convert", str(tmp_path), "x"],
                      ["subset", str(tmp_path), "x", "--num", "1"], ["convert", "a.lst", "b.jsonl"]):  # fmt: skip
        assert main(["data", *arguments]) == 2
        assert "speechssl data: " in capsys.readouterr().err
