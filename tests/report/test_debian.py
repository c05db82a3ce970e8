"""Recordings from Debian packages: against stand-ins for apt-get and dpkg-deb, so no network is used."""

import io
import shutil
import tarfile
import time
from pathlib import Path

import pytest

from speechssl.report import debian, speech
from speechssl.report.debian import NoRecordingsError, Package

PACKAGE = Package("talk", 0.1, "speech", "CC0", "nobody", ("*/a/*.wav", "*/b/*.wav"), ("*/transcription",))
OTHER = Package("other-talk", 0.2, "speech", "CC0", "nobody", ("*/c/*.wav",))
APT = """#!/bin/bash
echo "$*" >> {log}
case "$*" in
*update*) [ -e {root}/network ] || exit 0
    for setting in "$@"; do case $setting in Dir::State::lists=*) touch "${{setting#*=}}/x_Packages";; esac; done;;
*download*) [ -e {root}/hang ] && sleep 61.37
    for name in "$@"; do :; done
    case "$*" in *Dir::State::lists=*) private=yes;; *) private=no;; esac
    if [ -e {root}/$name.deb ] && {{ [ $private = yes ] || [ -e {root}/lists ]; }}
    then cp {root}/$name.deb ${{name}}_1.0_all.deb
    else echo "E: Unable to locate package $name" >&2; exit 100; fi;;
esac
"""
DPKG = """#!/bin/bash
case "$1" in -f) echo 1.0-2;; --fsys-tarfile) cat "$2";; esac
"""


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder whose files say how the machine is: lists, network, hang; packages are NAME.deb (a tar)."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, text in (("apt-get", APT.format(log=tmp_path / "log", root=tmp_path)), ("dpkg-deb", DPKG)):
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    for name in ("bash", "cat", "cp", "sleep", "touch"):
        (programs / name).symlink_to(shutil.which(name) or "")
    monkeypatch.setenv("PATH", str(programs))
    return tmp_path


def make_deb(path: Path, members: dict[str, bytes], links: tuple[str, ...] = ()) -> None:
    with tarfile.open(path, "w") as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
        for name in links:
            info = tarfile.TarInfo(name)
            info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
            tar.addfile(info)


MEMBERS = {
    "./usr/b/3.wav": b"three",
    "./usr/a/2.wav": b"two",
    "./usr/a/1.wav": b"one",
    "./usr/a/notes.txt": b"no",
    "./usr/a/transcription": b"<s> a word  </s> (1)\n<s> more   words </s> (2)\n",
}


def test_recordings_come_in_the_stated_order_with_their_words(machine: Path) -> None:
    make_deb(machine / "talk.deb", MEMBERS)
    (machine / "lists").touch()
    found = debian.fetch([PACKAGE], machine / "out", say=lambda _: None)
    assert [(key, path.read_bytes()) for key, path in found.files] == [
        ("a/1", b"one"),
        ("a/2", b"two"),
        ("b/3", b"three"),
    ]
    assert found.transcripts == {"a/1": "a word", "a/2": "more words"} and found.version == "1.0-2"
    assert "update" not in (machine / "log").read_text()


def test_without_package_lists_they_are_fetched_into_a_private_folder(machine: Path) -> None:
    make_deb(machine / "talk.deb", MEMBERS)
    (machine / "network").touch()
    said: list[str] = []
    assert len(debian.fetch([PACKAGE], machine / "out", say=said.append).files) == 3
    calls = (machine / "log").read_text().splitlines()
    assert [next(word for word in ("download", "update") if word in call) for call in calls] == [
        "download",
        "update",
        "download",
    ]
    assert (
        "Dir::State::lists=" not in calls[0] and "Dir::State::lists=" in calls[1] and "Dir::State::lists=" in calls[2]
    )
    assert any("Unable to locate package talk" in line for line in said)


def test_the_next_package_serves_where_one_is_missing_and_lists_are_fetched_once(machine: Path) -> None:
    make_deb(machine / "other-talk.deb", {"./x/c/9.wav": b"nine"})
    (machine / "network").touch()
    found = debian.fetch([PACKAGE, OTHER], machine / "out", say=lambda _: None)
    assert found.package is OTHER and [key for key, _ in found.files] == ["c/9"]
    assert (machine / "log").read_text().count("update") == 1


def test_no_network_is_told_from_no_package(machine: Path) -> None:
    with pytest.raises(NoRecordingsError, match="no network, or no apt sources"):
        debian.fetch([PACKAGE], machine / "out", say=lambda _: None)
    (machine / "network").touch()
    with pytest.raises(NoRecordingsError, match="Unable to locate package talk"):
        debian.fetch([PACKAGE], machine / "out", say=lambda _: None)


def test_a_download_that_hangs_is_ended_with_its_children(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(debian, "DOWNLOAD_TIMEOUT_S", 0.3)
    (machine / "hang").touch()
    begin = time.monotonic()
    with pytest.raises(NoRecordingsError):
        debian.fetch([PACKAGE], machine / "out", say=lambda _: None)
    assert time.monotonic() - begin < 30
    assert not [p for p in Path("/proc").glob("[0-9]*/cmdline") if _read(p) == b"sleep\x0061.37\x00"]


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def test_names_in_a_package_are_never_paths(machine: Path) -> None:
    make_deb(
        machine / "talk.deb", {"../../../tmp/a/../a/evil.wav": b"x", "/abs/a/y.wav": b"y"}, links=("./u/a/link.wav",)
    )
    (machine / "lists").touch()
    found = debian.fetch([PACKAGE], machine / "out", say=lambda _: None)
    assert sorted(p.name for p in (machine / "out").iterdir()) == ["01.wav", "02.wav"]
    assert all(path.parent == machine / "out" for _, path in found.files)


@pytest.mark.parametrize("content", [b"", b"no tar at all" * 100])
def test_a_damaged_package_is_a_reason_not_a_crash(machine: Path, content: bytes) -> None:
    (machine / "talk.deb").write_bytes(content)
    (machine / "lists").touch()
    with pytest.raises(NoRecordingsError):
        debian.fetch([PACKAGE], machine / "out", say=lambda _: None)


def test_speech_is_kept_and_used_again(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(debian, "PACKAGES", (PACKAGE,))
    make_deb(machine / "talk.deb", MEMBERS)
    (machine / "lists").touch()
    first = speech.find_speech(machine / "speech", count=2, offline=False, say=lambda _: None)
    assert first.kind == "debian" and not first.synthetic and "CC0" in first.about[1]
    (machine / "log").unlink()
    again = speech.find_speech(machine / "speech", count=2, offline=True, say=lambda _: None)
    assert again == first and not (machine / "log").exists()
    (machine / "speech" / "02.wav").unlink()
    assert speech.find_speech(machine / "speech", count=2, offline=True, say=lambda _: None).synthetic


def test_without_any_program_sentences_are_made_and_called_synthetic(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "")
    said: list[str] = []
    found = speech.find_speech(tmp_path / "speech", count=3, offline=False, say=said.append)
    assert found.kind == "formants" and "SYNTHETIC" in found.about[0]
    assert any("apt-get is not on the PATH" in line for line in said) and "not real speech" in said[-1]
    assert sorted(path.name for path in (tmp_path / "speech").iterdir()) == [
        "01.wav",
        "02.wav",
        "03.wav",
        "manifest.jsonl",
        "phones.tsv",
        "source.json",
    ]


@pytest.mark.parametrize("works", [True, False])
def test_espeak_is_used_where_it_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, works: bool) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    script = '#!/bin/sh\nwhile [ "$1" != -w ]; do shift; done\necho RIFF > "$2"\n' if works else "#!/bin/sh\nexit 3\n"
    (programs / "espeak-ng").write_text(script)
    (programs / "espeak-ng").chmod(0o755)
    monkeypatch.setenv("PATH", str(programs))
    found = speech.find_speech(tmp_path / "speech", count=2, offline=True, say=lambda _: None)
    assert found.kind == ("espeak-ng" if works else "formants") and found.synthetic
