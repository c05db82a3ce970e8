"""`units.parquet`: columns id (string), units (list of int32) and durations where runs are merged; rate_hz and
num_units stand in the file's metadata. Needs pyarrow (`pip install 'speechssl[parquet]'`).
"""

from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from speechssl import files
from speechssl.errors import ConfigError, DataError
from speechssl.units.formats import Info, Item
from speechssl.units.units import Units

_ROW_GROUP = 4096  # utterances held in memory


def write(folder: Path, items: Iterable[Item], info: Info) -> None:
    """Write `units.parquet`."""
    import pyarrow as pa
    from pyarrow import parquet

    metadata = {"rate_hz": repr(info.rate_hz), "num_units": str(info.size)}
    columns: dict[str, Any] = {"id": pa.string(), "units": pa.list_(pa.int32())}
    if info.merged:
        columns["durations"] = pa.list_(pa.int32())
    schema = pa.schema(list(columns.items()), metadata=metadata)
    iterator = iter(items)
    with parquet.ParquetWriter(folder / "units.parquet", schema, compression="zstd") as writer:
        while group := list(islice(iterator, _ROW_GROUP)):
            rows: dict[str, Any] = {"id": [i.id for i in group], "units": [i.units.ids for i in group]}
            if info.merged:
                rows["durations"] = [i.units.durations for i in group]
            writer.write_table(pa.table(rows, schema=schema))


def read(folder: Path, info: Info) -> Iterator[tuple[str, Units]]:
    """Units by row; rate and size are the file's own."""
    import pyarrow as pa
    from pyarrow import parquet

    path = folder / "units.parquet"
    try:
        files.check_regular(path)
        with parquet.ParquetFile(path) as file:
            metadata = file.schema_arrow.metadata
            rate_hz, size = float(metadata[b"rate_hz"]), int(metadata[b"num_units"])
            for batch in file.iter_batches(_ROW_GROUP):
                for row in batch.to_pylist():
                    ids = np.array(row["units"], dtype=np.int64)
                    durations = np.array(row["durations"], dtype=np.int64) if "durations" in row else np.ones_like(ids)
                    yield row["id"], Units(ids, durations, rate_hz, size)
    except (OSError, KeyError, TypeError, ValueError, pa.ArrowException) as error:
        raise DataError(f"{path}: not a file of units: {error}") from error


def refuse(utterance_id: str) -> str | None:
    """A string column holds any id."""
    return None


def needs() -> None:
    """pyarrow."""
    try:
        import pyarrow.parquet  # noqa: F401
    except ImportError:
        raise ConfigError("format parquet needs pyarrow: pip install 'speechssl[parquet]'") from None
