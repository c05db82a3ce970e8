"""egs/mboshi/telephone and egs/mboshi/st_mb-fr on miniatures, from recordings to the table; their parts alone."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import soundfile
import torch

from speechssl import encoders
from speechssl.encoders import pretrained
from speechssl.encoders.pretrained import EncoderCard, Pretrained
from speechssl.generation.model import Seq2Seq
from tests.egs.test_recipes import make_mboshi
from tests.encoders.tiny import TINY

EGS = Path(__file__).parents[2] / "egs"
ENVIRONMENT = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "OMP_NUM_THREADS": "1"}


def run(*command: str | Path) -> str:
    found = subprocess.run(list(map(str, command)), capture_output=True, text=True, env=ENVIRONMENT, check=False)
    assert found.returncode == 0, found.stdout + found.stderr
    return found.stdout


def ids(folder: Path, table: str = "wav.scp") -> set[str]:
    return {line.split(" ")[0] for line in (folder / table).read_text(encoding="utf-8").splitlines()}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With an encoder beside it."""
    folder = tmp_path_factory.mktemp("corpus")
    encoder = encoders.build("tdnn", TINY["tdnn"][0])
    pretrained.save(folder / "encoder", Pretrained(encoder, EncoderCard("tdnn", TINY["tdnn"][0])))
    return make_mboshi(folder / "mboshi", per_split=30)


def test_telephone_runs_from_recordings_to_one_table_of_both_bands(corpus: Path, tmp_path: Path) -> None:
    command = [EGS / "mboshi/telephone/run.sh", "--corpus", corpus, "--data", tmp_path / "data", "--exp",
               tmp_path / "exp", "--tiny", "true", "--checkpoint", corpus.parent / "encoder", "--layer", "2",
               "--schedules", "none mixed+in-domain"]  # fmt: skip
    printed = run(*command)
    table = [line for line in printed.splitlines() if line.startswith("| ")]
    assert "telephone: CER %" in table[0] and "wideband: CER, difference" in table[0]
    assert [row.split()[1] for row in table[1:]] == ["telephone.mixed+in-domain.s0", "telephone.none.s0",
                                                     "wide.none.s0"]  # fmt: skip
    assert table[2].split(" | ")[3] == "+0.0 [+0.0, +0.0]"  # beside itself
    data, exp = tmp_path / "data" / "tiny", tmp_path / "exp" / "tiny"
    called = (data / "telephone/corpus/dev/wav.scp").read_text().split()[1]
    assert soundfile.info(called).samplerate == 8000
    train = ids(data / "telephone/corpus/train")
    assert ids(data / "mixed") == train | {f"{name}-wide" for name in train}
    assert ids(data / "telephone/sets/10m") == ids(data / "wide/sets/10m")  # the same words in either band
    starts = [(exp / "pretrain" / name / "config.toml").read_text() for name in ("mixed-half.s0", "mixed+in-domain.s0")]
    assert all("updates = 2\n" in text for text in starts) and f"{exp}/pretrain/mixed-half.s0/encoder" in starts[1]
    assert f'train = "{data}/mixed"' in starts[0] and f'train = "{data}/telephone/corpus/train"' in starts[1]
    learned = [pretrained.load(path).sha256 for path in
               (corpus.parent / "encoder", *(exp / "pretrain" / f"{name}.s0" / "encoder" for name in
                                             ("mixed-half", "mixed+in-domain")))]  # fmt: skip
    assert len(set(learned)) == 3
    again = run(*command, "--stop-stage", "4")
    steps = sum(line.startswith("  ") and " -> " in line for line in printed.splitlines())
    assert "update" not in again and again.count("done before") == steps + 3  # trainings print into their logs


def test_translation_is_a_stage_before_recognition(corpus: Path, tmp_path: Path) -> None:
    printed = run(EGS / "mboshi/st_mb-fr/run.sh", "--corpus", corpus, "--data", tmp_path / "data", "--exp",
                  tmp_path / "exp", "--tiny", "true", "--checkpoint", corpus.parent / "encoder")  # fmt: skip
    rows = [line.split()[1] for line in printed.splitlines() if line.startswith("| ")]
    assert rows == ["system", "none.s0", "st.s0"]
    exp = tmp_path / "exp" / "tiny"
    assert set((tmp_path / "data/tiny/french/all/text").read_text().split("\n")[0].split()[1:]) == {"le", "singe"}
    stored = pretrained.load(exp / "st.s0/encoder")
    inside = Seq2Seq.load(exp / "st.s0/model").parts.encoder.state_dict()
    assert all(torch.equal(tensor, inside[name]) for name, tensor in stored.encoder.state_dict().items())
    assert stored.encoder.state_dict().keys() == inside.keys() and inside
    assert stored.sha256 != pretrained.load(corpus.parent / "encoder").sha256
    assert f'checkpoint = "{exp}/st.s0/encoder"' in (exp / "st_10m_0/config.toml").read_text()
    for name in ("st.s0", "st.s0.shuffled"):
        scores = json.loads((exp / "french" / f"{name}.json").read_text())
        assert scores["utterances"] == 24 and scores["chrf"]["score"] >= 0


def test_translations_are_the_texts_and_their_entities_characters(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for name, line in (
        ("wav.scp", "a a.wav"),
        ("utt2spk", "a s"),
        ("translation", "a l&apos; os &quot;x&quot; &amp; y"),
    ):
        (tmp_path / "in" / name).write_text(f"{line}\n")
    run(EGS / "mboshi/st_mb-fr/local/french.sh", tmp_path / "in", tmp_path / "out")
    assert (tmp_path / "out" / "text").read_text() == 'a l\' os "x" & y\n'


def test_shuffled_texts_all_stand_under_other_ids(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("a one two\nb\nc three\nd four\ne five\n")
    run(EGS / "mboshi/st_mb-fr/local/shuffle.sh", tmp_path / "text", tmp_path / "out")
    lines = [line.split(" ", 1) for line in (tmp_path / "out").read_text().splitlines()]
    assert lines == [["a", "three"], ["b", "four"], ["c", "five"], ["d", "one two"], ["e", ""]]


def test_the_table_of_errors_has_rates_intervals_and_differences(tmp_path: Path) -> None:
    row = {"cer": {"rate": 0.5, "low": 0.4, "high": 0.61}, "wer": {"rate": 1.0, "low": 0.9, "high": 1.1}}
    (tmp_path / "x").mkdir()
    (tmp_path / "y").mkdir()
    (tmp_path / "x" / "one.json").write_text(json.dumps(row))
    other = row | {"difference": {"cer": {"difference": -0.02, "low": -0.03, "high": 0.0}}}
    (tmp_path / "y" / "two.json").write_text(json.dumps(other))
    printed = run(EGS / "utils/wer_table.py", f"here={tmp_path}/x", f"there={tmp_path}/y").splitlines()
    assert printed[2] == "| one | 50.0 [40.0, 61.0] | 100.0 [90.0, 110.0] |  |  |  |  |"
    assert printed[3] == "| two |  |  |  | 50.0 [40.0, 61.0] | 100.0 [90.0, 110.0] | -2.0 [-3.0, +0.0] |"
    empty = subprocess.run([EGS / "utils/wer_table.py", f"x={tmp_path}"], capture_output=True, text=True, check=False)
    assert empty.returncode == 2 and "no scores" in empty.stderr
