"""Self-training: which pseudo-labels are kept, and what is told of them."""

import json
import math
from pathlib import Path

import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from speechssl.cli import main
from speechssl.data.corpus import open_corpus
from speechssl.data.pseudo_labels import (
    REASONS,
    PseudoLabel,
    Rules,
    judge,
    rate_limits,
    read_transcripts,
    report,
)
from speechssl.errors import ConfigError, DataError

LIMITS = (5.0, 20.0)


def label(name: str, text: str, seconds: float = 1.0, confidence: float = -0.5) -> PseudoLabel:
    return PseudoLabel(name, text, seconds, confidence)


def test_limits_are_deviations_of_log_rates_by_hand() -> None:
    labelled = [("a" * 10, 1.0), ("a" * 40, 2.0), ("", 3.0), ("a" * 10, 0.0)]  # 10 and 20 characters a second
    mean, deviation = math.log(math.sqrt(200)), math.log(2) / math.sqrt(2)
    low, high = rate_limits(labelled, Rules(deviations=2.0))
    assert low == pytest.approx(math.exp(mean - 2 * deviation)) and high == pytest.approx(200 / low)
    with pytest.raises(DataError, match="1 labelled utterances"):
        rate_limits(labelled[:1] + labelled[2:], Rules())


def test_each_reason_by_hand() -> None:
    labels = [label("a", "", confidence=-math.inf), label("b", "x" * 4), label("c", "x" * 21), label("d", "x", 0.0),
              *(label(f"e{k}", "x" * 10, confidence=-0.1 * k) for k in range(5)), label("f", "x" * 5),
              label("g", "x" * 20)]  # fmt: skip
    found = dict(zip((entry.id for entry in labels), judge(labels, Rules(keep=0.5), LIMITS), strict=True))
    assert (found["a"], found["b"], found["c"], found["d"]) == ("empty", "slow", "fast", "fast")
    assert [found[f"e{k}"] for k in range(5)] == ["kept"] * 4 + ["unsure"], "4 of the 7 that are left"
    assert found["f"] == found["g"] == "unsure"
    assert judge(labels[4:9], Rules(least=-0.25), LIMITS) == ["kept"] * 3 + ["unsure"] * 2
    assert judge([], Rules(), LIMITS) == []
    assert judge([label("a", "x" * 10)] * 3, Rules(keep=0.3), LIMITS) == ["kept", "unsure", "unsure"]


@given(st.lists(st.tuples(st.text("ab ", max_size=30), st.floats(0, 3), st.floats(-9, 0))), st.floats(0.01, 1))
def test_a_larger_share_keeps_what_a_smaller_one_did_and_the_surest_go_first(
    rows: list[tuple[str, float, float]], share: float
) -> None:
    labels = [label(str(k), *row) for k, row in enumerate(rows)]
    some, every = judge(labels, Rules(keep=share), LIMITS), judge(labels, Rules(), LIMITS)
    left = [k for k, reason in enumerate(every) if reason == "kept"]
    kept = [k for k, reason in enumerate(some) if reason == "kept"]
    assert len(kept) == math.ceil(share * len(left)) and set(kept) <= set(left)
    assert all(labels[k].confidence >= max((labels[j].confidence for j in left if j not in kept), default=-9)
               for k in kept)  # fmt: skip
    told = report(labels, some)
    assert sum(told[reason]["utterances"] for reason in REASONS) == told["all"]["utterances"] == len(labels)
    assert told["dropped"]["utterances"] == len(labels) - len(kept)


def test_errors_are_told_apart_by_what_became_of_the_labels() -> None:
    labels = [label("a", "ab cd"), label("b", "ab ce", confidence=-2.0), label("c", "", confidence=-math.inf)]
    truths = {"a": "ab  cd", "b": "ab cd", "c": "abcd"}
    told = report(labels, ["kept", "unsure", "empty"], truths)
    assert (told["kept"]["cer"], told["unsure"]["cer"], told["empty"]["cer"], told["slow"]["cer"]) == (0, 0.2, 1, None)
    assert told["all"]["cer"] == pytest.approx(5 / 14, abs=1e-4) and told["dropped"]["wer"] == pytest.approx(
        2 / 3, abs=1e-4
    )
    assert told["empty"]["confidence"] is None and told["dropped"]["confidence"] == -2
    with pytest.raises(DataError, match="no truth of utterance 'c'"):
        report(labels, ["kept", "unsure", "empty"], {"a": "", "b": ""})


@pytest.mark.parametrize("wrong", [{"keep": 0.0}, {"keep": 1.1}, {"deviations": 0.0}, {"least": math.nan}])
def test_rules_without_sense_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="keep is a share"):
        Rules(**wrong)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Six seconds of nothing each, texts of 10 characters a second, and what a recogniser made of four of them."""
    rows = []
    for k in range(5):
        soundfile.write(tmp_path / f"u{k}.wav", [0.0] * 16000, 16000)
        rows.append({"id": f"u{k}", "text": "x" * (10, 10, 10, 60, 0)[k], "duration_s": 1.0, "score": -1.0 - k,
                     "symbols": (10, 10, 10, 60, 0)[k], "words": []})  # fmt: skip
    tables = {"wav.scp": "{0} {0}.wav", "text": "{0} xxxxx xx{1}", "utt2spk": "{0} s"}
    for name, line in tables.items():
        text = "".join(line.format(f"u{k}", "x" * k) + "\n" for k in range(5))
        (tmp_path / name).write_text(text.replace(" u", f" {tmp_path}/u") if name == "wav.scp" else text)
    (tmp_path / "transcripts").write_text("".join(json.dumps(row) + "\n" for row in rows[1:]))
    return tmp_path


def test_a_folder_of_what_is_kept_and_a_report_of_the_rest(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["data", "pseudo", str(data), str(data / "out"), "--transcripts", str(data / "transcripts"), "--labelled",
               str(data), "--keep", "0.5", "--truth", str(data)]  # fmt: skip
    assert main(command) == 0
    assert "kept: 1 utterances" in capsys.readouterr().out
    found = open_corpus(data / "out" / "data").utterances
    assert [(u.id, u.text, u.speaker, Path(u.audio).is_file()) for u in found] == [("u1", "x" * 10, "s", True)]
    rows = [line.split("\t")[:3] for line in (data / "out/labels.tsv").read_text().splitlines()[1:]]
    assert rows == [["u1", "kept", "-0.2000"], ["u2", "unsure", "-0.3000"], ["u3", "fast", "-0.0667"],
                    ["u4", "empty", "-inf"]]  # fmt: skip
    told = json.loads((data / "out/report.json").read_text())
    assert told["without"] == 1 and told["labels"]["all"]["utterances"] == 4
    assert told["labels"]["kept"]["cer"] == pytest.approx(2 / 9, abs=1e-4), "a space too few"
    assert told["rules"] == {"keep": 0.5, "deviations": 3.0}
    assert main(command) == 2, "what is there is not replaced"


@pytest.mark.parametrize(
    ("line", "message"),
    [('{"id": "u1", "text": "a"}', "not of speechssl transcribe"), ("u1 a", "JSON"),
     ('{"id": "u1", "text": "a", "duration_s": 1, "symbols": 1, "score": "x"}', "not of speechssl transcribe"),
     ('{"id": "u1", "text": "a", "duration_s": -1, "symbols": 1, "score": 0}', "in -1.0 s")],
)  # fmt: skip
def test_what_is_no_transcript_is_refused_with_its_line(line: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "json").write_text(line + "\n")
    with pytest.raises(DataError, match=message) as error:
        read_transcripts(tmp_path / "json")
    assert "json:1" in str(error.value)


def test_labels_of_others_and_nothing_kept_are_refused(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["data", "pseudo", str(data), str(data / "out"), "--transcripts", str(data / "transcripts"), "--labelled",
               str(data)]  # fmt: skip
    assert main([*command, "--least", "-0.01"]) == 2
    assert "none of 4 pseudo-labels is kept" in capsys.readouterr().err
    (data / "transcripts").write_text((data / "transcripts").read_text().replace('"u3"', '"v3"'))
    assert main(command) == 2 and "has no utterance 'v3'" in capsys.readouterr().err
    assert not (data / "out").exists()
