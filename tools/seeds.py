"""Run a lesson's code with several seeds, and write down what its numbers were with each.

    python tools/seeds.py [-n SEEDS] first_gan "share=round(share, 3)" "fewest=int(counts.min())"

A lesson asserts bands, not the numbers of one lucky seed. This runs every code cell of the lesson
with its seeds `manual_seed(0)` and `seed=0` replaced, so that every assertion is tried, and
evaluates the expressions given at the end. The result goes to results/LESSON/seeds.json.
"""

import os
import re
import sys
import time
from contextlib import redirect_stdout
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MKL_CBWR", "AVX2")

import matplotlib as mpl
import nbformat
from matplotlib import pyplot as plt

from ganlib.reproduction import provenance, write_json

ROOT = Path(__file__).resolve().parents[1]
SEED = re.compile(r"(?<=manual_seed\()0(?=\))|(?<=\bseed=)0\b")
SEEDS = 6


def run(lesson: str, seed: int, expressions: dict[str, str]) -> dict:
    """The values that the expressions have after the lesson's cells ran with this seed."""
    cells = nbformat.read(ROOT / "chapters" / f"{lesson}.ipynb", 4).cells
    names: dict = {}
    for cell in cells:
        if cell.cell_type == "code" and cell.id != "colab":
            with redirect_stdout(None):
                exec(SEED.sub(str(seed), cell.source), names)
            plt.close("all")
    return {name: eval(expression, names) for name, expression in expressions.items()}


def main(*arguments: str) -> None:
    option = arguments[:2] if arguments[0] == "-n" else ()
    count = int(option[1]) if option else SEEDS
    lesson, *assignments = arguments[len(option) :]
    mpl.use("Agg")
    os.chdir(ROOT / "chapters")  # where notebooks run
    expressions = dict(assignment.split("=", 1) for assignment in assignments)
    start = time.perf_counter()
    values = {seed: run(lesson, seed, expressions) for seed in range(count)}
    result = {
        "command": " ".join(["python tools/seeds.py", *option, lesson, *map(repr, assignments)]),
        "expressions": expressions,
        "seeds": values,
        "seconds": round(time.perf_counter() - start),
        **provenance(),
    }
    path = ROOT / "results" / lesson / "seeds.json"
    write_json(path, result)
    print(path.relative_to(ROOT))


if __name__ == "__main__":
    main(*sys.argv[1:])
