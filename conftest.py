"""Kernels and processes that the tests start inherit this: one thread each, AVX2 arithmetic.

So they do not fight over two cores, and print the same on chips with and without AVX-512.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MKL_CBWR", "AVX2")


def pytest_terminal_summary(terminalreporter):
    """Say which versions stood for Colab's."""
    reports = terminalreporter.stats.get("passed", []) + terminalreporter.stats.get("failed", [])
    said = {value for r in reports for name, value in r.user_properties if name == "colab"}
    for versions in sorted(said):
        terminalreporter.write_line(f"Run as in Colab, with {versions}")
