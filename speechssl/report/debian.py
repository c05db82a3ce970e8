"""Recordings from small Debian packages, fetched as an ordinary user: nothing is installed, no root is needed.

`apt-get download` checks signatures and hashes; where the machine has no package lists, they are fetched into a
temporary folder. The package's files are streamed out of it, never unpacked by name into the file system.
"""

import os
import re
import shutil
import signal
import subprocess
import tarfile
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

from speechssl.errors import SpeechSSLError

DOWNLOAD_TIMEOUT_S, UPDATE_TIMEOUT_S = 60.0, 120.0
_MAX_FILE_BYTES = 20_000_000


class NoRecordingsError(SpeechSSLError):
    """A package that could not be had; the message says why and what would help."""


@dataclass(frozen=True)
class Package:
    """A Debian package with speech in it, and what must be said of it."""

    name: str
    megabytes: float  # to download
    speech: str  # what is spoken, by whom
    licence: str
    attribution: str
    recordings: tuple[str, ...]  # patterns of member names, in the order of their use
    transcripts: tuple[str, ...] = ()  # patterns of sphinx transcription files: `<s> words </s> (name)`


PACKAGES = (  # the smallest first: looked at were all packages of Debian 12 with speech that libsndfile reads
    Package(
        "pocketsphinx-testdata",
        1.8,
        "English read speech, five sentences of Jane Austen's Sense and Sensibility (LibriVox), and five short "
        "phrases naming playing cards",
        "LibriVox recordings are in the public domain; the package as a whole is under the BSD 2-clause licence",
        "Copyright 1995-2014 Carnegie Mellon University, 2014-2015 Alpha Cephei Inc.; read by LibriVox volunteers",
        ("*/test/data/librivox/*.wav", "*/test/data/cards/*.wav"),
        ("*/test/data/librivox/transcription", "*/test/data/cards/cards.transcription"),
    ),
    Package(
        "asterisk-core-sounds-en-wav",
        18.3,
        "English telephone prompts (8 kHz), one speaker",
        "CC BY-SA 3.0",
        "Recorded by Allison Smith, with financial contributions by Digium, Inc.",
        tuple(f"*/en_US_f_Allison/{name}.wav" for name in ("demo-congrats", "vm-intro", "vm-newuser", "dir-instr",
              "agent-incorrect", "demo-thanks", "vm-review", "queue-youarenext", "demo-nogo", "vm-forward")),
    ),
)  # fmt: skip


@dataclass(frozen=True)
class Recordings:
    """What came out of a package."""

    package: Package
    version: str
    files: tuple[tuple[str, Path], ...]  # id, file
    transcripts: dict[str, str]  # by id


def fetch(packages: Sequence[Package], folder: Path, *, say: Callable[[str], None]) -> Recordings:
    """Download the first package that can be had; its recordings go into `folder`. Raises NoRecordingsError."""
    for program in ("apt-get", "dpkg-deb"):
        if not shutil.which(program):
            raise NoRecordingsError(f"{program} is not on the PATH (not a Debian or Ubuntu machine?)")
    with tempfile.TemporaryDirectory(prefix="speechssl-") as temporary:
        work = Path(temporary)
        try:
            return _first(packages, work, (), folder, say)
        except NoRecordingsError as error:
            say(f"{error}; fetching package lists into a temporary folder")
        private = _private_lists(work)
        return _first(packages, work, private, folder, say)


def _first(
    packages: Sequence[Package], work: Path, options: Sequence[str], folder: Path, say: Callable[[str], None]
) -> Recordings:
    for number, package in enumerate(packages, 1):
        say(f"fetching {package.name} ({package.megabytes:g} MB) from the Debian archive")
        try:
            _apt_get(*options, "download", package.name, cwd=work, timeout_s=DOWNLOAD_TIMEOUT_S)
            deb = next(work.glob(f"{package.name}_*.deb"), None)
            if deb is None:
                raise NoRecordingsError(f"apt-get gave no file for {package.name}")
            version = run_program(["dpkg-deb", "-f", str(deb), "Version"], cwd=work, timeout_s=30).strip()
            members = dict(_members(deb, (*package.recordings, *package.transcripts)))
            return _store(package, version, members, folder)
        except NoRecordingsError as error:
            if number == len(packages):
                raise
            say(str(error))
    raise NoRecordingsError("no package to look for")


def _private_lists(work: Path) -> tuple[str, ...]:
    """Package lists under `work`, which needs no root; the apt options that use them. Raises NoRecordingsError."""
    for name in ("lists/partial", "cache/archives/partial"):
        (work / name).mkdir(parents=True)
    settings = (f"Dir::State::lists={work}/lists", f"Dir::Cache={work}/cache", "Acquire::Languages=none",
                "Debug::NoLocking=1")  # fmt: skip
    options = tuple(part for setting in settings for part in ("-o", setting))
    _apt_get(*options, "update", cwd=work, timeout_s=UPDATE_TIMEOUT_S)
    if not any((work / "lists").glob("*_Packages*")):  # apt-get update succeeds without a network
        raise NoRecordingsError("no package lists could be fetched (no network, or no apt sources)")
    return options


def _apt_get(*arguments: str, cwd: Path, timeout_s: float) -> str:
    patience = ("-o", "Acquire::Retries=0", "-o", "Acquire::http::Timeout=15", "-o", "Acquire::https::Timeout=15")
    return run_program(["apt-get", "-q", *patience, *arguments], cwd=cwd, timeout_s=timeout_s)


def run_program(argv: Sequence[str], *, cwd: Path, timeout_s: float) -> str:
    """Standard output of a program in its own process group. Raises NoRecordingsError on failure or timeout."""
    environment = {**os.environ, "LC_ALL": "C", "DEBIAN_FRONTEND": "noninteractive"}
    try:
        process = subprocess.Popen(
            argv, cwd=cwd, env=environment, start_new_session=True, text=True, errors="replace",
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
    except OSError as error:
        raise NoRecordingsError(f"{argv[0]} cannot be run: {error}") from error
    try:
        output, errors = process.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired:
        raise NoRecordingsError(f"{argv[0]} did not finish within {timeout_s:g} s") from None
    finally:
        if process.poll() is None:  # a timeout or the user's Ctrl-C: apt's own downloaders go with it
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
    if process.returncode:
        lines = [line for line in errors.splitlines() if line.startswith("E:")] or errors.splitlines()
        reason = lines[0].removeprefix("E:").strip() if lines else f"exit code {process.returncode}"
        raise NoRecordingsError(f"{argv[0]}: {reason}")
    return output


def _members(deb: Path, patterns: Sequence[str]) -> Iterator[tuple[str, bytes]]:
    """Name and content of the regular files that match, streamed from the package."""
    with tempfile.TemporaryFile() as tar:
        try:
            subprocess.run(["dpkg-deb", "--fsys-tarfile", str(deb)], stdout=tar, check=True, timeout=60)
            tar.seek(0)
            with tarfile.open(fileobj=tar, mode="r:") as archive:
                for member in archive:
                    wanted = member.isfile() and any(fnmatch(member.name, pattern) for pattern in patterns)
                    if wanted and member.size <= _MAX_FILE_BYTES and (file := archive.extractfile(member)):
                        yield member.name, file.read()
        except (subprocess.SubprocessError, OSError, tarfile.TarError) as error:
            raise NoRecordingsError(f"{deb.name} cannot be read: {error}") from error


def _store(package: Package, version: str, members: dict[str, bytes], folder: Path) -> Recordings:
    transcripts: dict[str, str] = {}
    for name, content in members.items():
        if any(fnmatch(name, pattern) for pattern in package.transcripts):
            for words, key in re.findall(r"<s>(.*?)</s>\s*\((.*?)\)", content.decode("utf-8", "replace")):
                transcripts[key] = " ".join(words.split())
    ordered = [name for pattern in package.recordings for name in sorted(members) if fnmatch(name, pattern)]
    if not ordered:
        raise NoRecordingsError(f"{package.name} {version} holds none of the recordings that were expected in it")
    folder.mkdir(parents=True, exist_ok=True)
    files, texts = [], {}
    for number, name in enumerate(ordered, 1):
        stem = Path(name).stem
        key = f"{Path(name).parent.name}/{stem}"
        path = folder / f"{number:02d}.wav"  # a member's name is never a path here
        path.write_bytes(members[name])
        files.append((key, path))
        if stem in transcripts:
            texts[key] = transcripts[stem]
    return Recordings(package, version, tuple(files), texts)
