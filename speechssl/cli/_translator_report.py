"""What a sequence-to-sequence model is, as plain values for people and programs."""

from collections.abc import Sequence
from typing import Any

from speechssl import config
from speechssl.generation.model import Seq2Seq


def describe(model: Seq2Seq, left_out: Sequence[str] = (), notes: Sequence[str] = ()) -> dict[str, Any]:
    """Everything `speechssl info` says of a translator; counts as they are."""
    card = config.to_dict(model.describe())
    parameters = sum(p.numel() for p in model.parts.parameters())
    return {"kind": "translator", "parameters": parameters, **card, "left_out": list(left_out), "notes": list(notes)}


def lines(values: dict[str, Any]) -> list[str]:
    """`describe`'s values for a terminal."""
    encoder, model, output = values["encoder"], values["model"], values["output"]
    adaptor, decoder = model["adaptor"], model["decoder"]
    said = f"{model['num_symbols']} symbols of text"
    if output["kind"] == "units":
        of = f"unit model {output['unit_model']}" if output["unit_model"] else "a unit model that is not stated"
        said = f"{model['num_symbols']} units of {of}, {'runs merged' if output['reduced'] else 'one for every frame'}"
    layer = "" if values["layer"] is None else f", layer {values['layer']}"
    heads = [f"{task['name']} ({task['kind']}, {task['side']}, block {task['layer'] or 'last'})"
             for task in model["tasks"]]  # fmt: skip
    stack = f", {decoder['stack']} symbols a step" if decoder["stack"] > 1 else ""
    rows = [
        ("translator", values["name"] or "without a name"),
        ("parameters", f"{values['parameters'] / 1e6:.1f} M"),
        ("encoder", f"{encoder['name'] or encoder['family']} ({encoder['family']}){layer}"),
        ("adaptor", f"{adaptor['kind']} of {adaptor['num_layers']} blocks, {adaptor['dim']} channels"),
        ("decoder", f"{decoder['num_layers']} blocks, {decoder['dim']} channels{stack}"),
        ("says", said),
        ("tasks", ", ".join(heads) or "none"),
        ("sha256", values["sha256"]),
        ("licence", values["licence"] or "not stated"),
    ]
    if values["left_out"]:
        rows.append(("left out", f"{len(values['left_out'])} tensors: {', '.join(values['left_out'][:4])}"))
    rows += [("note", note) for note in values["notes"]]
    return [f"{name:<12}{text}" for name, text in rows]
