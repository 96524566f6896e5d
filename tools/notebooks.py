"""Run the notebooks in place and bring them into the one form that is committed.

    python tools/notebooks.py chapters/*.ipynb
    python tools/notebooks.py --check chapters/*.ipynb

With --check nothing is run or written: it says which notebooks are not in that form, or were not
run from top to bottom.

The form: outputs fresh and in order, no metadata but tags and figures' texts, neighbouring pieces
of a stream joined, and a first cell that installs ganlib in Colab from the address in _config.yml.
"""

import os
import sys
import time
from pathlib import Path

import nbformat
from address import address
from nbclient import NotebookClient

METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}
KEPT = ("mystnb", "tags")  # of a cell's metadata


def colab_cell() -> nbformat.NotebookNode:
    """Installs ganlib in Colab, whose torch and numpy it leaves as they are."""
    source = (
        "import sys\n\n"
        'if "google.colab" in sys.modules:\n'
        f'    %pip install -q "ganlib @ git+{address()}"'
    )
    tags = ["remove-cell", "nbval-skip"]
    cell = nbformat.v4.new_code_cell(source, id="colab", metadata={"tags": tags})
    cell.execution_count = 1
    return cell


def normalised(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """The same notebook in the form that is committed; it may be run or not."""
    notebook = nbformat.from_dict(notebook)
    notebook.metadata = nbformat.from_dict(METADATA)
    first = next(i for i, cell in enumerate(notebook.cells) if cell.cell_type == "code")
    if "nbval-skip" in notebook.cells[first].metadata.get("tags", []):
        notebook.cells[first] = colab_cell()
    else:
        notebook.cells.insert(first, colab_cell())
    for cell in notebook.cells:
        cell.metadata = nbformat.from_dict(
            {name: cell.metadata[name] for name in KEPT if cell.metadata.get(name)}
        )
        if cell.cell_type == "code":
            cell.outputs = joined(cell.outputs)
    return notebook


def joined(outputs: list) -> list:
    """Neighbouring pieces of one stream as one output, and no transient metadata."""
    result: list = []
    for output in outputs:
        output.pop("transient", None)
        last = result[-1] if result else None
        if last and output.output_type == last.output_type == "stream" and output.name == last.name:
            last.text += output.text
        else:
            result.append(output)
    return result


def run(path: Path) -> None:
    """Run one notebook where it lies and write it back in its normal form."""
    notebook = normalised(nbformat.read(path, 4))
    NotebookClient(
        notebook, timeout=600, kernel_name="python3", record_timing=False,
        store_widget_state=False, resources={"metadata": {"path": str(path.parent)}},
    ).execute()  # fmt: skip
    nbformat.write(normalised(notebook), path)


def problem(path: Path) -> str | None:
    """What keeps a notebook from being committed, without running it."""
    try:
        notebook = nbformat.read(path, 4)
        nbformat.validate(notebook)
    except (OSError, ValueError, nbformat.ValidationError) as error:
        return f"not a notebook: {str(error).splitlines()[0]}"
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    if not code or normalised(notebook) != notebook:
        return "not in its normal form"
    if [cell.execution_count for cell in code] != list(range(1, len(code) + 1)):
        return "not run from top to bottom"
    return None


def main(*arguments: str) -> None:
    if arguments[:1] == ("--check",):
        found = {name: problem(Path(name)) for name in arguments[1:]}
        wrong = [f"{name}: {what}" for name, what in found.items() if what]
        if wrong:
            advice = "Run them by `python tools/notebooks.py NOTEBOOK ...`."
            raise SystemExit("\n".join([*wrong, advice]))
        return
    for name in arguments:
        start = time.perf_counter()
        run(Path(name))
        print(f"{name}: {time.perf_counter() - start:.0f} s, {os.path.getsize(name) // 1024} kB")


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.setdefault("MKL_CBWR", "AVX2")
    main(*sys.argv[1:])
