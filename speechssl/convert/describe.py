"""What a loaded encoder is, as plain values for people and programs."""

import dataclasses
from typing import Any

from speechssl import config
from speechssl.convert import known
from speechssl.convert.weights import Loaded


def encoder(loaded: Loaded) -> dict[str, Any]:
    """Everything `speechssl info` says of an encoder; times in ms, rates in Hz, counts as they are."""
    model, card = loaded.pretrained.encoder, loaded.pretrained.card
    return {
        "kind": "encoder",
        "name": card.name,
        "format": loaded.format,
        "source": card.source,
        "family": card.family,
        "licence": card.licence,
        "parameters": sum(p.numel() for p in model.parameters()),
        "layers": model.num_layers,
        "dim": model.dim,
        "sample_rate": model.sample_rate,
        "rate_hz": model.sample_rate / model.hop,
        "hop_samples": model.hop,
        "receptive_field_samples": model.receptive_field,
        "receptive_field_ms": 1000 * model.receptive_field / model.sample_rate,
        "normalize": card.normalize,
        "normalize_eps": card.normalize_eps if card.normalize else None,
        "sha256": loaded.pretrained.sha256,
        "config": config.to_dict(model.config),
        "left_out": list(loaded.dropped),
        "notes": list(loaded.notes),
    }


def checkpoint(entry: known.KnownCheckpoint) -> dict[str, Any]:
    """An entry of the table of known checkpoints."""
    return {"kind": "known checkpoint", **dataclasses.asdict(entry)}


def lines(values: dict[str, Any]) -> list[str]:
    """`encoder`'s values for a terminal."""
    norm = (
        f"zero mean, unit variance per utterance (eps {values['normalize_eps']:g})" if values["normalize"] else "none"
    )
    rows = [
        ("name", values["name"]),
        ("format", values["format"] + (f", from {values['source']}" if values["source"] != values["format"] else "")),
        ("family", values["family"]),
        ("parameters", f"{values['parameters'] / 1e6:.1f} M"),
        ("layers", f"0..{values['layers']}, {values['dim']} channels"),
        ("frames", f"{values['rate_hz']:g} Hz: every {values['hop_samples']} samples at {values['sample_rate']} Hz"),
        (
            "sees",
            f"{values['receptive_field_samples']} samples ({values['receptive_field_ms']:g} ms) in the first frame",
        ),
        ("waveform", f"normalisation: {norm}"),
        ("sha256", values["sha256"]),
        ("licence", values["licence"] or "not stated"),
    ]
    if values["left_out"]:
        shown = ", ".join(values["left_out"][:4]) + (", ..." if len(values["left_out"]) > 4 else "")
        rows.append(("left out", f"{len(values['left_out'])} tensors of training and heads: {shown}"))
    rows += [("note", note) for note in values["notes"]]
    return [f"{name:<12}{text}" for name, text in rows]


def checkpoint_lines(entry: known.KnownCheckpoint) -> list[str]:
    """An entry of the table for a terminal."""
    said = {True: "zero mean, unit variance per utterance", False: "none", None: "as the checkpoint itself says"}
    rows = [
        ("known as", entry.name),
        ("family", entry.family),
        ("hub", entry.hub),
        ("address", entry.url and f"{entry.url} ({entry.format})"),
        ("file sha256", entry.url and (entry.sha256 or "not pinned")),
        ("waveform", f"normalisation: {said[entry.normalize]}"),
        ("advice", entry.advice),
        ("remark", entry.remark),
        ("licence", entry.licence),
    ]
    rows += [("k-means", f"{k.name}: layer {k.layer}, {k.num_units} units ({k.source})") for k in entry.kmeans]
    return [f"{name:<12}{text}" for name, text in rows if text]
