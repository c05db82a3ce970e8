"""The same features and units whatever the batch, the order, the threads, the workers and the size of shards."""

import copy
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from speechssl import encoders
from speechssl.data.corpus import Corpus, open_corpus
from speechssl.encoders import pretrained as files
from speechssl.encoders.pretrained import EncoderCard, Pretrained
from speechssl.extract.encode import Encoded, Encoder, Recording
from speechssl.extract.job import EncoderReference, Job, Manifest, ModelIdentity, ModelSpec
from speechssl.extract.merge import Output
from speechssl.extract.run import Options, run_units
from speechssl.quantizers import Quantizer
from speechssl.quantizers.kmeans import KMeans
from speechssl.units.model import UnitModel
from tests.battery.conftest import Record
from tests.battery.size import size
from tests.encoders.parity import randomize
from tests.encoders.tiny import BASE, LARGE
from tests.extract.helpers import contents

SMALL = {"dim": 64, "ffn_dim": 128, "num_heads": 4, "pos_conv_kernel": 32}
MODELS = {  # family, config, layer
    "hubert": ("hubert", {**BASE, **SMALL}, 2),
    "wav2vec2, layer norm": ("wav2vec2", {**LARGE, **SMALL}, 2),
    "wavlm": ("wavlm", {**BASE, **SMALL, "num_buckets": 32, "max_distance": 80}, 2),
    "data2vec": ("data2vec_audio", {**BASE, **SMALL, "pos_conv_kernel": 5}, 2),
}


@pytest.fixture(scope="module")
def speech(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> tuple[Corpus, str]:
    """Recordings of unlike lengths, real ones where there are any, and some at the edges."""
    folder = tmp_path_factory.mktemp("same") / "in"
    folder.mkdir()
    random = np.random.default_rng(0)
    wanted = size(3, 48)
    try:
        corpora: Path = request.getfixturevalue("corpora")
        found = sorted((corpora / "mboshi" / "dev").glob("*.opus"))
    except pytest.skip.Exception:
        found = []
    for number in range(wanted):
        if found:
            (folder / f"{number:02}.opus").symlink_to(found[number * len(found) // wanted])
        else:
            noise = np.convolve(random.normal(size=int(random.uniform(0.3, 6) * 16000)), np.ones(5) / 9, "same")
            soundfile.write(folder / f"{number:02}.wav", np.clip(noise, -1, 1), 16000)
    for number in (400, 719, 720, 16000):
        soundfile.write(folder / f"z{number}.wav", random.uniform(-0.3, 0.3, number), 16000)
    return open_corpus(folder), "real speech" if found else "noise"


def build(family: str, config: dict[str, object]) -> Pretrained:
    torch.manual_seed(0)
    model = encoders.build(family, config)
    randomize(model)
    return Pretrained(model.eval(), EncoderCard(family, config, name="random", normalize=True))


def centroids(encoder: Encoder, corpus: Corpus) -> torch.Tensor:
    """K = 100 frames of the corpus itself: every unit is used."""
    frames = np.concatenate([found.frames for found in alone(encoder, corpus)])
    return torch.from_numpy(frames[np.random.default_rng(0).choice(len(frames), 100, replace=False)])


def encoder_of(pretrained: Pretrained, layer: int, quantizer: Quantizer | None = None) -> Encoder:
    reference = EncoderReference("random", "0", pretrained.card.family, {}, True, 1e-5, "none")
    job = Job("features", "npy", ModelIdentity(reference, layer, 16000, 50.0, "?"), Manifest("0", 1), 1, 1)
    return Encoder(job, pretrained, layer, quantizer)


def alone(encoder: Encoder, corpus: Corpus) -> list[Encoded]:
    """Every utterance encoded by itself."""
    return [encoder.encode(utterance, Path("unused"), lambda: None) for utterance in corpus.utterances]


def together(encoder: Encoder, corpus: Corpus, order: np.ndarray, batch: int) -> Iterator[tuple[int, Encoded]]:
    """In padded batches, in some order; what an accelerator does."""
    rows = corpus.utterances
    for start in range(0, len(order), batch):
        numbers = order[start : start + batch].tolist()
        held = [encoder.read(rows[number], lambda: None) for number in numbers]
        assert all(isinstance(recording, Recording) for recording in held)
        for number, found in zip(numbers, encoder.encode_batch(held), strict=True):  # type: ignore[arg-type]
            assert isinstance(found, Encoded), found
            yield number, found


def rounding(encoder: Encoder, pretrained: Pretrained, layer: int, corpus: Corpus, reference: list[Encoded]) -> float:
    """How far the features of one utterance by itself are from those computed in float64."""
    exact = copy.deepcopy(pretrained.encoder).double()
    worst = 0.0
    for utterance, found in zip(corpus.utterances, reference, strict=True):
        recording = encoder.read(utterance, lambda: None)
        assert recording is not None
        wav = pretrained.normalize(torch.from_numpy(recording.samples)).double()
        with torch.inference_mode():
            layers, _ = exact.layers(wav[None], upto=layer)
        worst = max(worst, float(np.abs(layers[layer][0].numpy() - found.frames).max()))
    return worst


@pytest.mark.parametrize("name", [*MODELS, "the built-in model"])
def test_batches_and_orders_change_nothing(speech: tuple[Corpus, str], record: Record, name: str) -> None:
    """Batches of 1, 4 and 16 in shuffled orders against one by one: 1e-5 in features, no other unit.

    Where values are so large that float32 itself is further than 1e-5 from float64, batches may be as far from each
    other as that.
    """
    corpus, what = speech
    if name in MODELS:
        family, config, layer = MODELS[name]
        pretrained = build(family, config)
        quantizer: Quantizer = KMeans(centroids(encoder_of(pretrained, layer), corpus))
    else:
        model = UnitModel.load("default")
        pretrained, layer, quantizer = model.pretrained, model.layer, model.quantizer
    features = encoder_of(pretrained, layer)
    reference = alone(features, corpus)
    random = np.random.default_rng(0)
    worst, largest, other_units, frames, utterances = 0.0, 0.0, 0, 0, 0
    for batch in (1, 4, 16):
        for _ in range(size(1, 4)):
            for number, found in together(features, corpus, random.permutation(len(corpus)), batch):
                expected = reference[number].frames
                assert found.frames.shape == expected.shape
                worst = max(worst, float(np.abs(found.frames - expected).max()))
                largest = max(largest, float(np.abs(expected).max()))
                a, b = (quantizer.encode(torch.from_numpy(np.array(x))) for x in (expected, found.frames))
                other_units += int((a != b).sum())
                frames, utterances = frames + len(a), utterances + 1
    own = rounding(features, pretrained, layer, corpus, reference) if name in MODELS else 0.0
    record(
        f"batches of 1, 4, 16 and orders: {name}", speech=what, utterances=utterances, frames=frames,
        largest_value=f"{largest:.1f}", max_difference=f"{worst:.1e}", float32_itself=f"{own:.1e}",
        other_units=other_units,
    )  # fmt: skip
    assert worst <= max(1e-5, own)
    assert other_units == 0


@pytest.fixture(scope="module")
def unit_model(speech: tuple[Corpus, str], tmp_path_factory: pytest.TempPathFactory) -> ModelSpec:
    """A HuBERT with random weights and 100 units, on the disk."""
    family, config, layer = MODELS["hubert"]
    pretrained = build(family, config)
    folder = tmp_path_factory.mktemp("unit-model")
    quantizer = KMeans(centroids(encoder_of(pretrained, layer), speech[0]))
    UnitModel(pretrained, layer, quantizer).save(folder)
    assert (folder / "encoder" / "model.safetensors").exists() and files.is_native(folder / "encoder")
    return ModelSpec(str(folder))


def extract(speech: Corpus, spec: ModelSpec, out: Path, *, shard_size: int = 5, **options: int) -> dict[str, bytes]:
    outputs = [Output("text", False), Output("npz", True)]
    run_units(speech, out, spec, outputs=outputs, shard_size=shard_size, options=Options(quiet=True, **options))  # type: ignore[arg-type]
    return contents(out)


def test_workers_give_the_same_bytes(
    speech: tuple[Corpus, str], unit_model: ModelSpec, tmp_path: Path, record: Record
) -> None:
    counts = (0, 1, 2, 3)[:: size(2, 1)]
    found = [extract(speech[0], unit_model, tmp_path / str(workers), workers=workers) for workers in counts]
    equal = sum(one == found[0] for one in found)
    record("numbers of workers", workers=" ".join(map(str, counts)), files=len(found[0]), equal_bytes=equal)
    assert equal == len(counts)


def test_threads_and_shard_sizes_give_the_same_units(
    speech: tuple[Corpus, str], unit_model: ModelSpec, tmp_path: Path, record: Record
) -> None:
    corpus, _ = speech
    units = extract(corpus, unit_model, tmp_path / "reference", workers=0)["units"]
    threads = extract(corpus, unit_model, tmp_path / "threads", workers=0, threads=2)["units"]
    sizes = (1, 7, 100)
    by_size = [extract(corpus, unit_model, tmp_path / str(n), workers=0, shard_size=n)["units"] for n in sizes]
    equal = sum(one == units for one in by_size)
    count = len(units.split()) - len(corpus)
    record("1 and 2 threads", units=count, files_of_units_equal=int(threads == units))
    record("shards of 1, 5, 7 and 100 utterances", units=count, files_of_units_equal=1 + equal)
    assert threads == units
    assert equal == len(sizes)
