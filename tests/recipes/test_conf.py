"""Every file in recipes/conf builds what it says, as it is and with the tiny one of its objective or encoder."""

import re
import tomllib
from pathlib import Path
from typing import get_type_hints

import pytest
import torch

from recipes.pretrain import Run, make_encoder
from speechssl import config, objectives

CONF = Path(__file__).parent.parent.parent / "recipes" / "conf"


def objective_of(path: Path) -> str | None:
    """What a file trains, itself or by what it extends; None: another recipe's file, or one of small sizes."""
    values = tomllib.loads(path.read_text(encoding="utf-8"))
    base = values.get("extends")
    return values.get("objective") or (objective_of(path.parent / base) if base else None)


FILES = sorted(path.stem for path in CONF.glob("*.toml") if objective_of(path))


def test_every_objective_has_the_papers_settings() -> None:
    recipes = "\n".join(path.read_text(encoding="utf-8") for path in CONF.parent.glob("*.py"))
    lines = re.findall(r"^from speechssl\.objectives import (.+)$", recipes, re.MULTILINE)
    own = set(re.findall(r"\w+", " ".join(lines)))  # they have recipes of their own
    assert "ctc" in own
    assert set(objectives.objectives()) - own <= set(FILES)


@pytest.mark.parametrize("small", [False, True], ids=["paper", "tiny"])
@pytest.mark.parametrize("name", FILES)
def test_a_config_builds_its_model_and_stores_whole(name: str, small: bool, tmp_path: Path) -> None:
    run = config.load(Run, CONF / f"{name}.toml")
    if small:
        own = [CONF / f"tiny_{kind}.toml" for kind in (name, run.objective, run.encoder["family"])]
        tiny = next((path for path in own if path.exists()), CONF / "tiny.toml")
        run = config.load(Run, [CONF / f"{name}.toml", tiny])
    with torch.device("meta"):  # shapes without memory
        encoder, card = make_encoder(run)
        labels = 100 if "num_labels" in get_type_hints(objectives.config_class(run.objective)) else None
        objective = objectives.build(run.objective, encoder, run.settings, num_labels=labels)
    size = sum(parameter.numel() for parameter in objective.parameters())
    assert size < 12e6 if small else size > 1e6
    assert card.family == run.encoder["family"]
    (tmp_path / "config.toml").write_text(config.to_toml(run), encoding="utf-8")
    assert config.load(Run, tmp_path / "config.toml") == run
