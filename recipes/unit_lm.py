"""Language model pre-training over discrete units of one or more languages: what speakers and translators begin with.

    python -m recipes.unit_lm recipes/conf/tiny_unit_lm.toml 'data.train={es=["exp/units-es"],fr=["exp/units-fr"]}'
    python -m recipes.unit_lm recipes/conf/unit_lm.toml 'data.train={fr=["units"]}' 'data.valid={fr=["dev"]}' run=exp/lm
    python -m recipes.text_to_units recipes/conf/tiny_text_to_units.toml 'decoder={checkpoint="exp/lm/decoder"}' ...
    python -m recipes.seq2seq recipes/conf/tiny_s2ut.toml 'decoder={checkpoint="exp/lm/decoder"}' ...

Data as in recipes.unit_bart. Goes on from the newest checkpoint in the run's folder where there is one, bit for bit on
a CPU. Writes into it: config.toml, log.jsonl, left_out.tsv, checkpoints/, best/ (the least `nll` of the validation),
decoder/ (of the best; what begins with it gets attention to frames of its own) and result.json: nll, in nats a unit or
end, and perplexity of the validation, of all of it and of each language. Exit code: 0 trained to the end, 2 stopped
early or refused.
"""

import math
import sys
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import nn

from recipes.shared import Common, all_once, run_recipe
from recipes.unit_bart import Data, Kept, pretrain
from speechssl import config
from speechssl.data.unit_batches import UnitBatches
from speechssl.errors import ConfigError
from speechssl.objectives import unit_lm
from speechssl.training.distributed import Group


@dataclass(frozen=True)
class Run(Common):
    """Everything that decides a run."""

    data: Data
    run: str = "exp/unit_lm"  # the run's folder
    settings: dict[str, Any] = field(default_factory=dict)  # of objectives.unit_lm, but num_labels


def main(arguments: list[str] | None = None) -> int:
    """Train as the arguments say: TOML files and key=value overrides."""
    return run_recipe(Run, train, __doc__, arguments)


def train(run: Run, group: Group) -> int:
    """One run, in this process as a member of `group`."""
    return pretrain(run, group, "unit_lm", "unit language model", build, lambda objective: objective.decoder, measure)


def build(run: Run, num_units: int) -> unit_lm.Objective:
    """The objective, drawn from the run's seed."""
    if "num_labels" in run.settings:
        raise ConfigError("settings.num_labels follows from the data: leave it out")
    torch.manual_seed(run.seed)
    return unit_lm.Objective(nn.Identity(), config.build(unit_lm.Config, {**run.settings, "num_labels": num_units}))


@torch.inference_mode()
def measure(kept: Kept) -> dict[str, Any]:
    """nll and perplexity of the validation's units and ends, over all and of each language."""
    if kept.valid is None:
        return {}
    objective, names = kept.objective.eval(), list(kept.run.data.train)
    sums, counts = [0.0] * len(names), [0] * len(names)
    for loaded in UnitBatches(kept.valid, all_once(kept.run.data.batching), kept.run.seed).once():
        batch = loaded.batch
        assert batch is not None and batch.labels is not None and batch.groups is not None
        for number in set(batch.groups.tolist()):
            outcome = objective(replace(batch, labels=batch.labels[batch.groups == number]))
            sums[number], counts[number] = sums[number] + float(outcome.loss), counts[number] + outcome.count
    each = {name: total / count for name, total, count in zip(names, sums, counts, strict=True) if count}
    nll = sum(sums) / sum(counts)
    return {"valid_units": sum(counts), "nll": nll, "perplexity": math.exp(nll), "nll_by_language": each,
            "perplexity_by_language": {name: math.exp(value) for name, value in each.items()}}  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
