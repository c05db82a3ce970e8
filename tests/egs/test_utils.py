"""The shell helpers of the recipes: options are never ignored, done steps are skipped, stale results never served."""

import os
import subprocess
from pathlib import Path

import pytest

UTILS = Path(__file__).parents[2] / "egs" / "utils"
OPTIONS = f"""#!/usr/bin/env bash
# usage: script
#   --corpus DIR   where it is
set -euo pipefail
corpus= num_units="100 500"
tiny=false
. "{UTILS}/parse_options.sh"
echo "$corpus|$num_units|$tiny"
"""
ONCE = f"""set -euo pipefail
. "{UTILS}/stages.sh"
copy() {{ echo ran >>log; cat "$1" >"$2"; if [ "${{fail:-}}" ]; then false; fi; }}
mark="$1"
once exp/a in -- copy in exp/a "$mark"
once exp/b exp/a -- copy exp/a exp/b
"""


def bash(script: str, *arguments: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    path = cwd / "script.sh"
    path.write_text(script)
    command = ["bash", str(path), *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, env={**os.environ, **environment})


def test_options_set_the_variables_named_before(tmp_path: Path) -> None:
    run = bash(OPTIONS, "--corpus", "a b", "--num-units", "7", "--tiny", "true", cwd=tmp_path, corpus="exported")
    assert (run.returncode, run.stdout) == (0, "a b|7|true\n")
    assert bash(OPTIONS, cwd=tmp_path).stdout == "|100 500|false\n"


def test_help_is_the_header(tmp_path: Path) -> None:
    assert bash(OPTIONS, "--help", cwd=tmp_path).stdout == "usage: script\n  --corpus DIR   where it is\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--nope", "3"], "unknown option --nope"),
        (["--corpus=x"], "unknown option --corpus=x"),
        (["--corpus"], "needs a value"),
        (["--tiny", "yes"], "takes true or false"),
        (["stray"], "what is stray"),
        (["-c", "x"], "what is -c"),
    ],
)
def test_whatever_is_no_option_is_refused(arguments: list[str], message: str, tmp_path: Path) -> None:
    run = bash(OPTIONS, *arguments, cwd=tmp_path)
    assert run.returncode == 2
    assert message in run.stderr


def log_lines(folder: Path) -> int:
    return len((folder / "log").read_text().splitlines())


def test_a_finished_step_is_skipped_until_its_command_or_inputs_change(tmp_path: Path) -> None:
    (tmp_path / "in").write_text("1")
    assert bash(ONCE, "x", cwd=tmp_path).returncode == 0
    assert log_lines(tmp_path) == 2
    again = bash(ONCE, "x", cwd=tmp_path)
    assert log_lines(tmp_path) == 2 and again.stdout.count("done before") == 2
    bash(ONCE, "y", cwd=tmp_path)  # other settings: made anew, and what depends on it too
    assert log_lines(tmp_path) == 4
    (tmp_path / "in").write_text("2")
    bash(ONCE, "y", cwd=tmp_path)
    assert log_lines(tmp_path) == 6
    assert (tmp_path / "exp" / "b").read_text() == "2"
    (tmp_path / "exp" / "b").unlink()
    bash(ONCE, "y", cwd=tmp_path)
    assert log_lines(tmp_path) == 7


def test_a_failed_step_stops_the_script_and_runs_again(tmp_path: Path) -> None:
    (tmp_path / "in").write_text("1")
    assert bash(ONCE, "x", cwd=tmp_path, fail="1").returncode == 1
    assert log_lines(tmp_path) == 1 and not (tmp_path / "exp" / "a.done").exists()
    assert (tmp_path / "exp" / "a").exists()  # the step may continue in it
    assert bash(ONCE, "x", cwd=tmp_path).returncode == 0
    assert log_lines(tmp_path) == 3


def test_a_missing_input_stops_the_script(tmp_path: Path) -> None:
    assert bash(ONCE, "x", cwd=tmp_path).returncode != 0


def test_what_somebody_else_made_is_never_removed(tmp_path: Path) -> None:
    (tmp_path / "in").write_text("1")
    (tmp_path / "exp").mkdir()
    (tmp_path / "exp" / "a").write_text("precious")
    run = bash(ONCE, "x", cwd=tmp_path)
    assert run.returncode == 2 and "not from here" in run.stderr
    assert (tmp_path / "exp" / "a").read_text() == "precious"


def test_the_slurm_script_runs_its_part_and_the_last_task_merges(tmp_path: Path) -> None:
    import sys

    from tests.extract.helpers import corpus

    corpus(tmp_path / "in", 4)
    command = [str(UTILS / "slurm_units.sh"), "--input", "in", "--output", "out", "--workers", "0"]
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    array = {f"SLURM_ARRAY_TASK_{name}": str(value) for name, value in {"MIN": 3, "MAX": 4, "COUNT": 2}.items()}
    for number in (4, 3):
        environment = {**os.environ, **array, "SLURM_ARRAY_TASK_ID": str(number), "PATH": path}
        run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env=environment)
        assert run.returncode == 0, run.stderr
        assert (tmp_path / "out" / "units").exists() == (number == 3)
    run = subprocess.run([*command[:3]], cwd=tmp_path, capture_output=True, text=True, env={**os.environ, "PATH": path})
    assert run.returncode == 2 and "--output are needed" in run.stderr


def test_a_step_that_failed_is_not_done_even_where_the_caller_handles_the_failure(tmp_path: Path) -> None:
    """`once ... || ...` switches set -e off within it: a stopped training was marked as done."""
    (tmp_path / "in").write_text("1")
    handled = ONCE.replace(
        'once exp/a in -- copy in exp/a "$mark"', 'once exp/a in -- copy in exp/a || echo "handled"; exit 3'
    )
    run = bash(handled, "x", cwd=tmp_path, fail="1")
    assert run.returncode == 3 and "handled" in run.stdout
    assert not (tmp_path / "exp" / "a.done").exists() and (tmp_path / "exp" / "a.begun").exists()


@pytest.mark.parametrize(("code", "goes_on"), [(0, True), (1, True), (2, False), (3, False)])
def test_what_was_done_in_part_goes_on_and_what_failed_does_not(tmp_path: Path, code: int, goes_on: bool) -> None:
    (tmp_path / "in").write_text("1")
    script = f'''set -euo pipefail
. "{UTILS}/stages.sh"
partly() {{ mkdir -p exp/a; return "$1"; }}
once exp/a in -- in_part partly {code}
echo behind
'''
    run = bash(script, cwd=tmp_path)
    assert (run.returncode == 0) == ("behind" in run.stdout) == (tmp_path / "exp" / "a.done").exists() == goes_on


ATTEMPTS = f"""set -euo pipefail
. "{UTILS}/attempts.sh"
train() {{
  mkdir -p exp/checkpoints
  echo "$*" | tee -a told >>exp/log.jsonl
  case " $gives_up " in *" ${{2#seed=}} "*) return 3 ;; esac
  if [ "${{broken:-}}" ]; then return 2; fi
  touch exp/model
}}
attempts exp 7 train first
"""


def test_a_training_that_gives_up_is_begun_again_with_another_seed_and_its_log_is_kept(tmp_path: Path) -> None:
    assert bash(ATTEMPTS, cwd=tmp_path, gives_up="7 1007", broken="yes").returncode == 2  # the third attempt stopped
    assert bash(ATTEMPTS, cwd=tmp_path, gives_up="7 1007").returncode == 0
    seeds = [line.partition("=")[2] for line in (tmp_path / "told").read_text().splitlines()]
    assert seeds == ["7", "1007", "2007", "2007"], "it went on with the attempt that was stopped"
    left = sorted(path.name for path in (tmp_path / "exp").iterdir())
    assert left == ["checkpoints", "gave_up.0.jsonl", "gave_up.1.jsonl", "log.jsonl", "model"]
    assert (tmp_path / "exp/gave_up.1.jsonl").read_text() == "first seed=1007\n"


def test_after_five_attempts_that_gave_up_there_are_no_more(tmp_path: Path) -> None:
    run = bash(ATTEMPTS, cwd=tmp_path, gives_up="7 1007 2007 3007 4007")
    assert run.returncode == 3 and not (tmp_path / "exp/model").exists()
