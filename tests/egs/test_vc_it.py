"""egs/asterisk/vc_it: two voices of the same prompts, made here."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from speechssl import cli
from tests.egs.test_local import EGS
from tests.egs.test_resynth import loaded

pytest.importorskip("av")


@pytest.fixture
def prompts(tmp_path: Path) -> Path:
    """Nine prompts of both voices, one of them short and one with another text; one of the man alone, and a silence."""
    root, random = tmp_path / "unpacked" / "usr" / "share" / "asterisk" / "sounds", np.random.default_rng(0)
    names = [f"dictate/p{number}" for number in range(4)] + [f"q{number}" for number in range(4)]
    for name in [*names, "other", "alone", "silence/1"]:
        length = {"q3": 0.5, "other": 4.0}.get(name, 1.2)
        man, woman = (root / f"it_IT_{voice}" / name for voice in ("m_Carlo", "f_Menardi"))
        man.parent.mkdir(parents=True, exist_ok=True)
        man.with_suffix(".g722").write_bytes(random.integers(0, 256, int(8000 * length), dtype=np.uint8).tobytes())
        if name != "alone":
            woman.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(woman.with_suffix(".wav"), random.normal(0, 0.1, 12000), 8000)
    return tmp_path / "unpacked"


def test_no_prompt_is_learned_and_tested_and_both_voices_have_one_band(
    prompts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    script = loaded(EGS / "asterisk" / "vc_it" / "local" / "prepare_data.py")
    out = tmp_path / "data"
    assert script.main(["--prompts", str(prompts), "--test", "2", "--valid", "1", str(out)]) == 0
    assert "9 prompts of both voices; 1 shorter than 1 s, 1 of other lengths left out" in capsys.readouterr().out
    ids = {part: [line.split()[0] for line in (out / part / "wav.scp").read_text().splitlines()]
           for part in ("train", "valid", "test/carlo", "test/paola")}  # fmt: skip
    assert ids["test/carlo"] == ids["test/paola"] and len(ids["test/carlo"]) == 2
    assert [len(ids[part]) for part in ("train", "valid")] == [2 * 4, 2 * 1]  # both voices
    said = [{name.split("-", 1)[1] for name in ids[part]} for part in ("train", "valid")] + [set(ids["test/carlo"])]
    assert len(set.union(*said)) == sum(map(len, said)) == 7 and "dictate-p0" in set.union(*said)
    assert set((out / "train" / "utt2spk").read_text().split()[1::2]) == {"carlo", "paola"}
    for part in ids:
        assert cli.main(["data", "check", str(out / part)]) == 0
    for voice in ("carlo", "paola"):
        wav, rate = soundfile.read(next((out / "audio").glob(f"{voice}-*.wav")))
        power = np.abs(np.fft.rfft(wav)) ** 2
        assert rate == 16000 and power[len(power) // 2 + 50 :].sum() < 1e-3 * power.sum()
    assert script.main(["--prompts", str(prompts), "--test", "5", "--valid", "2", str(tmp_path / "few")]) == 2
    assert "9 prompts of both voices, 7 of 1 s or more, and 7 are to be held out" in capsys.readouterr().err
