"""HuBERT against what its authors' code wrote."""

from pathlib import Path

import numpy as np
import soundfile
import torch

from speechssl.encoders.hubert import PRESETS, Model


def test_frame_count_is_that_of_the_released_features_and_units(shared: Path) -> None:
    """Layer 9 of the released base model and its 500 units, as the authors' code wrote them for one recording."""
    folder = shared / "golden" / "hubert_sample"
    samples = soundfile.info(folder / "6313-76958-0021.flac").frames
    with torch.device("meta"):
        model = Model(PRESETS["base"])
    frames, dim = np.load(folder / "sample.base.L9.npy", mmap_mode="r").shape
    units = (folder / "sample.base.L9.km500.km").read_text().split()
    assert int(model.frame_lengths(torch.tensor(samples))) == frames == len(units)
    assert model.dim == dim
