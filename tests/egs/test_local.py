"""The recipes' own steps: data preparation, the download, the table."""

import gzip
import hashlib
import io
import json
import subprocess
import sys
import tarfile
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from speechssl import cli

EGS = Path(__file__).parents[2] / "egs"
MBOSHI, LIBRISPEECH = (EGS / name / "units" / "local" / "prepare_data.py" for name in ("mboshi", "librispeech"))
DOWNLOAD = EGS / "librispeech" / "units" / "local" / "download.py"
TABLE = EGS / "utils" / "score_table.py"


def python(script: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, str(script), *map(str, arguments)], capture_output=True, text=True)


def make_mboshi(folder: Path) -> Path:
    rows = ["utt_id\tsplit\tspeaker\tmboshi\tfrench"]
    phones = ["utt_id\tstart_s\tend_s\tlabel"]
    for split in ("train", "dev"):
        (folder / split).mkdir(parents=True)
        for speaker in ("b", "a"):
            name = f"{speaker}_{split}"
            (folder / split / f"{name}.opus").write_bytes(b"")
            rows.append(f'{name}\t{split}\t{speaker}\tw "á\tle singe')
            phones.append(f"{name}\t0.116\t0.2\tSIL")
    (folder / "utterances.tsv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    with gzip.open(folder / "phones.tsv.gz", "wt", encoding="utf-8") as file:
        file.write("\n".join(phones[:-1]) + "\n")  # the last utterance has no alignment
    return folder


def test_mboshi_becomes_kaldi_data_dirs(tmp_path: Path) -> None:
    corpus = make_mboshi(tmp_path / "a corpus")
    run = python(MBOSHI, corpus, tmp_path / "data")
    assert run.returncode == 0, run.stderr
    assert "dev: 2 utterances, 2 speakers, 1 with phone alignments" in run.stdout
    dev = tmp_path / "data" / "dev"
    assert cli.main(["data", "check", str(dev)]) == 0
    assert (dev / "wav.scp").read_text() == "".join(f"{s}_dev {corpus / 'dev' / s}_dev.opus\n" for s in "ab")
    assert (dev / "utt2spk").read_text() == "a_dev a\nb_dev b\n"
    assert (dev / "spk2utt").read_text() == "a a_dev\nb b_dev\n"
    assert (dev / "text").read_text(encoding="utf-8") == 'a_dev w "á\nb_dev w "á\n'
    assert (dev / "align" / "phones.tsv").read_text() == "utt_id\tstart_s\tend_s\tlabel\nb_dev\t0.116\t0.2\tSIL\n"


def test_a_recording_that_is_not_there_is_named(tmp_path: Path) -> None:
    corpus = make_mboshi(tmp_path / "corpus")
    (corpus / "dev" / "a_dev.opus").unlink()
    run = python(MBOSHI, corpus, tmp_path / "data")
    assert run.returncode != 0 and "no recording of utterance a_dev" in run.stderr
    assert python(MBOSHI, tmp_path, tmp_path / "data").returncode == 2


def make_librispeech(folder: Path) -> Path:
    for speaker in ("84", "1272"):
        chapter = folder / "dev-clean" / speaker / "121"
        chapter.mkdir(parents=True)
        for i in range(2):
            (chapter / f"{speaker}-121-000{i}.flac").write_bytes(b"fLaC")
        (chapter / f"{speaker}-121.trans.txt").write_text(f"{speaker}-121-0000 GO ON\n{speaker}-121-0001 OH\n")
    return folder


def test_librispeech_becomes_a_kaldi_data_dir(tmp_path: Path) -> None:
    corpus = make_librispeech(tmp_path / "corpus")
    (tmp_path / "phones.jsonl").write_text('{"name": "84-121-0000", "phones": ["SIL", "AH0", "AH0", "2"]}\n')
    run = python(LIBRISPEECH, corpus / "dev-clean", tmp_path / "d", "--alignments", tmp_path / "phones.jsonl")
    assert run.returncode == 0, run.stderr
    assert "4 utterances, 2 speakers, 4 transcripts" in run.stdout
    assert cli.main(["data", "check", str(tmp_path / "d")]) == 0
    names = ["1272-121-0000", "1272-121-0001", "84-121-0000", "84-121-0001"]
    assert [line.split()[0] for line in (tmp_path / "d" / "wav.scp").read_text().splitlines()] == names
    assert (tmp_path / "d" / "utt2spk").read_text().splitlines()[-1] == "84-121-0001 84"
    assert (tmp_path / "d" / "text").read_text().splitlines()[2] == "84-121-0000 GO ON"
    assert (tmp_path / "d" / "align" / "phones.tsv").read_text().splitlines()[1:] == [
        "84-121-0000\t0.0000\t0.0100\tSIL",
        "84-121-0000\t0.0100\t0.0300\tAH",
        "84-121-0000\t0.0300\t0.0400\t2",
    ]


def test_a_folder_that_is_no_librispeech_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    for message in ("no recordings there", "not named SPEAKER-CHAPTER-UTTERANCE"):
        run = python(LIBRISPEECH, tmp_path / "x", tmp_path / "d")
        assert run.returncode == 2 and message in run.stderr
        (tmp_path / "x" / "hello.flac").write_bytes(b"")
    assert "--download true" in python(LIBRISPEECH, tmp_path / "y", tmp_path / "d").stderr


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[str, str]]:
    """An archive like LibriSpeech's, with members that have no business there, on loopback: its URL and sha256."""
    corpus = make_librispeech(tmp_path / "served")
    with tarfile.open(tmp_path / "served" / "dev-clean.tar.gz", "w:gz") as tar:
        tar.add(corpus / "dev-clean", "LibriSpeech/dev-clean")
        for name in ("../evil-1-2.flac", "LibriSpeech/dev-clean/84/121/../../../../evil.flac", "/evil.flac", "a.sh"):
            member = tarfile.TarInfo(name)
            member.size = 4
            tar.addfile(member, io.BytesIO(b"evil"))
        link = tarfile.TarInfo("LibriSpeech/dev-clean/84/121/84-121-0009.flac")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    def handler(*arguments: object) -> Handler:
        return Handler(*arguments, directory=str(tmp_path / "served"))  # type: ignore[arg-type]

    http = ThreadingHTTPServer(("127.0.0.1", 0), handler)  # type: ignore[arg-type]
    threading.Thread(target=http.serve_forever, daemon=True).start()
    digest = hashlib.sha256((tmp_path / "served" / "dev-clean.tar.gz").read_bytes()).hexdigest()
    yield f"http://127.0.0.1:{http.server_port}", digest
    http.shutdown()
    http.server_close()


def test_download_takes_only_what_belongs_to_the_subset(server: tuple[str, str], tmp_path: Path) -> None:
    url, digest = server
    run = python(DOWNLOAD, tmp_path / "corpus", "dev-clean", "--base", url, "--sha256", digest)
    assert run.returncode == 0, run.stderr
    files = sorted(p.relative_to(tmp_path / "corpus").as_posix() for p in (tmp_path / "corpus").rglob("*.*"))
    expected = sorted(
        f"dev-clean/{s}/121/{s}-121{rest}"
        for s in ("84", "1272")
        for rest in ("-0000.flac", "-0001.flac", ".trans.txt")
    )
    assert files == expected
    assert not list(tmp_path.rglob("evil*"))
    assert "there already" in python(DOWNLOAD, tmp_path / "corpus", "dev-clean", "--base", url).stdout


def test_download_refuses_another_file(server: tuple[str, str], tmp_path: Path) -> None:
    run = python(DOWNLOAD, tmp_path / "corpus", "dev-clean", "--base", server[0])
    assert run.returncode == 2 and "is not that of dev-clean" in run.stderr
    assert not list((tmp_path / "corpus").iterdir())
    run = python(DOWNLOAD, tmp_path / "corpus", "dev-other", "--base", server[0])
    assert run.returncode == 2 and "404" in run.stderr


def test_the_table_gives_mean_and_range_over_seeds(tmp_path: Path) -> None:
    paths = []
    for name, size, values in (("k100", 100, (0.2, 0.25, 0.3)), ("k500", 500, (0.5,))):
        for seed, value in enumerate(values):
            paths.append(tmp_path / f"{name}_s{seed}.json")
            row = {"num_units": size, "pnmi": value, "phone_purity": None, "bitrate": 12.345}
            paths[-1].write_text(json.dumps(row))
    run = python(TABLE, *paths)
    assert run.stdout.splitlines() == [
        "| units | PNMI | bitrate (bit/s) | seeds |",
        "|---|---:|---:|---:|",
        "| 100 | 0.2500 [0.2000, 0.3000] | 12.3 | 3 |",
        "| 500 | 0.5000 | 12.3 | 1 |",
    ]
    assert python(TABLE).returncode == 2
