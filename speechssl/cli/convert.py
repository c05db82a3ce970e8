"""Checkpoints of any format to ours, to Hugging Face transformers, or to fairseq2.

    speechssl convert hubert_base_ls960.pt exp/hubert
    speechssl convert exp/hubert exp/hubert-hf --to huggingface
    speechssl convert facebook/wav2vec2-base exp/w2v2-fs2 --to fairseq2

SRC: a fairseq, s3prl, torchaudio or fairseq2 file, a Hugging Face or fairseq2 folder, our own folder, a short name
(`speechssl info --known`), a hub name, an https address. DST: a folder, new or empty. Nothing in SRC is executed.
Tensors that only training or a head needs are left out and named.

exit code: 0 converted; 2 not readable, or the format cannot hold the model.
"""

import argparse

SUMMARY = "checkpoints of other toolkits to ours and back"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """SRC, DST and what is not in SRC."""
    parser.add_argument("source", metavar="SRC", help="checkpoint: file, folder or name")
    parser.add_argument("destination", metavar="DST", help="folder to write, new or empty")
    parser.add_argument("--to", default="speechssl", choices=("speechssl", "huggingface", "fairseq2"))
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
    from speechssl.convert import describe, export

    destination = export.free_place(Path(args.destination).expanduser())
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
