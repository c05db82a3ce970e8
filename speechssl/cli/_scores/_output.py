"""How a score is told: as lines for people or one JSON object, and into a file where asked."""

import argparse
from collections.abc import Sequence
from typing import Any


def deliver(
    row: dict[str, Any], args: argparse.Namespace, lines: Sequence[str], *, of: Sequence[str] = (),
    stored: dict[str, Any] | None = None,
) -> None:  # fmt: skip
    """Print `row` as args.json says, and write it to args.output where there is one.

    of: what was scored, if it is units or features; who made them is stored along. stored: what only the file has.
    """
    if of:
        row = row | {"made_by": [maker(path) for path in of]}
    if args.output:
        write_json(args.output, row | (stored or {}))
    print(_text(row) if args.json else "\n".join(lines))


def maker(path: str) -> dict[str, Any]:
    """Encoder, layer and unit model of an output folder, with hashes; of other files no more than the path is known."""
    from pathlib import Path

    from speechssl.extract import job as jobs

    if not (Path(path) / "job.json").is_file():
        return {"input": path}
    model = jobs.load(Path(path)).model
    row = {"input": path, "encoder": model.encoder.id, "encoder_sha256": model.encoder.sha256, "layer": model.layer}
    if model.quantizer is None:
        return row
    return row | {"quantizer": model.quantizer.kind, "quantizer_sha256": model.quantizer.sha256,
                  "unit_model": model.unit_model}  # fmt: skip


def write_json(path: str, row: dict[str, Any]) -> None:
    """To a file, its folder made where there is none."""
    from pathlib import Path

    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(_text(row) + "\n", encoding="utf-8")


def _text(row: dict[str, Any]) -> str:
    import json

    return json.dumps(row, indent=2, ensure_ascii=False)


def defined(row: dict[str, Any]) -> dict[str, Any]:
    """The same with None for what is undefined, as JSON has no nan."""
    return {key: None if isinstance(value, float) and value != value else value for key, value in row.items()}
