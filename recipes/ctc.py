"""Fine-tuning with CTC or a transducer: from an encoder and texts to a recogniser.

    python -m recipes.ctc recipes/conf/ctc_10h.toml 'encoder={checkpoint="facebook/wav2vec2-base"}' data.train=...
    python -m recipes.ctc recipes/conf/tiny_ctc.toml run=exp/asr data.train=data/train data.valid=data/dev
    python -m recipes.ctc recipes/conf/tiny_ctc.toml 'encoder={checkpoint="exp/hubert/encoder"}' device=cuda seed=1 ...
    python -m recipes.ctc recipes/conf/tiny_transducer.toml data.train=data/train data.valid=data/dev

Takes TOML files, of which the later win, and key=value overrides. ctc_10m, ctc_1h, ctc_10h, ctc_100h and ctc_960h have
wav2vec 2.0's settings; tiny_ctc.toml is for encoders like the built-in one (encoder={checkpoint="default"}), and
tiny_transducer.toml trains a transducer on them (model="transducer"). Texts are those of the corpus (Kaldi's `text`, a
manifest's `text`). Utterances without text, with characters that are not in the vocabulary, too short for their text
(by CTC's count, a frame per symbol) or longer than data.batching.crop_s are left out and counted.

Goes on from the newest checkpoint in the run's folder where there is one, bit for bit on a CPU. Writes into it:
config.toml (everything resolved), log.jsonl, left_out.tsv, checkpoints/, best/ (by the validation's token error rate),
recognizer/ (of the best, what `speechssl transcribe --model` reads), encoder/ (its encoder alone, for any recipe's
encoder={checkpoint=...} and for features) and result.json. Exit code: 0 trained to the end, 2 stopped early or refused.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from recipes.shared import (
    Common,
    best_state,
    count,
    held_out_batches,
    make_encoder,
    run_recipe,
    run_trainer,
    speech_batches,
    start_folder,
    write_result,
)
from speechssl import config, encoders
from speechssl.audio.augment import Drawing
from speechssl.data.batch_plan import Batching
from speechssl.data.corpus import Corpus, open_corpus
from speechssl.data.targets import Encode
from speechssl.data.training_set import Lengths, TrainingSet, open_training_set
from speechssl.decoders import vocabulary as vocabularies
from speechssl.decoders.vocabulary import Case, Kind, Vocabulary
from speechssl.encoders import pretrained
from speechssl.encoders.pretrained import EncoderCard, Pretrained
from speechssl.errors import ConfigError
from speechssl.nn.dropout import Dropout, set_dropout
from speechssl.nn.speech_encoder import SpeechEncoder
from speechssl.objectives import ctc, transducer
from speechssl.recognition.model import Recognizer, RecognizerCard
from speechssl.training.distributed import Group
from speechssl.training.log import Log

_WRITTEN_BY = {"ctc": "CTC", "transducer": "transducer"}  # in the names of recognisers


@dataclass(frozen=True)
class Data:
    """What to train on: anything that `speechssl units` takes as its input, with texts."""

    train: str | tuple[str, ...]  # several, such as labelled and pseudo-labelled utterances, are one
    valid: str | None = None
    group_by: str | None = None  # "speaker", or an extra value such as "utt2lang"; see batching.balance
    lengths: Lengths = "headers"  # "stated": those of utt2dur, segments or a manifest; no header is read beforehand
    noise: str | None = None  # recordings that augment mixes with speech
    augment: Drawing | None = None  # train on changed recordings; validation is on those as they are
    batching: Batching = field(default_factory=lambda: Batching(seconds=200.0, crop_s=40.0, min_s=0.1))


@dataclass(frozen=True)
class Symbols:
    """What the recogniser writes."""

    kind: Kind = "characters"
    word_boundary: str | None = "|"  # between words, of characters; phones: a symbol of the texts that stands there
    case: Case = "keep"  # what is done to letters
    size: int = 0  # of pieces alone: how many
    texts: str | None = None  # the corpus whose texts hold all symbols; None: data.train
    folder: str | None = None  # a vocabulary that is there, such as a recogniser's folder; then nothing else counts

    def __post_init__(self) -> None:
        """Refuse what has no effect."""
        if (self.kind == "pieces") != (self.size > 0) and self.folder is None:
            raise ConfigError(f"vocabulary.size={self.size} is for kind pieces, which needs it; kind is {self.kind}")


@dataclass(frozen=True, kw_only=True)
class FineTuned(Common):
    """What decides how an encoder is fine-tuned to write; `Run` of a recipe adds what it writes, and its folder."""

    encoder: dict[str, Any]  # family, preset and values of its Config; or checkpoint = anything load_encoder reads
    settings: dict[str, Any] = field(default_factory=dict)  # of the model's objective, but num_symbols and blank
    normalize: bool | None = None  # waveforms to zero mean and unit variance; None: as the checkpoint, a fresh one not
    dropout: Dropout = field(default_factory=lambda: Dropout(residual=0.0, attention=0.0, activation=0.1, layer=0.1))


@dataclass(frozen=True)
class Run(FineTuned):
    """Everything that decides a run."""

    data: Data
    run: str = "exp/ctc"  # the run's folder
    model: Literal["ctc", "transducer"] = "ctc"
    vocabulary: Symbols = field(default_factory=Symbols)


Opened = Callable[[nn.Module, EncoderCard, bool], TrainingSet]  # for an encoder; True: to train on, False: to validate


def main(arguments: list[str] | None = None) -> int:
    """Train as the arguments say: TOML files and key=value overrides."""
    return run_recipe(Run, train, __doc__, arguments)


def train(run: Run, group: Group) -> int:
    """One run, in this process as a member of `group`."""
    vocabulary, folder = make_vocabulary(run), Path(run.run) / "recognizer"

    def opened(encoder: nn.Module, card: EncoderCard, training: bool) -> TrainingSet:
        corpus = open_corpus(run.data.train if training else run.data.valid)
        return open_data(run, corpus, encoder, card, vocabulary.encode, training=training)

    def keep(recognizer: Recognizer) -> str:
        recognizer.save(folder)
        return f"recognizer in {folder}"

    return fine_tune(run, group, vocabulary, opened, keep, recipe="recipes.ctc")


def fine_tune(
    run: Any, group: Group, vocabulary: Vocabulary, opened: Opened, keep: Callable[[Recognizer], str], *, recipe: str
) -> int:  # fmt: skip
    """Train and keep the best: the exit code. run: a `FineTuned` with data, run and model. keep says where it is."""
    folder = Path(run.run)
    encoder, card = make_encoder(run.encoder, normalize=run.normalize, seed=run.seed, purpose=_WRITTEN_BY[run.model])
    objective = build(run, encoder, vocabulary)  # before the folder: what cannot be built leaves nothing behind
    log = start_folder(run, folder, group)

    data = opened(encoder, card, True)
    tell(data, "train", folder, log, group)
    valid = None
    if run.data.valid is not None:
        valid = opened(encoder, card, False)
        tell(valid, "valid", folder, log, group)
    joiner = (
        f"{count(objective.transducer) / 1e6:.2f} M behind it, " if isinstance(objective, transducer.Objective) else ""
    )
    log.line(f"{run.model}: {count(encoder) / 1e6:.2f} M parameters in training of {size(encoder) / 1e6:.2f} M in the "
             f"encoder, {count(objective.head) / 1e6:.2f} M in the head, {joiner}"
             f"{len(vocabulary)} symbols")  # fmt: skip

    batches = speech_batches(run, data, encoder.conv.hop, group)
    valid_batches = held_out_batches(run, valid, encoder.conv.hop, group)
    ended = run_trainer(run, objective, batches, valid_batches, group=group, folder=folder, log=log,
                        failures=data.failures, best="token_error_rate")  # fmt: skip
    if ended is None:
        return 2
    trainer, result = ended
    state, result = best_state(trainer, objective, folder, result)
    if group.first:
        facts = {"recipe": recipe, "seed": run.seed, "hours": round(data.hours, 4), "train": run.data.train,
                 "utterances": int((data.seconds > 0).sum()), **result}  # fmt: skip
        recognizer = finish(run, card, encoder.config, vocabulary, state, facts)
        kept = keep(recognizer)
        pretrained.save(folder / "encoder", Pretrained(recognizer.emissions.encoder, recognizer.encoder_card))
        write_result(folder, result, log, f"{kept}, its encoder in {folder / 'encoder'}")
    return 0


def make_vocabulary(run: Run) -> Vocabulary:
    """The symbols: those of a folder, or of texts."""
    symbols = run.vocabulary
    if symbols.folder is not None:
        return vocabularies.load(Path(symbols.folder))
    source = symbols.texts or run.data.train
    texts = [utterance.text for utterance in open_corpus(source).utterances if utterance.text]
    if not texts:
        raise ConfigError(
            f"{source}: no utterance has a text: give a Kaldi data dir with `text`, or a manifest with it"
        )
    return learn_symbols(symbols, texts)


def learn_symbols(symbols: Symbols, texts: list[str]) -> Vocabulary:
    """The symbols of texts."""
    match symbols.kind:
        case "characters":
            return vocabularies.of_characters(texts, word_boundary=symbols.word_boundary, case=symbols.case)
        case "pieces":
            return vocabularies.train_pieces(texts, symbols.size, case=symbols.case)
        case _:
            boundary = symbols.word_boundary if any(symbols.word_boundary in t.split() for t in texts) else None
            return vocabularies.of_phones(texts, word_boundary=boundary)


def build(run: Any, encoder: nn.Module, vocabulary: Vocabulary) -> ctc.Objective | transducer.Objective:
    """The objective, what it adds drawn from the run's seed."""
    if not isinstance(encoder, SpeechEncoder):
        raise ConfigError("recipes.ctc trains encoders of the wav2vec 2.0 kind (hubert, wavlm, melhubert, tdnn, sew …)")
    if fixed := sorted({"num_symbols", "blank"} & set(run.settings)):
        raise ConfigError(f"settings.{fixed[0]} follows from the vocabulary: leave it out")
    torch.manual_seed(run.seed)
    values = {**run.settings, "num_symbols": len(vocabulary), "blank": vocabulary.blank}
    objective: ctc.Objective | transducer.Objective
    if run.model == "ctc":
        objective = ctc.Objective(encoder, config.build(ctc.Config, values))
    else:
        objective = transducer.Objective(encoder, config.build(transducer.Config, values))
        if objective.config.ctc_start >= run.training.updates:
            raise ConfigError(f"settings.ctc_start={objective.config.ctc_start} leaves none of training.updates="
                              f"{run.training.updates} to the transducer")  # fmt: skip
    set_dropout(encoder, run.dropout)
    return objective


def open_data(
    run: Any, corpus: Corpus, encoder: nn.Module, card: EncoderCard, encode: Encode, *, training: bool
) -> TrainingSet:  # fmt: skip
    """A corpus ready for training this encoder. encode: its texts to symbols."""
    return open_training_set(
        corpus, sample_rate=encoder.sample_rate, normalize=card.normalize,
        rate_hz=encoder.sample_rate / encoder.conv.hop, group_by=run.data.group_by if training else None,
        lengths=run.data.lengths, noise=None if run.data.noise is None or not training else open_corpus(run.data.noise),
        augment=run.data.augment if training else None, encode=encode, longest_s=run.data.batching.crop_s,
    )  # fmt: skip


def tell(data: TrainingSet, kind: str, folder: Path, log: Log, group: Group) -> None:
    """How much there is, and what is left out: the first few here, all in left_out.tsv."""
    log.line(f"{kind}: {len(data.corpus)} utterances, {data.hours:.2f} h, {len(data.failures)} cannot be used")
    for name, reason in data.failures[:3]:
        log.line(f"  {name}: {reason}")
    if group.first:
        path = folder / "left_out.tsv"
        before = path.read_text(encoding="utf-8") if kind != "train" and path.exists() else ""
        lines = "".join(f"{kind}\t{name}\t{reason}\n" for name, reason in data.failures)
        path.write_text(before + lines, encoding="utf-8")


def size(model: nn.Module) -> int:
    """All parameters."""
    return sum(p.numel() for p in model.parameters())


def finish(
    run: Any, card: EncoderCard, encoder_config: Any, vocabulary: Vocabulary, state: dict[str, torch.Tensor],
    facts: dict[str, Any],
) -> Recognizer:  # fmt: skip
    """The recogniser of a trained objective's tensors."""
    encoder = encoders.build(card.family, config.to_dict(encoder_config))
    objective = build(run, encoder, vocabulary)
    objective.load_state_dict(state)
    name = (f"{card.name.removesuffix(', trained further')}, {_WRITTEN_BY[run.model]}, {facts['update']} updates, "
            f"seed {run.seed}")  # fmt: skip
    written_by = objective.transducer if isinstance(objective, transducer.Objective) else None
    return Recognizer(encoder, card, objective.head, vocabulary, RecognizerCard(name, training=facts), written_by)


if __name__ == "__main__":
    sys.exit(main())
