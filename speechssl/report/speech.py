"""Speech for the demo on any machine: recordings where there is a way to get some, else sentences made at run time."""

import json
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from speechssl.report import debian, synthesis

_RECORD = "source.json"


@dataclass(frozen=True)
class Source:
    """A folder with `manifest.jsonl` (id, audio, text) and, for sentences of our own, `phones.tsv`."""

    kind: str  # "debian", "espeak-ng" or "formants"
    title: str  # one line
    about: tuple[str, ...]  # what must be said: package, licence, attribution

    @property
    def synthetic(self) -> bool:
        """Whether nobody ever spoke this."""
        return self.kind != "debian"


def find_speech(folder: Path, *, count: int, offline: bool, say: Callable[[str], None]) -> Source:
    """Speech in `folder`: kept from an earlier run, else from a Debian package, else synthetic.

    Never fails for lack of a network; `say` gets a line for each thing that is tried.
    """
    kept = _read_record(folder)
    if kept and not kept.synthetic:
        say(f"using the recordings in {folder}")
        return kept
    if not offline:
        try:
            return _store_recordings(debian.fetch(debian.PACKAGES, folder, say=say), folder)
        except debian.NoRecordingsError as error:
            say(f"no recordings: {error}")
            say("(with a network, `apt-get update` as root may help; --audio takes recordings of your own)")
    return synthesise(folder, count=count, say=say)


def synthesise(folder: Path, *, count: int, say: Callable[[str], None]) -> Source:
    """Synthetic sentences in `folder`: by espeak-ng if it is installed, else by our own small synthesiser."""
    folder.mkdir(parents=True, exist_ok=True)
    if shutil.which("espeak-ng"):
        try:
            return _espeak(folder, count, say)
        except debian.NoRecordingsError as error:
            say(str(error))
    say("synthesising sentences (formant synthesis; not real speech)")
    from speechssl import audio

    rows, labels = [], ["utt_id\tstart_s\tend_s\tlabel"]
    for number, sentence in enumerate(synthesis.sentences(count), 1):
        key = f"synthetic/{number:02d}"
        audio.write(folder / f"{number:02d}.wav", sentence.samples, synthesis.SAMPLE_RATE)
        rows.append({"id": key, "audio": f"{number:02d}.wav", "text": sentence.text})
        labels += [f"{key}\t{start:.4f}\t{end:.4f}\t{phone}" for start, end, phone in sentence.phones]
    (folder / "phones.tsv").write_text("\n".join(labels) + "\n", encoding="utf-8")
    about = ("These sentences are SYNTHETIC: made by a small formant synthesiser when this page was written. "
             "They show how the page works, not how units behave on speech.",)  # fmt: skip
    return _record(folder, rows, Source("formants", "Synthetic sentences (formant synthesis)", about))


def _espeak(folder: Path, count: int, say: Callable[[str], None]) -> Source:
    say("synthesising sentences with espeak-ng (not real speech)")
    rows = []
    for number in range(1, count + 1):
        text = synthesis.SENTENCES[(number - 1) % len(synthesis.SENTENCES)][0]
        voice = ("en-us", "en-gb", "en-us+f2")[(number - 1) % 3]
        path = folder / f"{number:02d}.wav"
        argv = ["espeak-ng", "-v", voice, "-s", "150", "-w", str(path.absolute()), text]
        debian.run_program(argv, cwd=folder, timeout_s=30)
        rows.append({"id": f"synthetic/{number:02d}", "audio": path.name, "text": text})
    about = ("These sentences are SYNTHETIC: made by espeak-ng when this page was written. "
             "They show how the page works, not how units behave on speech.",)  # fmt: skip
    return _record(folder, rows, Source("espeak-ng", "Synthetic sentences (espeak-ng)", about))


def _store_recordings(recordings: debian.Recordings, folder: Path) -> Source:
    package = recordings.package
    texts = recordings.transcripts
    rows = [{"id": key, "audio": path.name, "text": texts.get(key, "")} for key, path in recordings.files]
    about = (
        f"Recordings: {package.speech}. From the Debian package {package.name} {recordings.version}.",
        f"Licence: {package.licence}. {package.attribution}.",
    )
    return _record(folder, rows, Source("debian", f"Recordings from the Debian package {package.name}", about))


def _record(folder: Path, rows: list[dict[str, str]], source: Source) -> Source:
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    (folder / "manifest.jsonl").write_text(lines, encoding="utf-8")
    (folder / _RECORD).write_text(json.dumps(asdict(source), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return source


def _read_record(folder: Path) -> Source | None:
    try:
        raw = json.loads((folder / _RECORD).read_text(encoding="utf-8"))
        rows = (folder / "manifest.jsonl").read_text(encoding="utf-8").splitlines()
        if all((folder / json.loads(row)["audio"]).is_file() for row in rows):
            return Source(str(raw["kind"]), str(raw["title"]), tuple(map(str, raw["about"])))
    except (OSError, ValueError, KeyError, TypeError):
        pass  # no earlier run, or one that was interrupted: fetch again
    return None
