"""Kernels and processes that the tests start inherit this: one thread each, AVX2 arithmetic.

So they do not fight over two cores, and print the same on chips with and without AVX-512.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MKL_CBWR", "AVX2")
