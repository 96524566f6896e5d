"""The check of an equation accepts the right formula, rejects wrong ones, and says so."""

import pytest

from ganlib.checks import check


def is_square_of_three(number):
    return number == 9


def test_a_right_formula_with_wrong_ones_beside_it_says_so(capsys):
    check("eq-nine", "3 squared", is_square_of_three, 9, [6, -9])
    expected = "eq-nine holds [symbolic]; 2 of 2 wrong versions rejected\n  3 squared\n"
    assert capsys.readouterr().out == expected


def test_a_wrong_formula_fails():
    with pytest.raises(AssertionError, match="eq-nine does not hold: 6"):
        check("eq-nine", "3 squared", is_square_of_three, 6, [8])


def test_a_check_that_a_wrong_version_passes_fails():
    with pytest.raises(AssertionError, match=r"eq-nine: the check does not tell it from \[-9\]"):
        check("eq-nine", "3 squared", lambda number: abs(number) == 9, 9, [-9, 6])


def test_an_error_in_the_test_is_not_taken_for_a_rejection():
    with pytest.raises(ZeroDivisionError):
        check("eq-nine", "3 squared", lambda number: 9 / number == 1, 9, [0])


def test_a_check_needs_a_wrong_version_and_a_kind():
    with pytest.raises(ValueError, match="wrong must hold at least one"):
        check("eq-nine", "3 squared", is_square_of_three, 9, [])
    with pytest.raises(ValueError, match="how must be one of symbolic, numeric, got 'by eye'"):
        check("eq-nine", "3 squared", is_square_of_three, 9, [6], how="by eye")
