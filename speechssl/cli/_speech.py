"""A corpus, encoded utterance by utterance, for scores that use all layers of an encoder."""

from collections.abc import Container, Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from speechssl.encoders.pretrained import Pretrained


class Speech:
    """The utterances of a corpus that are in `wanted`; what cannot be used goes into `skipped`, id -> code and reason.

    `unwanted`: ids of the corpus that are not in `wanted`.
    """

    def __init__(
        self, pretrained: "Pretrained", spec: str, wanted: Container[str], max_s: float, device: str,
        skipped: dict[str, str],
    ) -> None:  # fmt: skip
        from speechssl.data.corpus import open_corpus

        self.pretrained, self.spec, self.max_s, self.device = pretrained, spec, max_s, device
        self.skipped = skipped
        corpus = open_corpus(spec)
        self.utterances = [u for u in corpus.utterances if u.id in wanted]
        self.unwanted = [u.id for u in corpus.utterances if u.id not in wanted]

    def layers(self) -> "Iterator[tuple[str, list[Tensor]]]":
        """Every layer [T, C] of each utterance."""
        for name, wav in self._waves():
            yield name, self.pretrained.all_layers(wav)

    def layer(self, number: int) -> "Iterator[tuple[str, Tensor]]":
        """One layer [T, C] of each utterance, on the CPU."""
        for name, wav in self._waves():
            yield name, self.pretrained.features(wav, number).float().cpu()

    def _waves(self) -> "Iterator[tuple[str, Tensor]]":
        import torch

        from speechssl.data.corpus import read_utterance
        from speechssl.errors import AudioError

        rate = self.pretrained.encoder.sample_rate
        for utterance in self.utterances:
            try:
                samples = read_utterance(utterance, sample_rate=rate, max_s=self.max_s).samples
            except AudioError as error:
                self.skipped[utterance.id] = f"{error.code}\t{error}"
                continue
            if len(samples) < self.pretrained.encoder.receptive_field:
                self.skipped[utterance.id] = f"too-short\t{len(samples)} samples are no frame"
                continue
            yield utterance.id, torch.from_numpy(samples).to(self.device)
