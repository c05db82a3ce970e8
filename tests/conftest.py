"""Fixtures for all tests: where the shared data is. Tests that need it are marked `corpus` and skip without it."""

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with `corpora/` and `golden/`: $SPEECHSSL_SHARED, or `shared` beside the checkout."""
    folder = Path(os.environ.get("SPEECHSSL_SHARED") or ROOT.parent / "shared")
    if not folder.is_dir():
        pytest.skip(f"no shared data at {folder}: set SPEECHSSL_SHARED to the folder with corpora/ and golden/")
    return folder.resolve()


@pytest.fixture(scope="session")
def corpora(shared: Path) -> Path:
    """The shared corpora, one folder each."""
    if not (shared / "corpora").is_dir():
        pytest.skip(f"no corpora in {shared}")
    return shared / "corpora"
