"""Where a Chromium is, for what is tested in one or printed by one."""

import os
import shutil

BROWSERS = (
    "chromium",
    "chromium-browser",
    "google-chrome",
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
)
MISSING = f"no browser found: set CHROMIUM or install one of {', '.join(BROWSERS)}"


def find() -> str | None:
    """The path of the first browser there is; what CHROMIUM names comes first."""
    return next(filter(None, map(shutil.which, [os.environ.get("CHROMIUM", ""), *BROWSERS])), None)
