"""Pages of the built site, opened in a headless browser: formulas are typeset, pictures and scripts load.

Run: python docs/site/pages.py docs/_build/html (does nothing where no Chromium is installed)
"""

import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
PAGES = {
    "index": 0, "start": 0, "api": 0, "computes": 0, "finite_width": 100, "ntk": 100, "training": 50,
    "residual": 50, "measured": 0, "paper": 0, "notebooks/09_finite_width": 30,
    "notebooks/11_orthogonal_and_normalized": 50,
}  # fmt: skip
"""The pages, and the least number of formulas on each."""

OPTIONS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--virtual-time-budget=20000", "--dump-dom",
)  # fmt: skip


def opened(browser: str, page: Path) -> str:
    """What the page has become once its scripts have run."""
    with tempfile.TemporaryDirectory() as profile:
        command = [browser, *OPTIONS, f"--user-data-dir={profile}", page.resolve().as_uri()]
        ran = subprocess.run(command, capture_output=True, text=True, timeout=180, check=True)
    return ran.stdout


def faults(html: str, folder: Path, formulas: int) -> list[str]:
    """What is wrong with an opened page; `folder`: where it lies. `formulas`: how many it has at least."""
    found = []
    if len(re.findall("<mjx-container", html)) < formulas:
        found.append(
            f"{len(re.findall('<mjx-container', html))} formulas are typeset, of {formulas} at least"
        )
    if "data-mjx-error" in html or "<mjx-merror" in html:
        found.append("a formula is broken")
    for kind, link in re.findall(r'<(img|script|link)[^>]*?(?:src|href)="([^"#?]+)', html):
        if "://" in link and not link.startswith("file:") and kind != "link":
            found.append(f"{link} is not local")
        elif "://" not in link and not link.startswith("data:") and not (folder / link).exists():
            found.append(f"{link} is missing")
    if "<title>" not in html or len(html) < 5_000:
        found.append("there is no text")
    return found


def main(site: Path) -> int:
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        print("no Chromium is installed: the pages were not opened")
        return 0
    status = 0
    for name, formulas in PAGES.items():
        page = site / f"{name}.html"
        wrong = faults(opened(browser, page), page.parent, formulas) if page.exists() else ["does not exist"]
        for fault in wrong:
            print(f"{page}: {fault}", file=sys.stderr)
        status |= bool(wrong)
    print(f"{len(PAGES)} pages opened" if not status else "pages are faulty")
    return status


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
