"""Checkpoints of any format to ours, to Hugging Face transformers, or to fairseq2.

    speechssl convert hubert_base_ls960.pt exp/hubert
    speechssl convert exp/hubert exp/hubert-hf --to huggingface
    speechssl convert facebook/wav2vec2-base exp/w2v2-fs2 --to fairseq2
    speechssl convert facebook/wav2vec2-base exp/w2v2-units --to unit-model
    speechssl convert exp/dinosr exp/dinosr-units --to unit-model --layer 5
    speechssl convert s2ut_transformer.pt exp/s2ut
    speechssl convert unit_hifigan/ exp/vocoder --to vocoder
    speechssl convert exp/vocoder exp/vocoder-onnx --to onnx

SRC: a fairseq, s3prl, torchaudio or fairseq2 file, a Hugging Face or fairseq2 folder, our own folder, a short name
(`speechssl info --known`), a hub name, an https address. DST: a folder, new or empty. Nothing in SRC is executed.
Tensors that only training or a head needs are left out and named.

--to unit-model: the codebook that SRC was trained with, and the encoder whose frames it takes, for `speechssl units
--model DST`. SRC then may be the folder of a training of ours, finished, too: wav2vec2, vq_wav2vec, dinosr, and those
that predict units they were given: hubert, wavlm, augmentation_invariant. wav2vec 2.0's codebooks quantize the front
end, so that is all of the encoder that goes along; dinosr has one codebook for each of its teacher's last blocks, and
--layer says which.

A speech-to-unit translator of fairseq (s2ut_transformer, s2ut_conformer) becomes a folder for `speechssl translate`.
Of what lies beside it config.yaml says how features are normalised, config_multitask.yaml where multitask heads look.

--to vocoder: SRC is a folder with config.json and one checkpoint of a CodeHiFiGAN (fairseq, textlesslib). --to onnx:
SRC is a unit vocoder, that one or ours; DST gets vocoder.onnx and the card.

exit code: 0 converted; 2 not readable, or the format cannot hold the model.
"""

import argparse
from typing import TYPE_CHECKING

from speechssl.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

SUMMARY = "checkpoints of other toolkits to ours and back"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """SRC, DST and what is not in SRC."""
    parser.add_argument("source", metavar="SRC", help="checkpoint: file, folder or name")
    parser.add_argument("destination", metavar="DST", help="folder to write, new or empty")
    formats = ("speechssl", "huggingface", "fairseq2", "unit-model", "vocoder", "onnx")
    parser.add_argument("--to", default="speechssl", choices=formats)
    parser.add_argument("--layer", type=int, metavar="L", help="of unit-model: whose codebook, where it has several")
    parser.add_argument(
        "--normalize", choices=("yes", "no"), help="was it trained on normalised waveforms? overrules what SRC says"
    )
    parser.add_argument("--revision", metavar="REV", help="of a hub repository")
    parser.add_argument("--offline", action="store_true", help="never use the network")
    parser.add_argument("--json", action="store_true", help="print the report as JSON")


def run(args: argparse.Namespace) -> int:
    """Convert and report."""
    import json
    from pathlib import Path

    from speechssl import convert
    from speechssl.convert import describe, export, s2ut

    destination = export.free_place(Path(args.destination).expanduser())
    if args.to == "unit-model":
        return _unit_model(args, destination)
    if args.layer is not None:
        raise ConfigError(f"--layer has no effect on --to {args.to}")
    if args.to in ("vocoder", "onnx"):
        return _vocoder(args, destination)
    if args.to == "speechssl" and s2ut.is_file(Path(args.source).expanduser()):
        return _translator(args, destination)
    normalize = None if args.normalize is None else args.normalize == "yes"
    loaded = convert.load(args.source, revision=args.revision, offline=args.offline, normalize=normalize)
    notes = export.write(destination, loaded.pretrained, args.to)
    values = describe.encoder(loaded)
    values = {**values, "notes": [*values["notes"], *notes], "destination": str(destination), "to": args.to}
    if args.json:
        print(json.dumps(values, indent=2, ensure_ascii=False))
    else:
        print("\n".join([*describe.lines(values), f"{'written':<12}{destination} ({args.to})"]))
    return 0


def _translator(args: argparse.Namespace, destination: "Path") -> int:
    """fairseq's to our folder."""
    import json
    from pathlib import Path

    from speechssl.cli import _translator_report
    from speechssl.convert import export, s2ut
    from speechssl.generation.model import of_fairseq

    if args.normalize or args.revision:
        raise ConfigError("--normalize and --revision have no effect on a translator")
    found = s2ut.load(Path(args.source).expanduser())
    model = of_fairseq(found)
    with export.filling(destination) as work:
        model.save(work)
    values = _translator_report.describe(model, found.dropped, found.notes)
    values |= {"destination": str(destination), "to": args.to}
    lines = [*_translator_report.lines(values), f"{'written':<12}{destination} ({args.to})"]
    print(json.dumps(values, indent=2, ensure_ascii=False) if args.json else "\n".join(lines))
    return 0


def _unit_model(args: argparse.Namespace, destination: "Path") -> int:
    """The codebook that SRC was trained with."""
    import json
    from pathlib import Path

    from speechssl import convert
    from speechssl.convert import codebooks, export
    from speechssl.training import codebook
    from speechssl.units.card import UnitModelCard
    from speechssl.units.model import UnitModel

    source = Path(args.source).expanduser()
    if codebook.is_run(source):
        if args.normalize or args.revision:
            raise ConfigError("--normalize and --revision have no effect on a training of ours")
        trained = codebook.of_run(source, args.layer)
    else:
        if args.layer is not None:
            raise ConfigError("--layer has no effect on a checkpoint: its codebooks are of one place only")
        normalize = None if args.normalize is None else args.normalize == "yes"
        loaded = convert.load(args.source, revision=args.revision, offline=args.offline, normalize=normalize)
        trained = codebooks.of_checkpoint(loaded)
    of = trained.pretrained.card
    card = UnitModelCard(f"codebook of {of.name}", of.licence, {"codebook": {"source": source.name}})
    model = UnitModel(trained.pretrained, trained.layer, trained.quantizer, card)
    with export.filling(destination) as work:
        model.save(work)
    stored = model.describe("embedded")
    values = {"kind": "unit model", "destination": str(destination), "num_units": model.size, "rate_hz": model.rate_hz,
              "layer": model.layer, "encoder": of.name, "family": of.family, "quantizer": stored.quantizer.kind,
              "sha256": model.hash}  # fmt: skip
    lines = [
        f"{destination}: unit model of {model.size} units, {model.rate_hz:g} Hz before merging runs",
        f"  {stored.quantizer.kind} of layer {model.layer} of {of.name} ({of.family}), sha256 {model.hash}",
    ]
    print(json.dumps(values, indent=2, ensure_ascii=False) if args.json else "\n".join(lines))
    return 0


def _vocoder(args: argparse.Namespace, destination: "Path") -> int:
    """A unit vocoder to our folder, or to ONNX."""
    import json
    from dataclasses import asdict
    from pathlib import Path

    from speechssl.convert import export, vocoder_onnx
    from speechssl.units import vocoder as vocoders

    if args.normalize or args.revision:
        raise ConfigError("--normalize and --revision have no effect on a vocoder")
    found = vocoders.load(Path(args.source).expanduser())
    with export.filling(destination) as work:
        if args.to == "vocoder":
            vocoders.save(work, found.module, found.card.units, name=found.card.name, licence=found.card.licence,
                          training=found.card.training)  # fmt: skip
        else:
            work.mkdir()
            vocoder_onnx.write(work / "vocoder.onnx", found.module)
            text = json.dumps(asdict(found.card), indent=2, ensure_ascii=False)
            (work / "card.json").write_text(text + "\n", encoding="utf-8")
    card = found.card
    values = {"kind": "vocoder", "destination": str(destination), "to": args.to, "name": card.name,
              "num_units": card.units.num_units, "rate_hz": card.rate_hz, "sample_rate": card.sample_rate,
              "sha256": card.sha256}  # fmt: skip
    line = (f"{destination}: {args.to} of {card.name}, {card.units.num_units} units at {card.rate_hz:g} Hz to "
            f"{card.sample_rate} Hz, sha256 {card.sha256}")  # fmt: skip
    print(json.dumps(values, indent=2, ensure_ascii=False) if args.json else line)
    return 0
