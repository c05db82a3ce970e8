"""Damaged files of every kind that is read: no error but our own, no hang, no memory beyond reason.

10,000 per reader in the full battery. The files are made from their numbers, so a failure that is named can be made
again. What each reader is given and how it is read: `readers_*.py`; how files are damaged: `mutations.py`.
"""

from pathlib import Path

import pytest

from tests.battery import readers_audio, readers_data, readers_models, readers_outputs
from tests.battery.conftest import Record
from tests.battery.mutations import attempt
from tests.battery.size import size

READERS = {
    **readers_models.READERS,
    **readers_data.READERS,
    **readers_audio.READERS,
    **readers_outputs.READERS,
}
COUNT = size(100, 10_000)


@pytest.mark.parametrize("name", READERS)
def test_a_damaged_file_is_read_or_refused(
    tmp_path: Path, name: str, record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = attempt(name, READERS[name], tmp_path, COUNT)
    record(
        f"mutations: {name}", tried=result.tried, read=result.read, refused=result.refused,
        other_errors_or_hangs=result.num_failures.total(), slowest_s=round(result.slowest_s, 2),
        most_MiB=result.most_bytes >> 20,
    )  # fmt: skip
    examples = "\n\n".join(
        f"{result.num_failures[kind]} times: {kind}\n{text}" for kind, text in result.failures.items()
    )
    assert not result.failures, examples
    assert result.refused > COUNT // 20 or name in ACCEPTING, "hardly anything was damaged"


ACCEPTING: set[str] = set()
