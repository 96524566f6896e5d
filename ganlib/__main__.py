"""`python -m ganlib`, for launchers such as torchrun that start modules."""

from ganlib.cli import main

main(prog_name="ganlib")
