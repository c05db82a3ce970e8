"""The one door: which spec leads where, what is refused, and that nothing damaged comes through."""

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import speechssl
from speechssl import convert
from speechssl.convert import download, export_fairseq2, huggingface, known
from speechssl.encoders import pretrained as native
from speechssl.errors import CheckpointError, SpeechSSLError
from tests.convert import fairseq_files, oracles, test_torchaudio
from tests.convert.server import serving

# ---- what a spec means


def test_native_folder_comes_back(tmp_path: Path) -> None:
    first = convert.load_encoder(oracles.save(oracles.make("hubert-large"), tmp_path / "in", normalize=True))
    native.save(tmp_path / "ours", first)
    loaded = convert.load(tmp_path / "ours")
    assert loaded.format == "speechssl"
    assert loaded.pretrained.sha256 == first.sha256
    assert loaded.pretrained.card.source == "huggingface"
    changed = convert.load(tmp_path / "ours", normalize=False)
    assert changed.pretrained.card.normalize is False
    assert changed.pretrained.sha256 != first.sha256
    assert "which is used" in changed.notes[0]


def test_one_model_has_one_identity_in_every_format(tmp_path: Path) -> None:
    model = oracles.make("hubert-base")
    from_hf = convert.load_encoder(oracles.save(model, tmp_path / "hf"))
    tree = {"cfg": {"task": {"normalize": False}, "model": fairseq_files.settings(model, "hubert")},
            "model": fairseq_files.state_dict(model)}  # fmt: skip
    torch.save(tree, tmp_path / "fs.pt")
    from_fairseq = convert.load_encoder(tmp_path / "fs.pt")
    export_fairseq2.write(tmp_path / "fs2", from_hf)
    assert from_hf.sha256 == from_fairseq.sha256 == convert.load_encoder(tmp_path / "fs2").sha256


def test_mfcc_needs_no_file() -> None:
    pretrained = speechssl.load_encoder("mfcc")
    assert pretrained.card.family == "mfcc"
    assert pretrained.features(torch.randn(16000), 0).shape == (49, 39)


def test_family_names_are_no_models() -> None:
    with pytest.raises(CheckpointError, match="hubert-base-ls960"):
        convert.load_encoder("hubert")


@pytest.mark.parametrize(("spec", "message"), [
    ("hubert-base-ls96", "did you mean hubert-base-ls960"), ("nonsense", "info --known"), ("./absent", "no such"),
    ("models/hubert.pt", "no such"), ("~nobody/x", "no such"),
    (Path("absent"), "no such file"), ("http://example.org/x.pt", "only https"),
])  # fmt: skip
def test_unknown_specs_are_errors_that_help(spec: Any, message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        convert.load_encoder(spec, offline=True)


def test_a_setting_without_effect_is_an_error(tmp_path: Path) -> None:
    folder = oracles.save(oracles.make("hubert-base"), tmp_path)
    with pytest.raises(CheckpointError, match="revision"):
        convert.load_encoder(folder, revision="main")
    with pytest.raises(CheckpointError, match="revision"):
        convert.load_encoder("hubert-base-ls960@url", revision="main", offline=True)


def test_addresses_are_fetched_and_unpinned_ones_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = oracles.make("hubert-base")
    tree = {"cfg": {"task": {}, "model": fairseq_files.settings(model, "hubert")},
            "model": fairseq_files.state_dict(model)}  # fmt: skip
    torch.save(tree, tmp_path / "hubert_base_ls960.pt")
    monkeypatch.setenv("SPEECHSSL_CACHE", str(tmp_path / "cache"))
    with serving() as server:
        server.files["/hubert_base_ls960.pt"] = (tmp_path / "hubert_base_ls960.pt").read_bytes()
        loaded = convert.load(f"{server.url}/hubert_base_ls960.pt")
    assert loaded.pretrained.card.normalize is False, "known by its file name"
    assert "not pinned" in loaded.notes[-1]
    assert download.fetch_url(f"{server.url}/hubert_base_ls960.pt", offline=True).sha256 in loaded.notes[-1]


def test_pinned_names_refuse_another_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPEECHSSL_CACHE", str(tmp_path))
    found = known.find("hubert-base-ls960")
    assert found is not None
    path = download._place(found.url)
    path.parent.mkdir(parents=True)
    path.write_bytes(b"not the released file")
    with pytest.raises(CheckpointError, match=f"instead of {found.sha256}"):
        convert.load_encoder("hubert-base-ls960@url", offline=True)


def test_hugging_face_weights_alone_are_an_error_that_says_what_is_missing(tmp_path: Path) -> None:
    folder = oracles.save(oracles.make("hubert-base"), tmp_path)
    with pytest.raises(CheckpointError, match="give its folder"):
        convert.load_encoder(folder / "model.safetensors")
    (tmp_path / "empty").mkdir()
    with pytest.raises(CheckpointError, match="no encoder here"):
        convert.load_encoder(tmp_path / "empty")


# ---- the table of known checkpoints


def test_known_table_is_sound() -> None:
    from speechssl import encoders

    names: list[str] = []
    for entry in known.checkpoints():
        names += [entry.name, *(kmeans.name for kmeans in entry.kmeans)]
        assert entry.family in encoders.families()
        assert entry.hub or (entry.url and entry.format in ("fairseq", "soft-vc"))
        for url, sha256 in [(entry.url, entry.sha256), *((k.url, k.sha256) for k in entry.kmeans)]:
            assert not url or url.startswith("https://")
            assert sha256 == "" or (len(sha256) == 64 and int(sha256, 16) >= 0)
        assert known.find(entry.name) is entry
        assert not entry.hub or known.find(entry.hub) is entry
    assert len(set(names)) == len(names)
    files = [file for entry in known.checkpoints() for file in entry.files]
    assert len(set(files)) == len(files), "a file name stands for one model"


def test_kmeans_are_found_with_their_encoder() -> None:
    found = known.find_kmeans("hubert-base-ls960-L9-km500")
    assert found is not None
    assert (found[0].hub, found[1].layer, found[1].num_units) == ("facebook/hubert-base-ls960", 9, 500)
    assert known.find_kmeans("nothing") is None


# ---- damage: always CheckpointError, never another exception, never a wrong model in silence


def make_hf(folder: Path) -> list[Path]:
    oracles.save(oracles.make("hubert-base"), folder, safe_serialization=True)
    return [folder / name for name in ("config.json", "preprocessor_config.json", "model.safetensors")]


def make_hf_pickled(folder: Path) -> list[Path]:
    oracles.save(oracles.make("wavlm-base"), folder, safe_serialization=False)
    return [folder / name for name in ("config.json", "pytorch_model.bin")]


def make_wavlm(folder: Path) -> list[Path]:
    oracles.save(oracles.make("wavlm-large"), folder)
    return [folder / "config.json"]


def make_fairseq(folder: Path) -> list[Path]:
    model = oracles.make("wav2vec2-base")
    values = fairseq_files.settings(model, "wav2vec2")
    state = fairseq_files.state_dict(model)
    torch.save({"args": fairseq_files.namespace(values, normalize=True), "model": state}, folder / "model.pt")
    return [folder / "model.pt"]


def make_torchaudio(folder: Path) -> list[Path]:
    model = test_torchaudio.wav2vec2(test_torchaudio.GROUP)
    test_torchaudio.write(model, folder / "model.pth", "num_heads = 4\nnormalize = true\n")
    return [folder / "model.pth", folder / "model.toml"]


def make_fairseq2(folder: Path) -> list[Path]:
    first = convert.load_encoder(oracles.save(oracles.make("wav2vec2-base"), folder.parent / "in"))
    export_fairseq2.write(folder, first)
    return [folder / "card.yaml", folder / "model.safetensors"]


def make_native(folder: Path) -> list[Path]:
    native.save(folder, convert.load_encoder(oracles.save(oracles.make("sew"), folder.parent / "in")))
    return [folder / "config.json", folder / "model.safetensors"]


MAKERS: dict[str, Callable[[Path], list[Path]]] = {
    "huggingface": make_hf, "huggingface-bin": make_hf_pickled, "fairseq": make_fairseq, "torchaudio": make_torchaudio,
    "fairseq2": make_fairseq2, "native": make_native,
}  # fmt: skip


def mutate(data: bytes, rng: random.Random) -> bytes:
    """Cut, grow, flip, swap for something else, mostly near the start, where the structure is."""
    near = min(len(data), rng.choice([64, 2000, len(data)]))
    place = rng.randrange(max(1, near))
    match rng.randrange(6):
        case 0:
            return data[:place]
        case 1:
            return data[:place] + rng.randbytes(rng.randrange(1, 40)) + data[place:]
        case 2:
            return data[:place] + bytes([data[place] ^ (1 << rng.randrange(8))]) + data[place + 1 :] if data else b""
        case 3:
            return data[:place] + b"9" * rng.randrange(1, 30) + data[place + rng.randrange(1, 9) :]
        case 4:
            return (
                data[:place] + rng.choice([b"null", b"-1", b"[]", b"{}", b'"x"', b"1e999", b"\x80"]) + data[place + 1 :]
            )
        case _:
            return rng.randbytes(rng.randrange(200))


@pytest.mark.parametrize("kind", MAKERS)
def test_damaged_files_give_checkpoint_errors_or_the_same_features(kind: str, tmp_path: Path) -> None:
    """Damage may be without effect (padding) or give a valid other model (a weight's bits): never a crash."""
    folder = tmp_path / "model"
    folder.mkdir()
    files = MAKERS[kind](folder)
    spec = files[0] if kind in ("fairseq", "torchaudio") else folder
    convert.load_encoder(spec)
    rng, refused, original = random.Random(5), 0, {file: file.read_bytes() for file in files}
    for _ in range(150):
        file = rng.choice(files)
        file.write_bytes(mutate(original[file], rng))
        try:
            loaded = convert.load_encoder(spec)
        except CheckpointError as error:
            refused += 1
            assert str(error)
        else:
            with torch.inference_mode():
                loaded.features(torch.zeros(1000), 1)
        file.write_bytes(original[file])
    assert refused > 75


class Recorder(dict[str, Any]):
    """Which of its keys a reader of `config.json` asks for; the others cannot matter."""

    def keys_read(self) -> list[str]:
        self.read: set[str] = set()
        huggingface.to_our_config(self, where="x")
        return sorted(self.read & set(self))

    def get(self, key: str, default: Any = None) -> Any:
        self.read.add(key)
        return super().get(key, default)

    def __getitem__(self, key: str) -> Any:
        return self.get(key)


@pytest.mark.parametrize("kind", ["huggingface", "wavlm", "native", "fairseq2"])
def test_every_single_json_value_may_be_nonsense(kind: str, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    file = (MAKERS | {"wavlm": make_wavlm})[kind](folder)[0]
    values = json.loads(file.read_text())
    for key in Recorder(values).keys_read() if kind in ("huggingface", "wavlm") else values:
        for nonsense in (None, -1, 0, "x", [], {}, [[]], 1e308, 10**30, True):
            file.write_text(json.dumps(values | {key: nonsense}))
            try:
                loaded = convert.load_encoder(folder)
            except SpeechSSLError as error:
                assert isinstance(error, CheckpointError), (key, nonsense)
            else:
                loaded.features(torch.zeros(1000), 1)
