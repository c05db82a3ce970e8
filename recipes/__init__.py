"""Training programs, one file per task: `python -m recipes.x conf.toml key=value`. A recipe knows a task, no corpus."""
