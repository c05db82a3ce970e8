"""Options that say by which model is translated, and opening it."""

import argparse
from typing import TYPE_CHECKING

from speechssl.cli import _extraction
from speechssl.errors import ConfigError

if TYPE_CHECKING:
    import numpy as np

    from speechssl.cli._hearing import Translator
    from speechssl.data.corpus import Corpus


def add_translator(parser: argparse.ArgumentParser) -> None:
    """The model, and what one from units to units must be told."""
    parser.add_argument("--model", required=True, metavar="MODEL", help="folder model/ of a run of recipes.seq2seq "
                        "or recipes.unit_translation, or fairseq's s2ut_*.pt")  # fmt: skip
    parser.add_argument("--target-language", metavar="L", help="of a model from units to units that knows several")
    parser.add_argument("--units", metavar="MODEL",
                        help="unit model of such a model's input, where it is not the built-in one")  # fmt: skip
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")


def open_translator(args: argparse.Namespace) -> "tuple[Translator, Corpus, dict[str, np.ndarray] | None]":
    """The model on its device, INPUT, and its units where INPUT is an output folder of `speechssl units`."""
    from pathlib import Path

    from speechssl.cli._hearing import read_unit_corpus
    from speechssl.generation.model import load_translator
    from speechssl.generation.unit_translator import UnitTranslator, is_unit_translator
    from speechssl.units.card import find, read_card
    from speechssl.units.model import UnitModel

    if not is_unit_translator(args.model):
        if args.target_language is not None or args.units is not None:
            raise ConfigError("--target-language and --units are for models from units to units: leave them out")
        return load_translator(args.model).to(args.device), _extraction.open_input(args), None
    model = UnitTranslator.load(args.model).to(args.device)
    into = model.into(args.target_language)
    if len(args.input) == 1 and (Path(args.input[0]) / "units.json").is_file():
        if args.units is not None:
            raise ConfigError("--units has no effect on an output folder of speechssl units: leave it out")
        return into, *read_unit_corpus(Path(args.input[0]), model)
    known, wanted = find("default"), model.output.unit_model
    if args.units is None and read_card(known).sha256 != wanted:
        raise ConfigError(f"this model reads units of unit model {str(wanted)[:12]}, not of the built-in one: "
                          "say where it is (--units MODEL)")  # fmt: skip
    into = model.into(args.target_language, UnitModel.load(known if args.units is None else find(args.units)))
    return into, _extraction.open_input(args), None
