"""Learning a codebook: Lloyd against a plain float64 version and scikit-learn, sampling, determinism, repair."""

import dataclasses
import warnings
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from sklearn.cluster import KMeans as SklearnKMeans

from speechssl.errors import ConfigError, DataError
from speechssl.quantizers.kmeans_fit import FitReport, fit
from speechssl.quantizers.kmeans_init import plus_plus
from speechssl.quantizers.kmeans_sample import FrameSample, frame_keys, num_bytes

RNG = np.random.default_rng(0)
CENTRES = RNG.standard_normal((30, 12)) * 3
FRAMES = (CENTRES[RNG.integers(0, 30, 6000)] + RNG.standard_normal((6000, 12))).astype(np.float32)
UTTERANCES = [
    (f"utt{i}", FRAMES[a:b]) for i, (a, b) in enumerate([(0, 1), (1, 700), (700, 2900), (2900, 2900), (2900, 6000)])
]
INIT = torch.from_numpy(FRAMES[:40].copy())


def lloyd_oracle(frames: np.ndarray, centroids: np.ndarray, iterations: int) -> tuple[np.ndarray, list[float]]:
    """Plain Lloyd in float64; means are rounded to float32 as a codebook stores them."""
    frames, history = frames.astype(np.float64), []
    for iteration in range(iterations + 1):
        distances = np.square(frames[:, None] - centroids[None].astype(np.float64)).sum(2)
        ids = distances.argmin(1)
        history.append(distances.min(1).mean())
        if iteration < iterations:
            means = [frames[ids == k].mean(0) if (ids == k).any() else centroids[k] for k in range(len(centroids))]
            centroids = np.stack(means).astype(np.float32)
    return centroids, history


def corpus(order: list[int] | None = None) -> Iterator[tuple[str, np.ndarray]]:
    return iter([UTTERANCES[i] for i in (order or range(len(UTTERANCES)))])


def check_lloyd(start: np.ndarray, mode: str, max_frames: int) -> None:
    expected, history = lloyd_oracle(FRAMES, start, 8)
    model, report = fit(lambda: corpus(), num_units=40, init=INIT, iterations=8, tolerance=0.0, mode=mode,
                        max_frames=max_frames)  # fmt: skip
    assert np.allclose(report.runs[-1].inertia, history, rtol=1e-9)
    assert np.abs(model.centroids.numpy() - expected).max() < 1e-6
    ids = np.square(FRAMES[:, None] - model.centroids.numpy()[None]).sum(2).argmin(1)
    assert report.usage == tuple(np.bincount(ids, minlength=40)) and sum(report.usage) == 6000
    assert report.inertia == report.runs[-1].inertia[-1] and not report.runs[-1].converged


def test_lloyd_on_a_sample_equals_the_plain_version() -> None:
    check_lloyd(INIT.numpy(), "sample", 6000)


def test_full_passes_equal_the_plain_version() -> None:
    """From where the sample's run ended."""
    start, _ = fit(lambda: corpus(), num_units=40, init=INIT, iterations=8, tolerance=0.0, max_frames=900)
    check_lloyd(start.centroids.numpy(), "full", 900)


def test_inertia_equals_scikit_learn_from_the_same_start() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = SklearnKMeans(40, init=INIT.numpy(), n_init=1, max_iter=300, tol=0, algorithm="lloyd").fit(FRAMES)
    _, report = fit(FRAMES, num_units=40, init=INIT, iterations=300, tolerance=0.0)
    assert report.inertia == pytest.approx(theirs.inertia_ / 6000, rel=1e-5)


def test_seeding_is_at_least_as_good_as_scikit_learns() -> None:
    ours = [fit(FRAMES, num_units=40, seed=seed)[1].inertia for seed in range(8)]
    theirs = [SklearnKMeans(40, n_init=1, random_state=seed).fit(FRAMES).inertia_ / 6000 for seed in range(8)]
    assert np.mean(ours) < 1.02 * np.mean(theirs)


def test_k_means_plus_plus_draws_by_squared_distance() -> None:
    """Three points: from the first, the second is drawn with chance d² / sum d²."""
    rows = torch.tensor([[0.0], [1.0], [3.0]])
    second = []
    for seed in range(4000):
        picked = plus_plus(rows, 2, generator=torch.Generator().manual_seed(seed), trials=1).tolist()
        if picked[0] == 0:
            second.append(picked[1])
    assert 1200 < len(second) < 1470  # a third of 4000, within four standard deviations
    assert abs(np.mean(np.array(second) == 2) - 9 / 10) < 0.035


def test_the_result_depends_on_neither_order_nor_blocks_nor_threads() -> None:
    settings = {"num_units": 40, "seed": 3, "max_frames": 2000, "iterations": 6}
    for mode in ("sample", "full"):
        expected, report = fit(lambda: corpus(), mode=mode, **settings)
        threads = torch.get_num_threads()
        try:
            torch.set_num_threads(2 if threads == 1 else 1)
            shuffled, other = fit(lambda: corpus([4, 0, 3, 2, 1]), mode=mode, **settings)
        finally:
            torch.set_num_threads(threads)
        assert torch.equal(expected.centroids, shuffled.centroids)
        assert dataclasses.replace(report, seconds=0) == dataclasses.replace(other, seconds=0)
        different, _ = fit(lambda: corpus(), mode=mode, **{**settings, "seed": 4})
        assert not torch.equal(expected.centroids, different.centroids)


def test_full_passes_lower_the_inertia_of_a_small_sample() -> None:
    settings = {"num_units": 40, "max_frames": 300, "iterations": 20}
    model, _ = fit(lambda: corpus(), mode="sample", **settings)
    _, report = fit(lambda: corpus(), mode="full", **settings)
    on_all = np.square(FRAMES[:, None] - model.centroids.numpy()[None]).sum(2).min(1).mean()
    assert report.runs[-1].inertia[0] == pytest.approx(on_all, rel=1e-5)
    assert report.inertia < on_all and report.frames_seen == 6000 and report.frames_sampled == 300


def test_restarts_keep_the_best() -> None:
    _, report = fit(FRAMES, num_units=40, restarts=4)
    last = [run.inertia[-1] for run in report.runs]
    assert len(last) == 4 and len(set(last)) > 1 and report.inertia == min(last) == last[report.best_run]


def test_empty_units_are_given_frames_again() -> None:
    """Starts that no frame is near to would stay empty for ever in plain Lloyd."""
    init = torch.cat([INIT[:30], torch.full((10, 12), 1000.0)])
    model, report = fit(FRAMES, num_units=40, init=init, iterations=10)
    assert report.runs[0].refilled >= 10 and report.empty_units == 0 and min(report.usage) > 0
    assert model.centroids.abs().max() < 50


def test_usage_perplexity_and_memory_are_reported() -> None:
    points = np.repeat(np.array([[0.0, 0], [5, 0], [0, 9]], np.float32), [50, 25, 25], axis=0)
    _, report = fit(points, num_units=3)
    assert sorted(report.usage) == [25, 25, 50] and report.inertia == pytest.approx(0, abs=1e-12)
    assert report.perplexity == pytest.approx(np.exp(1.5 * np.log(2)))
    assert report.ram_bytes > num_bytes(100, 2) and isinstance(report, FitReport)


def test_too_few_frames_are_an_error() -> None:
    with pytest.raises(DataError, match="5 frames cannot make 6 units"):
        fit(FRAMES[:5], num_units=6)
    with pytest.raises(DataError, match="only 3 of 300 frames differ"):
        fit(np.repeat(FRAMES[:3], 100, axis=0), num_units=4)
    with pytest.raises(DataError, match="0 frames"):
        fit(lambda: iter([]), num_units=1)
    assert fit(FRAMES[:5], num_units=5)[1].usage == (1, 1, 1, 1, 1)


def test_bad_features_name_the_utterance() -> None:
    broken = FRAMES[:10].copy()
    broken[3, 2] = np.nan
    for bad, message in [(broken, "NaN"), (FRAMES[:10, :5], "12 channels"), (FRAMES[0], "frames, channels")]:
        with pytest.raises(DataError, match=message):
            fit(lambda bad=bad: [("fine", FRAMES[:10]), ("broken", bad)], num_units=2)
    passes = iter([[("a", FRAMES[:300])], [("a", FRAMES[:200])]])
    with pytest.raises(DataError, match="300 frames at first and 200 later"):
        fit(lambda: next(passes), num_units=2, mode="full", max_frames=100)


def test_settings_without_sense_are_refused() -> None:
    for settings in ({"num_units": 0}, {"restarts": 0}, {"iterations": 0}, {"max_frames": 0}, {"mode": "other"},
                     {"init": INIT}, {"init": INIT, "num_units": 40, "restarts": 2}):  # fmt: skip
        with pytest.raises(ConfigError):
            fit(FRAMES, **{"num_units": 2, **settings})


# The sample


def collect(order: list[int], max_frames: int, seed: int = 0) -> np.ndarray:
    sample = FrameSample(max_frames, seed)
    for utterance_id, frames in corpus(order):
        sample.add(utterance_id, frames)
    return sample.finish()[0].numpy()


@pytest.mark.parametrize("max_frames", [1, 7, 1000, 5999, 6000, 10_000])
def test_the_sample_is_the_frames_of_smallest_hash(max_frames: int) -> None:
    keys = np.concatenate([frame_keys(name, len(frames), 5) for name, frames in UTTERANCES])
    rows = np.concatenate([frames for _, frames in UTTERANCES])
    expected = rows[np.argsort(keys)[:max_frames]]
    for order in ([0, 1, 2, 3, 4], [4, 3, 2, 1, 0]):
        assert np.array_equal(collect(order, max_frames, seed=5), expected)


def test_every_frame_has_the_same_chance() -> None:
    """Also the first and last frames of long and short utterances: 400 samples of a tenth."""
    taken = np.zeros(500)
    rows = np.arange(500, dtype=np.float32)[:, None]
    for seed in range(400):
        sample = FrameSample(50, seed)
        sample.add("long", rows[:400])
        sample.add("short", rows[400:])
        taken[sample.finish()[0].numpy().astype(int)[:, 0]] += 1
    assert taken.sum() == 400 * 50
    assert np.abs(taken - 40).max() < 5.5 * 6  # binomial standard deviation 6


def test_keys_are_well_spread_and_differ_between_utterances_and_seeds() -> None:
    keys = np.concatenate([frame_keys(f"u{i}", 1000, seed) for i in range(10) for seed in (0, 1)])
    assert len(np.unique(keys)) == 20_000
    assert abs((keys / 2**64).mean() - 0.5) < 0.01


def test_statistics_are_over_all_frames_and_do_not_depend_on_their_order() -> None:
    found = []
    for order in ([0, 1, 2, 3, 4], [4, 2, 1, 3, 0]):
        sample = FrameSample(10, 0)
        for utterance_id, frames in corpus(order):
            sample.add(utterance_id, frames)
        found.append(sample.finish()[1])
    assert found[0] == found[1]
    assert found[0].num_frames == 6000 and found[0].largest == np.abs(FRAMES).max()
    assert found[0].square_sum == pytest.approx(np.square(FRAMES.astype(np.float64)).sum(), rel=1e-12)
