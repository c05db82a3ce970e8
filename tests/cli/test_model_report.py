"""`speechssl report MODEL`: the numbers of `speechssl score`, the same page every time, options that make no sense."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from speechssl.cli import main
from speechssl.cli._gather import hashed
from tests.report.pages import Document
from tests.units.test_model import mfcc_model

EVIL = "<img src=x onerror=alert(1)>"
PHONES = ["SIL", "a", "t", "i"]
NAMES = [f"u{k}" for k in range(8)]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """ROOT/model, ROOT/data (a Kaldi dir of tones; a broken one, one without labels), ROOT/phones.tsv, ROOT/units."""
    root = tmp_path_factory.mktemp("corpus")
    mfcc_model(num_units=12).save(root / "model")
    (root / "data").mkdir()
    rng = np.random.default_rng(0)
    labels, scp, speakers = ["utterance\tstart\tend\tlabel"], [], []
    for k, name in enumerate([*NAMES, "unlabelled"]):
        order = rng.permutation(4)
        time = np.arange(4800) / 16000
        parts = [0.3 * np.sin(2 * np.pi * 300 * 3**p * time) * (p > 0) for p in order]
        wave = np.concatenate(parts) + 0.005 * rng.standard_normal(19200)
        soundfile.write(root / f"{name}.wav", wave, 16000, subtype="PCM_16")
        scp.append(f"{name} {root / f'{name}.wav'}")
        speakers.append(f"{name} s{k % 3}")
        if name in NAMES:
            labels += [f"{name}\t{0.3 * j:.1f}\t{0.3 * (j + 1):.1f}\t{PHONES[p]}" for j, p in enumerate(order)]
    (root / "data/wav.scp").write_text("\n".join(sorted(scp)) + "\n")
    (root / "data/utt2spk").write_text("\n".join(sorted(speakers)) + "\n")
    (root / "phones.tsv").write_text("\n".join(labels) + "\n")
    units = ["units", str(root / "data"), "-o", str(root / "units"), "--model", str(root / "model"), "--workers", "0"]
    assert main([*units, "--quiet"]) == 0
    return root


def report(corpus: Path, page: Path, *options: str, model: str = "model") -> Document:
    found = ["--corpus", str(corpus / "data"), "--phones", str(corpus / "phones.tsv"), "--workers", "0"]
    assert main(["report", str(corpus / model), *found, "-o", str(page), *options]) == 0
    return Document(page.read_text())


def figures(document: Document) -> dict[str, str]:
    return dict(zip(document.text("dt"), document.text("dd")[::2], strict=True))


@pytest.mark.parametrize("shift", ["0", "-0.07"])
def test_key_figures_are_those_of_speechssl_score(corpus: Path, tmp_path: Path, shift: str) -> None:
    document = report(corpus, tmp_path / "page.html", f"--phone-shift={shift}")
    rows = {}
    for kind in ("units", "boundaries"):
        score = ["score", kind, str(corpus / "units"), "--phones", str(corpus / "phones.tsv"), "--allow-missing"]
        assert main([*score, f"--phone-shift={shift}", "-o", str(tmp_path / f"{kind}.json")]) == 0
        rows[kind] = json.loads((tmp_path / f"{kind}.json").read_text())
    named = figures(document)
    keys = {"PNMI": ("units", "pnmi"), "phone purity": ("units", "phone_purity"), "R-value": ("boundaries", "r_value"),
            "cluster purity": ("units", "cluster_purity"), "boundary F1": ("boundaries", "f1")}  # fmt: skip
    for name, (kind, key) in keys.items():
        assert named[name] == f"{rows[kind][key]:.3f}"
    assert 0.1 < rows["units"]["pnmi"] < 1
    text = document.text("p", id="corpus")[0]
    assert "9 utterances" in text and "3 speakers" in text and "over the 8 with labels" in text
    assert "1 utterance without labels, for example unlabelled" in text


def test_the_page_is_the_same_every_time_and_from_units_made_before(corpus: Path, tmp_path: Path) -> None:
    report(corpus, tmp_path / "a.html", "--changes", "noise=20,5 reverb=0.3", "--num-changed", "3")
    report(corpus, tmp_path / "b.html", "--changes", "noise=20,5 reverb=0.3", "--num-changed", "3")
    assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b.html").read_bytes()
    stored = report(corpus, tmp_path / "c.html", "--units", str(corpus / "units"))
    again = Document((tmp_path / "a.html").read_text())
    assert figures(stored) == figures(again) and stored.text("h3") == again.text("h3")
    assert [m["data-map"] for m in stored.all("div", class_="cells")] == [
        m["data-map"] for m in again.all("div", class_="cells")
    ]


def test_examples_are_chosen_by_the_hash_of_the_id_or_by_name(corpus: Path, tmp_path: Path) -> None:
    expected = sorted([*NAMES, "unlabelled"], key=hashed)
    document = report(corpus, tmp_path / "page.html")
    assert document.text("h3") == expected[:6] and len(document.all("audio")) == 6
    assert report(corpus, tmp_path / "page.html", "--num", "2").text("h3") == expected[:2]
    named = report(corpus, tmp_path / "page.html", "--utterances", "u3", "u1", "--id", "u0")
    assert sorted(named.text("h3")) == ["u0", "u1", "u3"]
    assert any(fact.startswith("speaker s") for fact in named.text("p", class_="facts"))
    assert len(named.all("svg", class_="line labels")) == 4  # of three utterances, and under the heat map


def test_units_alone_without_labels_or_recordings_make_a_page(corpus: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    assert main(["report", str(corpus / "model"), "--units", str(corpus / "units"), "-o", str(page)]) == 0
    document = Document(page.read_text())
    assert list(figures(document)) == ["active codes", "perplexity", "bitrate"]
    assert [s["id"] for s in document.all("section")] == ["utterances", "charts", "provenance"]


def test_changes_and_score_files_stand_on_one_page(corpus: Path, tmp_path: Path) -> None:
    edits = tmp_path / "edits.json"
    assert main(["score", "edits", str(corpus / "units"), str(corpus / "units"), "-o", str(edits)]) == 0
    document = report(corpus, tmp_path / "page.html", "--changes", "noise=0", "--scores", f"tempo=1:{edits}")
    captions = document.text("figcaption")
    assert captions[-2:] == ["tempo", "noise"]
    values = document.text("td")
    assert "0.000" in values  # a recording against itself
    assert "Measured here on 9 recordings: noise=0." in " ".join(document.text("p", class_="help"))
    twice = ["--changes", "noise=5", "--scores", f"noise=5:{edits}", "--corpus", str(corpus / "data")]
    assert main(["report", str(corpus / "model"), *twice, "--workers", "0", "-o", str(tmp_path / "no.html")]) == 2


def test_scores_of_another_unit_model_have_no_place_on_the_page(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    edits, page = tmp_path / "edits.json", tmp_path / "page.html"
    assert main(["score", "edits", str(corpus / "units"), str(corpus / "units"), "-o", str(edits)]) == 0
    row = json.loads(edits.read_text())
    row["made_by"][0]["unit_model"] = "0" * 64
    edits.write_text(json.dumps(row))
    given = ["--units", str(corpus / "units"), "--scores", f"tempo=1:{edits}", "-o", str(page)]
    assert main(["report", str(corpus / "model"), *given]) == 2
    assert "scores of another unit model" in capsys.readouterr().err and not page.exists()


def test_hostile_names_become_no_markup_and_what_is_skipped_is_told(corpus: Path, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / f"{EVIL}.wav").write_bytes((corpus / "u0.wav").read_bytes())
    (tmp_path / "in" / "broken.wav").write_bytes(b"RIFF")
    (tmp_path / "phones.tsv").write_text(f"{EVIL}\t0.0\t0.5\t{EVIL}\n{EVIL}\t0.5\t1.1\t'\"&\n")
    (tmp_path / "spk").write_text("nobody <b>\n")
    page = tmp_path / "page.html"
    arguments = ["report", str(corpus / "model"), "--corpus", str(tmp_path / "in"), "--speakers", str(tmp_path / "spk"),
                 "--phones", str(tmp_path / "phones.tsv"), "--title", EVIL, "--workers", "0"]  # fmt: skip
    assert main([*arguments, "-o", str(page)]) == 1
    document = Document(page.read_text())
    assert document.text("h3") == [EVIL] == document.text("h1")
    assert not document.handlers() and all(u.startswith(("data:", "#")) for u in document.urls())
    assert document.text("a", href="#failures") == ["1 input skipped"] and "broken" in document.text("th")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "give --corpus, or --units"),
        (["--units", "UNITS", "--changes", "noise=5"], "--changes needs the recordings"),
        (["--corpus", "DATA", "--model", "x"], "--model has no effect"),
        (["--corpus", "DATA", "--phone-shift", "0.1"], "no effect without --phones"),
        (["--corpus", "DATA", "--changes", "speed=5"], "choose from noise"),
        (["--corpus", "DATA", "--changes", "noise=5", "--num-changed", "0"], "at least 1"),
        (["--corpus", "DATA", "--scores", "nowhere.json"], "no score file"),
        (["--corpus", "DATA", "--phones", "nowhere.tsv"], "nowhere.tsv"),
        (["--units", "UNITS", "--utterances", "nobody"], "no units of utterance 'nobody'"),
        (["--units", "UNITS", "--num", "0"], "at least 1"),
    ],
)
def test_options_without_sense_are_refused(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], message: str
) -> None:
    places = {"UNITS": str(corpus / "units"), "DATA": str(corpus / "data")}
    page = tmp_path / "page.html"
    given = [places.get(option, option) for option in options]
    assert main(["report", str(corpus / "model"), "-o", str(page), "--workers", "0", *given]) == 2
    assert message in capsys.readouterr().err and not page.exists()


def test_units_of_another_model_and_labels_of_other_utterances_are_refused(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mfcc_model(num_units=12, seed=1).save(tmp_path / "other")
    page = ["-o", str(tmp_path / "page.html")]
    assert main(["report", str(tmp_path / "other"), "--units", str(corpus / "units"), *page]) == 2
    assert "not made by" in capsys.readouterr().err
    (tmp_path / "phones.tsv").write_text("x\t0\t1\ta\n")
    phones = ["--phones", str(tmp_path / "phones.tsv")]
    assert main(["report", str(corpus / "model"), "--units", str(corpus / "units"), *phones, *page]) == 2
    assert "no utterance has labels" in capsys.readouterr().err


def test_options_of_models_are_refused_where_there_is_none(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = ["-o", str(tmp_path / "page.html")]
    assert main(["report", str(corpus / "units"), "--changes", "noise=5", *page]) == 2
    assert "--changes goes with a unit model" in capsys.readouterr().err
