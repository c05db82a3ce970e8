"""`speechssl data phones|lexicon|phone-map|rename-phones`: texts as phones, and from one inventory to another."""

import json
from pathlib import Path

import pytest

from speechssl import cli
from speechssl.data.lines import read_unique
from speechssl.decoders import vocabulary

pytest.importorskip("phonemizer")
pytest.importorskip("espeakng_loader")
pytest.importorskip("panphon")


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    path = tmp_path / "text"
    path.write_text("u1 Una moneda.\nu2\nu3 la luna 漢\nu4 la Luna\n", encoding="utf-8")
    return path


def data(*arguments: object) -> int:
    return cli.main(["data", *map(str, arguments)])


def test_a_data_dir_keeps_the_utterances_that_have_phones(tmp_path: Path, texts: Path, capsys) -> None:
    for name, value in (("wav.scp", "a.wav"), ("utt2spk", "s")):
        (tmp_path / name).write_text("".join(f"u{i} {value}\n" for i in (1, 2, 3, 4)), encoding="utf-8")
    assert data("phones", tmp_path, tmp_path / "out", "--language", "es", "--json") == 1
    row = json.loads(capsys.readouterr().out)
    assert list(row["left_out"]) == ["u2", "u3"] and row["texts"] == 2
    assert read_unique(tmp_path / "out" / "text") == {"u1": "u n a m o n e ð a", "u4": "l a l u n a"}
    assert list(read_unique(tmp_path / "out" / "wav.scp")) == ["u1", "u4"]
    assert (tmp_path / "out" / "spk2utt").read_text() == "s u1 u4\n"


def test_a_file_of_texts_becomes_a_file_and_the_report_says_why_others_do_not(
    tmp_path: Path, texts: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert data("phones", texts, tmp_path / "out", "--language", "es", "--foreign", "keep") == 1
    printed = capsys.readouterr().out
    assert "u2: an empty text has no phones (left out)" in printed
    assert "u3: signs that are no LATIN letters: 漢 (kept)" in printed
    assert list(read_unique(tmp_path / "out")) == ["u1", "u3", "u4"]


def test_a_lexicon_has_the_words_of_texts_by_the_rules(tmp_path: Path, texts: Path) -> None:
    target = tmp_path / "lexicon"
    assert data("lexicon", texts, target, "--language", "es", "--case", "lower", "--punctuation", "remove") == 1
    assert read_unique(target) == {"una": "u n a", "moneda": "m o n e ð a", "la": "l a", "luna": "l u n a"}


@pytest.fixture
def recognizer(tmp_path: Path) -> Path:
    folder = tmp_path / "recognizer"
    folder.mkdir()
    vocabulary.of_phones(["a lʲ d t͡s l ɨ"]).save(folder)
    return folder


def test_a_recognizers_phones_get_names_of_the_target_language(
    tmp_path: Path, recognizer: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    inventory, table, spelled = tmp_path / "target", tmp_path / "map.tsv", tmp_path / "spelled"
    inventory.write_text("u1 a l ð i t\n", encoding="utf-8")
    assert data("phone-map", recognizer, inventory, table, "--spellings", spelled) == 0
    chosen = {row[0]: row[1] for row in (line.split("\t") for line in table.read_text().splitlines()[1:])}
    assert chosen == {"a": "a", "l": "l", "lʲ": "l", "d": "t", "t͡s": "t", "ɨ": "i"}
    assert spelled.read_text() == "a a\ni ɨ\nl l\nl lʲ\nt d\nt t͡s\nð d\n"  # no output becomes ð: its own nearest
    hypotheses, renamed = tmp_path / "hyp", tmp_path / "renamed"
    hypotheses.write_text("u1 lʲ a t͡s\nu2\n", encoding="utf-8")
    assert data("rename-phones", table, hypotheses, renamed) == 0
    assert renamed.read_text() == "u1 l a t\nu2\n"
    assert "2 phones renamed" in capsys.readouterr().out


def test_a_target_languages_phones_get_some_that_the_recognizer_writes(tmp_path: Path, recognizer: Path) -> None:
    inventory, table, spelled = tmp_path / "target", tmp_path / "map.tsv", tmp_path / "spelled"
    inventory.write_text("u1 a l ð i\n", encoding="utf-8")
    options = ("--direction", "inventory", "--spellings", spelled)
    assert data("phone-map", recognizer, inventory, table, *options) == 0
    assert spelled.read_text() == "a a\ni ɨ\nl l\nð d\n"
    lexicon, mapped = tmp_path / "lexicon", tmp_path / "mapped"
    lexicon.write_text("lid l i ð\nlad l a ð\nlið l i ð\n", encoding="utf-8")
    assert data("rename-phones", table, lexicon, mapped) == 0
    assert mapped.read_text() == "lid l ɨ d\nlad l a d\nlið l ɨ d\n"


def test_floors_name_every_phone_and_follow_the_seed(tmp_path: Path, recognizer: Path) -> None:
    inventory = tmp_path / "target"
    inventory.write_text("u1 a l ð i t e o u\n", encoding="utf-8")
    tables = {}
    for name, *options in (("id", "--by", "id"), ("one", "--by", "random"), ("two", "--by", "random", "--seed", "1"),
                           ("kept", "--by", "random", "--keep-shared")):  # fmt: skip
        assert data("phone-map", recognizer, inventory, tmp_path / name, *options) == 0
        tables[name] = dict(line.split("\t")[:2] for line in (tmp_path / name).read_text().splitlines()[1:])
        assert set(tables[name]) == {"a", "l", "lʲ", "d", "t͡s", "ɨ"}
    assert tables["id"] == {"a": "a", "d": "e", "l": "i", "lʲ": "l", "t͡s": "o", "ɨ": "t"}
    assert tables["one"] != tables["two"]
    assert (tables["kept"]["a"], tables["kept"]["l"]) == ("a", "l")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("phones", "text", "out", "--language", "xx"), "no language 'xx'"),
        (("phones", "empty", "out", "--language", "es"), "no text can be used"),
        (("phones", "text", "text", "--language", "es"), "exists already"),
        (("lexicon", "text", "text", "--language", "es"), "exists already"),
        (("phone-map", "recognizer", "text", "map", "--keep-shared"), "--keep-shared"),
        (("phone-map", "recognizer", "empty", "map"), "both sides"),
        (("phone-map", "letters", "text", "map"), "of characters, not of phones"),
        (("rename-phones", "text", "text", "out"), "no map of phones"),
    ],
)
def test_bad_input_is_refused_with_what_is_wrong(
    tmp_path: Path, texts: Path, recognizer: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], message: str,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").write_text("u1\n", encoding="utf-8")
    (tmp_path / "letters").mkdir()
    vocabulary.of_characters(["ab"]).save(tmp_path / "letters")
    assert data(*arguments) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_phone_that_the_map_lacks_is_an_error_that_names_file_and_line(
    tmp_path: Path, recognizer: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    inventory, table = tmp_path / "target", tmp_path / "map.tsv"
    inventory.write_text("u1 a\nu2 ɸ\n", encoding="utf-8")
    assert data("phone-map", recognizer, inventory, table) == 0
    assert data("rename-phones", table, inventory, tmp_path / "out") == 2
    assert "target:2: the map of phones lacks 'ɸ'" in capsys.readouterr().err
