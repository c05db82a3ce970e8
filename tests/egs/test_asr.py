"""egs/mboshi/asr on a miniature, from recordings to the table; its parts with figures that are known."""

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import torch

from speechssl import encoders
from speechssl.encoders import pretrained
from speechssl.encoders.pretrained import EncoderCard, Pretrained
from tests.egs.test_recipes import make_mboshi
from tests.encoders.tiny import TINY

EGS = Path(__file__).parents[2] / "egs" / "mboshi" / "asr"
BUILT_IN = Path(__file__).parents[2] / "speechssl" / "assets" / "default" / "encoder"
ENVIRONMENT = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "OMP_NUM_THREADS": "1"}


def run(*command: str | Path) -> str:
    found = subprocess.run(list(map(str, command)), capture_output=True, text=True, env=ENVIRONMENT, check=False)
    assert found.returncode == 0, found.stdout + found.stderr
    return found.stdout


def fresh_encoder(folder: Path) -> None:
    torch.manual_seed(0)
    encoder = encoders.build("tdnn", TINY["tdnn"][0])
    pretrained.save(folder, Pretrained(encoder, EncoderCard("tdnn", TINY["tdnn"][0])))


def test_it_runs_from_recordings_to_the_table_and_again_for_nothing(tmp_path: Path) -> None:
    corpus = make_mboshi(tmp_path / "mboshi", per_split=50)
    fresh_encoder(tmp_path / "encoder")
    command = [EGS / "run.sh", "--corpus", corpus, "--data", tmp_path / "data", "--exp", tmp_path / "exp",
               "--tiny", "true", "--systems", f"small={tmp_path}/encoder", "--subsets", "10m", "--seeds", "0",
               "--workers", "0"]  # fmt: skip
    printed = run(*command)
    table = printed[printed.index("| system") :].splitlines()
    assert table[0] == "| system | labels | CER % greedy | WER % greedy | CER % n-gram | WER % n-gram |"
    assert table[2].startswith("| small | 10m | ") and table[2].count("(1)") == 4
    sets = tmp_path / "data" / "tiny" / "sets"
    ids = {path.stem: set(path.read_text().split()) for path in sets.glob("*.ids")}
    assert ids["valid"] and not ids["valid"] & ids["all"] and ids["10m"] <= ids["1h"] <= ids["all"]
    scores = json.loads((tmp_path / "exp/tiny/scores/small_10m_0.json").read_text())
    assert scores["utterances"] == 40 and scores["cer"] > 0
    assert "done before" in run(*command, "--stop-stage", "2")
    tuned, valid = decoded_again(tmp_path / "exp/tiny", "small_10m_0", "small+lm_10m_0", sets / "valid/text")
    assert tuned["best"]["cer"] < tuned["greedy"]["cer"] == valid["cer"], "else nothing is known of the language model"
    reports = [tmp_path / "exp/tiny/texts" / row / "emissions/report.json" for row in ("small_10m_0", "small+lm_10m_0")]
    assert reports[0].read_text() == reports[1].read_text(), "the encoder ran once for both"
    more = ["--systems", "continued", "--stage", "1", "--stop-stage", "2"]
    run(*command, *more, "--more", "settings.masking.time.share=0.3 threads=1")
    exp = tmp_path / "exp/tiny"
    built_in, longer = (pretrained.load(folder).encoder for folder in (BUILT_IN, exp / "pretrain/continued/encoder"))
    assert any((a != b).any() for a, b in zip(built_in.parameters(), longer.parameters(), strict=True))
    told = tomllib.loads((exp / "continued_10m_0/config.toml").read_text())
    assert told["settings"]["masking"]["time"]["share"] == 0.3
    assert told["encoder"]["checkpoint"] == str(exp / "pretrain/continued/encoder")


def decoded_again(exp: Path, greedy: str, row: str, reference: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """What tuning says of the validation part, and the errors of its greedy texts."""
    tuned = json.loads((exp / f"texts/{row}.decoder.json").read_text())["tuned"]
    assert tuned["trials"] == 3 and tuned["texts"] == str(reference)
    run(EGS / "local/score.py", reference, exp / f"texts/{greedy}.valid/text", exp / "valid.json")
    return tuned, json.loads((exp / "valid.json").read_text())


def test_units_alone_make_rows_of_the_same_table_with_and_without_their_neighbours(tmp_path: Path) -> None:
    corpus = make_mboshi(tmp_path / "mboshi", per_split=50)
    command = [EGS / "run.sh", "--corpus", corpus, "--data", tmp_path / "data", "--exp", tmp_path / "exp", "--tiny",
               "true", "--subsets", "10m", "--seeds", "0", "--workers", "0", "--systems"]  # fmt: skip
    run(*command, "units units+context", "--stop-stage", "3")
    printed = run(*command, "units+context", "--stage", "4")
    rows = [line.split(" | ") for line in printed[printed.index("| system") :].splitlines()[2:]]
    assert [row[0] for row in rows] == ["| units", "| units+context"]
    assert not rows[0][4].strip() and float(rows[1][4].split(" ")[0]) <= 100
    data = tmp_path / "data" / "tiny"
    told = json.loads((tmp_path / "exp/tiny/texts/units_10m_0/transcripts.json").read_text())
    assert told["utterances"] == len((data / "corpus/dev/text").read_text().splitlines()) == 40
    sessions = [line.split()[1:] for line in (data / "sessions").read_text().splitlines()]
    numbers = [[int(re.sub(r"\D*\d_\D*", "", name)) for name in names] for names in sessions]
    assert sum(map(len, numbers)) == 80 and all(row == sorted(row) for row in numbers) and max(map(len, numbers)) > 9
    exp, valid = tmp_path / "exp/tiny", data / "sets/valid/text"
    tuned, greedy = decoded_again(exp, "units+context_10m_0", "units+context+lm_10m_0", valid)
    assert tuned["best"]["cer"] <= tuned["greedy"]["cer"] == greedy["cer"]


def test_self_training_runs_from_recognisers_to_tables_and_learns_from_the_rest_alone(tmp_path: Path) -> None:
    corpus = make_mboshi(tmp_path / "mboshi", per_split=50)
    fresh_encoder(tmp_path / "encoder")
    command = [EGS / "self_training.sh", "--corpus", corpus, "--data", tmp_path / "data", "--exp", tmp_path / "exp",
               "--tiny", "true", "--systems", f"small={tmp_path}/encoder", "--subsets", "10m", "--seeds", "0",
               "--rounds", "1", "--workers", "0"]  # fmt: skip
    printed = run(*command)
    table = printed[printed.rindex("| system") :].splitlines()
    assert table[0].endswith("| WER % greedy | CER % n-gram of the labels | WER % n-gram of the labels |")
    assert [line.split(" | ")[0] for line in table[2:4]] == ["| small", "| small+round1"]
    assert all(line.count("(1)") == 4 for line in table[2:4])
    sets, exp = tmp_path / "data/tiny/sets", tmp_path / "exp/tiny"
    ids = {name: set((sets / f"{name}.ids").read_text().split()) for name in ("all", "valid", "10m")}
    folder = exp / "pseudo" / "small+round1_10m_0"
    labels = [line.split("\t") for line in (folder / "labels.tsv").read_text().splitlines()[1:]]
    assert {row[0] for row in labels} == ids["all"] - ids["10m"]
    kept = {row[0]: row[5] for row in labels if row[1] == "kept"}
    written = [line.partition(" ") for line in (folder / "data" / "text").read_text().splitlines()]
    assert kept == {name: text for name, _, text in written} and all(kept.values())
    told = json.loads((exp / "small+round1_10m_0" / "recognizer" / "card.json").read_text())["training"]
    assert told["train"] == [str(sets / "10m"), str(folder / "data")]
    assert told["utterances"] == len(ids["10m"]) + len(kept)


def test_scores_are_edits_over_lengths_of_composed_text(tmp_path: Path) -> None:
    (tmp_path / "ref").write_text("a wó twεrε\nb ya\nc poo\n")
    (tmp_path / "hyp").write_text("a wo\u0301 twεε\nb yaa ya\n")
    printed = run(EGS / "local/score.py", tmp_path / "ref", tmp_path / "hyp", tmp_path / "x.json")
    found = json.loads((tmp_path / "x.json").read_text())
    assert (found["characters"], found["character_errors"]) == (13, 1 + 4 + 3)
    assert (found["words"], found["word_errors"], found["missing"]) == (4, 1 + 1 + 1, 1)
    assert "1 missing" in printed


def test_the_table_has_means_and_intervals(tmp_path: Path) -> None:
    for seed, cer in enumerate((0.5, 0.6, 0.7)):
        (tmp_path / f"own_x_1h_{seed}.json").write_text(json.dumps({"cer": cer, "wer": 1.0}))
    (tmp_path / "own_x+lm_1h_0.json").write_text(json.dumps({"cer": 0.4, "wer": 0.9}))
    (tmp_path / "a+ownlm_all_0.json").write_text(json.dumps({"cer": 0.3, "wer": 0.8}))
    assert run(EGS / "local/table.py", tmp_path).splitlines()[2:] == [
        "| own_x | 1h | 60.0 ± 24.8 (3) | 100.0 ± 0.0 (3) | 40.0 (1) | 90.0 (1) |  |  |",
        "| a | all |  |  |  |  | 30.0 (1) | 80.0 (1) |",
    ]


@pytest.mark.parametrize(("seconds", "wanted"), [(5, {"a": 2, "b": 2}), (100, {"a": 6, "b": 2})])
def test_subsets_give_speakers_equal_time_as_far_as_it_goes(
    seconds: int, wanted: dict[str, int], tmp_path: Path
) -> None:
    import numpy as np
    import soundfile

    names = [f"a{i}" for i in range(6)] + ["b0", "b1"]
    for name in names:
        soundfile.write(tmp_path / f"{name}.wav", np.zeros(16000) + 0.1, 16000)
    (tmp_path / "wav.scp").write_text("".join(f"{name} {tmp_path}/{name}.wav\n" for name in names))
    (tmp_path / "utt2spk").write_text("".join(f"{name} {name[0]}\n" for name in names))
    ids = run(EGS / "local/subset.py", tmp_path, str(seconds), "0").split()
    if seconds == 5:
        assert len(ids) == 5 and 2 <= sum(i[0] == "a" for i in ids) <= 3
        assert ids[:3] == run(EGS / "local/subset.py", tmp_path, "3", "0").split()
    else:
        assert {speaker: sum(i[0] == speaker for i in ids) for speaker in "ab"} == wanted
