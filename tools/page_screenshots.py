"""Screenshots of a report page, light and dark, wide and narrow, to look at after a change of its style or script.

python tools/page_screenshots.py demo-out/report.html shots/        (needs Chromium on the PATH)
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

SIZES = {"wide": (1280, 2600), "narrow": (500, 2600)}  # Chromium's window is at least 500 px wide


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("page", type=Path)
    parser.add_argument("folder", type=Path)
    args = parser.parse_args()
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if browser is None:
        print("no Chromium on the PATH (Debian: apt-get install chromium)", file=sys.stderr)
        return 2
    args.folder.mkdir(parents=True, exist_ok=True)
    for name, (width, height) in SIZES.items():
        for theme, scheme in (("dark", 0), ("light", 1)):
            shot = args.folder / f"{name}-{theme}.png"
            with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
                options = [
                    "--headless",
                    "--no-sandbox",
                    "--disable-gpu",
                    "--hide-scrollbars",
                    f"--user-data-dir={profile}",
                ]
                options += [f"--blink-settings=preferredColorScheme={scheme}", f"--window-size={width},{height}"]
                options += [f"--screenshot={shot.absolute()}", args.page.absolute().as_uri()]
                subprocess.run([browser, *options], check=True, capture_output=True, timeout=120)
            print(shot)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
