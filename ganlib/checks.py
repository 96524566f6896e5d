"""Checks of numbered equations, each tried on wrong versions of its formula too.

A check that a wrong formula passes proves little of the right one. So `check` is given both: it
must accept the formula that the book states and reject every version that is wrong by a sign, a
factor or an exchange.
"""

from collections.abc import Callable, Sequence
from typing import TypeVar

__all__ = ["check"]

Formula = TypeVar("Formula")
KINDS = ("symbolic", "numeric")


def check(
    label: str,
    what: str,
    test: Callable[[Formula], bool],
    formula: Formula,
    wrong: Sequence[Formula],
    *,
    how: str = "symbolic",
) -> None:
    """Check one equation, and the check itself by wrong versions of it.

    Prints two lines, which the book's list of equations is made from:

        eq-optimal holds [symbolic]; 3 of 3 wrong versions rejected
          what was checked

    Args:
        label: The equation's label in the text, such as "eq-optimal".
        what: What is checked, and over what range; a phrase without a full stop at its end.
        test: Takes a formula and tells whether it holds.
        formula: The right-hand side that the book states, in whatever form `test` takes.
        wrong: At least one version that is wrong; none may pass.
        how: "symbolic" where algebra decides it, "numeric" where numbers within a tolerance do.

    Raises:
        ValueError: `how` is neither of the two, or no wrong version is given.
        AssertionError: The formula fails, or a wrong version passes.
    """
    if how not in KINDS:
        raise ValueError(f"how must be one of {', '.join(KINDS)}, got {how!r}")
    if not wrong:
        raise ValueError(f"wrong must hold at least one wrong version of {label}, got none")
    if not test(formula):
        raise AssertionError(f"{label} does not hold: {formula}")
    passed = [version for version in wrong if test(version)]
    if passed:
        raise AssertionError(f"{label}: the check does not tell it from {passed}")
    print(f"{label} holds [{how}]; {len(wrong)} of {len(wrong)} wrong versions rejected\n  {what}")
