"""Whether a checkpoint wants each utterance at zero mean and unit variance: stated by someone, never guessed.

In order: the caller; for formats whose word cannot be trusted, the table of known checkpoints; the checkpoint's own
files; the table again. Nobody says: an error that tells how to say it.

Hugging Face's word cannot be trusted: its conversion scripts wrote `do_normalize: true` for every model, also for those
trained on plain waveforms (wav2vec 2.0 base, HuBERT base, ...).
"""

from dataclasses import dataclass

from speechssl.errors import CheckpointError


@dataclass(frozen=True)
class Decision:
    """The answer and what a user should know about it."""

    value: bool
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Normalization:
    """What is known before the checkpoint is opened."""

    given: bool | None = None  # by the caller
    known: bool | None = None  # by the table of known checkpoints

    def decide(self, stated: bool | None, where: str, *, reliable: bool = True, conv_norm: str = "") -> Decision:
        """The decision, `stated` being what the file `where` says. Raises CheckpointError where nobody says."""
        first, second = (stated, self.known) if reliable else (self.known, stated)
        value = next((v for v in (self.given, first, second) if v is not None), None)
        if value is None:
            raise CheckpointError(
                f"{where} does not say whether this model was trained on normalised waveforms; say it: "
                "normalize=True or False in Python, or first `speechssl convert --normalize yes|no`"
            )
        notes = []
        if stated is not None and stated != value:
            source = "the caller" if self.given is not None else "the table of known checkpoints"
            notes.append(f"{where} says normalize={stated}; {source} says {value}, which is used")
        elif stated and not reliable and conv_norm == "group" and self.given is None and self.known is None:
            notes.append(
                f"normalize=True as {where} says; converters wrote this for every model, and most with a group-norm "
                "front end (wav2vec 2.0 base, HuBERT base, WavLM base) were trained without: pass normalize to decide"
            )
        return Decision(value, tuple(notes))
