#!/usr/bin/env python3
"""Fetch a subset of LibriSpeech (openslr.org/12, CC BY 4.0) into DIR/SUBSET, checked by sha256.

    download.py DIR SUBSET...

The archive is kept beside the folder until it is whole (a second run continues it), checked, unpacked and removed.
Only regular files named as in LibriSpeech are taken out of it; sizes range from 0.3 GB (dev-clean) to 30 GB.
"""

import argparse
import hashlib
import os
import re
import shutil
import sys
import tarfile
import urllib.error
import urllib.request
from pathlib import Path

BASE = "https://www.openslr.org/resources/12"
SHA256 = {
    "dev-clean": "76f87d090650617fca0cac8f88b9416e0ebf80350acb97b343a85fa903728ab3",
    "dev-other": "12661c48e8c3fe1de2c1caa4c3e135193bfb1811584f11f569dd12645aa84365",
    "test-clean": "39fde525e59672dc6d1551919b1478f724438a95aa55f874b576be21967e6c23",
    "test-other": "d09c181bba5cf717b3dee7d4d592af11a3ee3a09e08ae025c5506f6ebe961c29",
    "train-clean-100": "d4ddd1d5a6ab303066f14971d768ee43278a5f2a0aa43dc716b0e64ecbbbf6e2",
    "train-clean-360": "146a56496217e96c14334a160df97fffedd6e0a04e66b9c5af0d40be3c792ecf",
    "train-other-500": "ddb22f27f96ec163645d53215559df6aa36515f26e01dd70798188350adcb6d2",
}
MEMBER = re.compile(r"LibriSpeech/([\w-]+)/(\d+)/(\d+)/([\d-]+\.flac|[\d-]+\.trans\.txt)")


def main() -> int:
    """Fetch each subset that is not there yet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dir", type=Path)
    parser.add_argument("subsets", nargs="+", choices=SHA256, metavar="SUBSET", help=", ".join(SHA256))
    parser.add_argument("--base", default=BASE, help="the folder of the archives (default: %(default)s)")
    parser.add_argument("--sha256", default="", help="of the archive, where it is not LibriSpeech's own")
    args = parser.parse_args()
    for subset in args.subsets:
        target = args.dir / subset
        if target.is_dir():
            print(f"  {target}: there already")
            continue
        try:
            archive = fetch(f"{args.base}/{subset}.tar.gz", args.dir / f"{subset}.tar.gz")
        except (OSError, urllib.error.URLError) as error:
            print(f"{args.base}/{subset}.tar.gz: {error}; run again to continue", file=sys.stderr)
            return 2
        found = file_sha256(archive)
        if found != (args.sha256 or SHA256[subset]):
            archive.unlink()
            print(f"{archive}: sha256 {found} is not that of {subset}; removed, fetch it again", file=sys.stderr)
            return 2
        unpack(archive, subset, target)
        archive.unlink()
        print(f"  {target}: {sum(1 for _ in target.rglob('*.flac'))} recordings")
    return 0


def fetch(url: str, path: Path) -> Path:
    """Download `url` to `path`; continues `path.part`."""
    if path.is_file():
        return path
    part = path.with_name(path.name + ".part")
    part.parent.mkdir(parents=True, exist_ok=True)
    have = part.stat().st_size if part.is_file() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    with urllib.request.urlopen(request, timeout=60) as response:
        mode = "ab" if response.status == 206 else "wb"
        with open(part, mode) as file:
            shutil.copyfileobj(response, file, 1 << 20)
            file.flush()
            os.fsync(file.fileno())
        if response.length:  # the connection ended early
            raise OSError(f"{response.length} bytes are missing")
    return part.rename(path)


def file_sha256(path: Path) -> str:
    """sha256 of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def unpack(archive: Path, subset: str, target: Path) -> None:
    """Write the recordings and transcripts of `subset`; the folder appears only when it is whole."""
    partial = target.with_name(f"{subset}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    with tarfile.open(archive, "r:gz") as tar:
        for member in tar:
            match = MEMBER.fullmatch(member.name)
            content = tar.extractfile(member) if match and match[1] == subset and member.isreg() else None
            if content is None or match is None:
                continue
            path = partial / match[2] / match[3] / match[4]
            path.parent.mkdir(parents=True, exist_ok=True)
            with open(path, "wb") as file:
                shutil.copyfileobj(content, file)
    partial.rename(target)


if __name__ == "__main__":
    sys.exit(main())
