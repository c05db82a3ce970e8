"""An encoder with its head: waveform to what a decoder looks at. B utterances, S samples, T frames, V symbols.

That is log probabilities [B, T, V], or of a transducer what its joiner sees [B, T, J].
"""

from collections.abc import Iterable

from torch import Tensor, nn

from speechssl.decoders.transducer import Transducer
from speechssl.nn.conv import Moments
from speechssl.nn.frame_head import FrameHead
from speechssl.nn.speech_encoder import SpeechEncoder


class Emissions(nn.Module):
    """Offers what an encoder offers, with what a decoder looks at as its only layer, 0.

    So all that works for encoders (windows of long recordings, statistics of the whole) works for it.
    """

    num_layers = 0

    def __init__(self, encoder: SpeechEncoder, head: FrameHead, transducer: Transducer | None = None) -> None:
        super().__init__()
        self.encoder, self.head, self.transducer = encoder, head, transducer
        self.config = encoder.config
        self.sample_rate, self.dim = encoder.sample_rate, head.output.out_features
        self.hop, self.receptive_field = encoder.conv.hop, encoder.conv.receptive_field

    def frame_lengths(self, lengths: Tensor) -> Tensor:
        """Frame counts for sample counts."""
        return self.encoder.frame_lengths(lengths)

    def recording_moments(self, blocks: Iterable[Tensor]) -> Moments | None:
        """As `SpeechEncoder.recording_moments`."""
        return self.encoder.recording_moments(blocks)

    def layers(
        self, wav: Tensor, lengths: Tensor | None = None, *, upto: int | None = None, moments: Moments | None = None
    ) -> tuple[list[Tensor], Tensor]:
        """[what `forward` gives] of wav [B, S], and real frames [B]."""
        outputs, frames = self(wav, lengths, moments=moments)
        return [outputs], frames

    def forward(
        self, wav: Tensor, lengths: Tensor | None = None, *, moments: Moments | None = None
    ) -> tuple[Tensor, Tensor]:
        """Log probabilities [B, T, V] of wav [B, S], or what a transducer's joiner sees [B, T, J]; and real frames [B].

        float32, meaningless behind an utterance's end.
        """
        x, frames = self.encoder.frontend(wav, lengths, moments=moments)
        scores = self.head(self.head.states(self.encoder, x, frames), frames)
        return scores.log_softmax(-1) if self.transducer is None else scores, frames
