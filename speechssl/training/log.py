"""What a training says: one line for people, one JSON line for programs, TensorBoard where asked for."""

import json
import sys
import time
from pathlib import Path
from typing import Any, TextIO


class Log:
    """Writes RUN/log.jsonl (appended) and lines to a stream; nothing where `first` is False."""

    def __init__(
        self, run: Path, *, first: bool = True, stream: TextIO | None = None, tensorboard: bool = False
    ) -> None:
        self.run, self.first, self.stream = run, first, stream or sys.stderr
        self._writer: Any = None
        if first and tensorboard:
            try:
                from torch.utils.tensorboard import SummaryWriter
            except ImportError:
                from speechssl.errors import ConfigError

                raise ConfigError("tensorboard=true needs the package: pip install tensorboard") from None
            self._writer = SummaryWriter(str(run / "tensorboard"))

    def row(self, kind: str, update: int, values: dict[str, float]) -> None:
        """Figures of an update: kind "train" or "valid"."""
        if not self.first:
            return
        rounded = {name: float(f"{value:.6g}") for name, value in values.items()}
        self._append({"kind": kind, "update": update, "time": round(time.time(), 3), **rounded})
        if self._writer is not None:
            for name, value in values.items():
                self._writer.add_scalar(f"{kind}/{name}", value, update)

    def say(self, line: str, **event: Any) -> None:
        """A line for people, kept as an event, too."""
        if self.first:
            print(line, file=self.stream, flush=True)
            self._append({"kind": "event", "time": round(time.time(), 3), "text": line, **event})

    def line(self, text: str) -> None:
        """A line for people only."""
        if self.first:
            print(text, file=self.stream, flush=True)

    def trim(self, update: int) -> None:
        """Take back rows after `update`: a killed run wrote them and this one writes them again."""
        path = self.run / "log.jsonl"
        if not self.first or not path.exists():
            return
        kept = []
        for line in path.read_text(encoding="utf-8").split("\n"):
            try:
                row = json.loads(line)
            except ValueError:
                continue  # torn by a kill
            if row.get("update", 0) <= update:
                kept.append(line + "\n")
        path.write_text("".join(kept), encoding="utf-8")

    def _append(self, row: dict[str, Any]) -> None:
        with (self.run / "log.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
