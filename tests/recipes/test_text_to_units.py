"""The recipe of text to units: it learns what it is shown, in two languages and two voices; on after a stop."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import speechssl
from recipes import unit_lm
from recipes.text_to_units import Run, build, main, make_vocabulary
from speechssl import config
from speechssl.data.texts import open_texts
from speechssl.decoders.search import Search
from speechssl.decoders.vocabulary import of_characters
from speechssl.errors import CheckpointError, ConfigError, DataError
from speechssl.generation import decoder
from speechssl.generation.text_to_units import TextToUnits
from tests.recipes import test_unit_bart
from tests.training.helpers import _toml

CONF = Path(__file__).parent.parent.parent / "recipes" / "conf"
SMALL: dict[str, Any] = {
    **test_unit_bart.SMALL, "data.batching.min_s": 0.02, "settings.smoothing": 0.0, "search.beam": 2,
    "search.max_tokens": 8, "search.max_per_frame": 2.0,
}  # fmt: skip
SLOW, FAST = "slow", "fast"  # who says two units for each letter, and who says one


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Words of two languages, which say the same letters by other units, by two speakers, one twice as slow."""
    folder = tmp_path_factory.mktemp("speech")
    for language, first in (("up", 0), ("down", 6)):
        rows = [(f"{who}-{word[0]}", who, word) for who in (SLOW, FAST) for word in ("ab", "bc", "c a")]
        (folder / language).mkdir()
        tables = {"text": [f"{name} {word}" for name, _, word in rows],
                  "utt2spk": [f"{name} {who}" for name, who, _ in rows], "units": []}  # fmt: skip
        for name, who, word in rows:
            letters = ["abc".index(letter) for letter in word.replace(" ", "")]
            said = [first + 2 * x + half for x in letters for half in ((0, 1) if who == SLOW else (0,))]
            tables["units"].append(f"{name} {' '.join(map(str, said))}")
        for table, lines in tables.items():
            (folder / language / table).write_text("".join(line + "\n" for line in lines))
    (folder / "voices").mkdir()
    for who, value in ((SLOW, [1.0, 0.0, 0.0]), (FAST, [0.0, 1.0, 0.0])):
        np.save(folder / "voices" / f"{who}.npy", np.array(value, np.float32))
    return folder


def _named(names: tuple[str, ...], folder: Path, file: str = "") -> str:
    return "{" + ",".join(f'{name}=["{folder / name / file}"]' for name in names) + "}"


def train(run: Path, data: Path, **others: Any) -> int:
    both = ("up", "down")
    values = {**SMALL, "run": run, "data.train": _named(both, data), "data.units": _named(both, data, "units"),
              "data.valid": _named(both, data), "data.valid_units": _named(both, data, "units"),
              "data.embeddings": data / "voices",
              **{name.replace("__", "."): value for name, value in others.items()}}  # fmt: skip
    return main([f"{name}={value if str(value)[:1] in '{[' else _toml(value)}" for name, value in values.items()
                 if value is not None])  # fmt: skip


@pytest.fixture(scope="module")
def learned(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that has learned all of it."""
    run = tmp_path_factory.mktemp("learned") / "run"
    assert train(run, data, training__updates=160, training__valid_every=160, training__save_every=160,
                 optimizer__lr=1e-2) == 0  # fmt: skip
    return run


def test_it_says_every_word_in_its_language_and_at_the_rate_of_who_speaks(data: Path, learned: Path) -> None:
    result = json.loads((learned / "result.json").read_text())
    assert result["error_rate"] == 0 and result["exact"] == 1 and result["best_nll"] < 0.2
    model = speechssl.load_text_to_units(learned / "model")
    assert model.languages == ("up", "down") and model.speakers.names == (FAST, SLOW) and not model.speakers.embedder
    search = Search(beam=2, max_tokens=20)
    assert model("ab", "up", speaker=FAST, search=search).tolist() == [0, 2]
    assert model("ab", "down", speaker=FAST, search=search).tolist() == [6, 8]
    assert model("ab", "up", speaker=SLOW, search=search).tolist() == [0, 1, 2, 3]
    for prompt in (torch.tensor([1.0, 0, 0]), data / "voices" / f"{SLOW}.npy"):
        assert model(" bc\n", "up", speaker=prompt, search=search).tolist() == [2, 3, 4, 5]


def test_texts_together_say_what_each_says_alone(learned: Path) -> None:
    model = TextToUnits.load(learned / "model")
    texts, tags = [model.symbols(text) for text in ("abc", "b", "ca b ac")], [0, 1, 1]
    search, prompt = Search(beam=3, num_best=3, max_tokens=12), model.prompt(SLOW)
    together = model.hypotheses([*texts, np.zeros(0, np.int64)], [*tags, 0], search, prompt)
    assert together[3] == [] and [len(found) for found in together[:3]] == [3, 3, 3]
    for text, tag, found in zip(texts, tags, together, strict=False):
        (alone,) = model.hypotheses([text], [tag], search, prompt)
        assert [one.tokens for one in alone] == [one.tokens for one in found]
        assert [one.score for one in alone] == pytest.approx([one.score for one in found], abs=1e-5)


def test_a_search_says_each_unit_as_the_whole_decoder_scores_it(learned: Path) -> None:
    model = TextToUnits.load(learned / "model")
    (found,) = model.hypotheses([model.symbols("cab")], [1], Search(beam=2, max_tokens=12), model.prompt(FAST))
    network, tokens, prompt = model.parts.model, found[0].tokens, model.prompt(FAST)
    assert prompt is not None
    states, counts = network.encode(torch.from_numpy(model.symbols("cab"))[None], torch.tensor([3]), torch.tensor([1]),
                                    prompt[None])  # fmt: skip
    scores = network.decoder(torch.tensor([[network.decoder.end, *tokens]]), states, counts)[0].log_softmax(1)
    wanted = torch.tensor([*tokens, network.decoder.end])
    assert found[0].ended and float(scores.gather(1, wanted[:, None]).sum()) == pytest.approx(
        found[0].log_prob, abs=1e-4
    )


def test_what_does_not_end_is_cut_off_at_the_bound_of_search_or_decoder(tmp_path: Path, data: Path) -> None:
    assert train(tmp_path / "run", data, training__updates=1, settings__decoder__max_positions=14) == 0
    model = TextToUnits.load(tmp_path / "run" / "model")
    text, prompt = model.symbols("abc"), model.prompt(SLOW)
    for bound, longest in ((5, 5), (500, 14)):
        ((found,),) = model.hypotheses([text], [0], Search(beam=2, max_tokens=bound, min_tokens=499), prompt)
        assert len(found.tokens) == longest and not found.ended


def test_what_cannot_be_said_is_an_error(learned: Path, tmp_path: Path) -> None:
    model = TextToUnits.load(learned / "model")
    for error, message, text, others in (
        (DataError, "an empty text", "  ", {"language": "up", "speaker": SLOW}),
        (DataError, r"not in the vocabulary: 'x' \(U\+0078\)", "axe", {"language": "up", "speaker": SLOW}),
        (ConfigError, "speaks up, down: say which", "abc", {"speaker": SLOW}),
        (ConfigError, "does not speak 'fr', but up, down", "abc", {"language": "fr", "speaker": SLOW}),
        (ConfigError, "must be told who speaks .*it knows fast, slow", "abc", {"language": "up"}),
        (ConfigError, "nobody knows whose speaker embeddings", "abc", {"language": "up", "speaker": "anna.wav"}),
        (DataError, "embeddings of 3 numbers, not 4", "abc", {"language": "up", "speaker": torch.zeros(4)}),
    ):
        with pytest.raises(error, match=message):
            model(text, **others)
    shutil.copytree(learned / "model", tmp_path / "model")
    of_characters(["xyz"]).save(tmp_path / "model")  # as many symbols, others
    with pytest.raises(CheckpointError, match="were changed"):
        TextToUnits.load(tmp_path / "model")


def test_without_voices_and_languages_nothing_need_be_told(data: Path, tmp_path: Path) -> None:
    one = {"data__train": _named(("up",), data), "data__units": _named(("up",), data, "units"), "data__valid": "{}",
           "data__valid_units": "{}", "data__embeddings": None}  # fmt: skip
    assert train(tmp_path / "run", data, training__updates=1, **one) == 0
    model = TextToUnits.load(tmp_path / "run" / "model")
    assert model("abc", search=Search(max_tokens=3)).ndim == 1
    with pytest.raises(ConfigError, match="not told who speaks"):
        model("abc", speaker=SLOW)


def test_a_resumed_run_is_the_undisturbed_one_bit_for_bit(data: Path, tmp_path: Path) -> None:
    assert train(tmp_path / "one", data, settings__dropout__residual=0.1) == 0
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    shutil.rmtree(tmp_path / "two" / "checkpoints" / "update-000000006")
    shutil.rmtree(tmp_path / "two" / "model")
    assert train(tmp_path / "two", data, settings__dropout__residual=0.1) == 0
    for name in ("model/model.safetensors", "model/card.json", "result.json", "hypotheses.tsv"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes(), name


def test_it_begins_with_a_language_models_decoder_and_its_shape(data: Path, tmp_path: Path) -> None:
    lm = {
        name: value
        for name, value in SMALL.items()
        if not name.startswith(("settings.adaptor", "search", "settings.s"))
    }
    values = {**lm, "run": tmp_path / "lm", "data.train": _named(("up", "down"), data, "units"), "training.updates": 1,
              "settings.decoder.max_positions": 13}  # fmt: skip
    assert unit_lm.main([f"{name}={value if str(value)[:1] in '{[' else _toml(value)}"
                         for name, value in values.items()]) == 0  # fmt: skip
    begun = tmp_path / "lm" / "decoder"
    shape = {f"settings__decoder__{name}": None for name in ("dim", "ffn_dim", "num_heads", "num_layers")}
    given = {"decoder__checkpoint": begun, "training__updates": 1, "optimizer__lr": 1e-12,
             "optimizer__weight_decay": 0.0, **shape}  # fmt: skip
    assert train(tmp_path / "run", data, **given) == 0
    known, model = decoder.load(begun)[0], TextToUnits.load(tmp_path / "run" / "model")
    assert model.parts.model.decoder.config == known.config and known.config.max_positions == 13
    for name, tensor in known.state_dict().items():
        torch.testing.assert_close(model.parts.model.decoder.state_dict()[name], tensor, rtol=0, atol=1e-10)


@pytest.mark.parametrize(
    ("others", "message"),
    [
        ({"data__train": "{}"}, "names no language"),
        ({"data__units": '{up=["UP/units"]}'}, "each text needs its units"),
        ({"data__units": '{up=["UP/units"],left=["UP/units"]}'}, "units of 'left', which is none of up, down"),
        ({"data__num_units": 3}, "not below 3"),
        ({"data__embeddings": "no_such"}, "no_such"),
        ({"settings__num_units": 3}, "num_units follows from the data"),
        ({"settings__speaker_inputs": 3}, "speaker_inputs follows from the data"),
        ({"decoder__checkpoint": "no_such"}, "no_such: no decoder of recipes.unit_bart or recipes.unit_lm there"),
    ],
)
def test_a_wrong_setting_is_an_error_that_names_it(
    data: Path, tmp_path: Path, others: dict[str, Any], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    values = {name: str(value).replace("UP", str(data / "up")) if isinstance(value, str) else value
              for name, value in others.items()}  # fmt: skip
    assert train(tmp_path / "run", data, **values) == 2
    assert message in capsys.readouterr().err and not (tmp_path / "run").exists()


def test_what_is_left_out_is_told_with_its_reason(data: Path, tmp_path: Path) -> None:
    shutil.copytree(data / "up", tmp_path / "up")
    with (tmp_path / "up" / "text").open("a") as texts, (tmp_path / "up" / "units").open("a") as units:
        texts.write("empty\nnobody abc\nsilent abc\nlong " + "abc" * 40 + "\n")
        units.write("empty 1\nnobody 1 2\nalone 3\nlong 1 2\n")
    one = {"data__train": _named(("up",), tmp_path), "data__units": _named(("up",), tmp_path, "units"),
           "data__valid": "{}", "data__valid_units": "{}"}  # fmt: skip
    assert train(tmp_path / "run", data, training__updates=1, **one) == 0
    rows = [line.split("\t") for line in (tmp_path / "run" / "left_out.tsv").read_text().splitlines()]
    reasons = {name: reason for _, name, reason in rows}
    assert set(reasons) == {f"up:0:{name}" for name in ("empty", "nobody", "silent", "long", "alone")}
    assert reasons["up:0:empty"] == "no text" and reasons["up:0:silent"] == "no units"
    assert "its speaker" in reasons["up:0:nobody"] and reasons["up:0:alone"] == "units without a text"
    assert reasons["up:0:long"] == "120 symbols of its text are not 1..100"


def test_texts_are_read_of_a_file_a_folder_and_a_data_dir(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("a une  grenouille\nb\n")
    (tmp_path / "utt2lang").write_text("a fr\n")
    file, folder = open_texts(tmp_path / "text"), open_texts(tmp_path)
    assert [(row.id, row.text) for row in file.utterances] == [("a", "une  grenouille"), ("b", "")]
    assert [row.extra for row in folder.utterances] == [{"utt2lang": "fr"}, None] and file.utterances[0].extra is None
    (tmp_path / "wav.scp").write_text("a there.wav\nb gone.wav\n")
    assert [row.text for row in open_texts(tmp_path).utterances] == ["une  grenouille", ""]
    (tmp_path / "more.jsonl").write_text('{"audio": "x.wav", "id": "x", "text": "un coq"}\n')
    assert [row.text for row in open_texts(tmp_path / "more.jsonl").utterances] == ["un coq"]
    (tmp_path / "none").write_text("")
    for name in ("none", "no_such"):
        with pytest.raises(DataError, match=name):
            open_texts(tmp_path / name)


@pytest.mark.parametrize("name", ["text_to_units", "tiny_text_to_units"])
def test_a_config_builds_its_model_and_stores_whole(name: str, data: Path, tmp_path: Path) -> None:
    run = config.load(Run, CONF / f"{name}.toml")
    vocabulary = make_vocabulary(run.vocabulary, {"up": [open_texts(data / "up")]})
    with torch.device("meta"):
        objective: nn.Module = build(run, 100, vocabulary, None)
    total = sum(parameter.numel() for parameter in objective.parameters())
    assert total < 3e6 if name.startswith("tiny") else 8e6 < total < 12e6
    (tmp_path / "config.toml").write_text(config.to_toml(run), encoding="utf-8")
    assert config.load(Run, tmp_path / "config.toml") == run
