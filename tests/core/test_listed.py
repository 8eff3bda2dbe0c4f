"""Lists of numbers as people type them: what is taken, as what, and what is refused as it may be something else."""

from __future__ import annotations

import pytest

from realign_core import listed_values, plain_number

TAKEN = [
    # commas, semicolons and spaces separate; these forms are documented
    ("0, 0.5, 1", (0, 0.5, 1)),
    ("0,0.5,1", (0, 0.5, 1)),
    ("0; 0.5; 1", (0, 0.5, 1)),
    ("0;0.5;1", (0, 0.5, 1)),
    ("0 0.5 1", (0, 0.5, 1)),
    ("0\n0.5\n1\n", (0, 0.5, 1)),
    ("3, 5, 7", (3, 5, 7)),
    ("3,5,7", (3, 5, 7)),
    ("7,5,3", (7, 5, 3)),
    ("-1,0,1", (-1, 0, 1)),
    ("10000,5000,2500", (10000, 5000, 2500)),
    ("0,1,1.5,2", (0, 1, 1.5, 2)),
    ("0.5, 1,2", (0.5, 1, 2)),
    ("0 ,5 ,1", (0, 5, 1)),
    (" 0, .5;1 -2e-1\n", (0, 0.5, 1, -0.2)),
    ("1e3,2e3", (1000, 2000)),
    ("0,-1", (0, -1)),
    ("0.5", (0.5,)),
    ("5", (5,)),
    ("+1, 2.", (1, 2)),
    (", 0, 1,", (0, 1)),
    ("0; 1;", (0, 1)),
    # a decimal comma, where something else separates
    ("0; 0,5; 1", (0, 0.5, 1)),
    ("0;0,5;1", (0, 0.5, 1)),
    ("0 0,5 1", (0, 0.5, 1)),
    ("0,25 0,5", (0.25, 0.5)),
    ("0,5;", (0.5,)),
    ("0,125; 0,0625", (0.125, 0.0625)),
    ("-0,5; 1", (-0.5, 1)),
    ("2,5e3; 1", (2500, 1)),
    ("12500,5; 3000", (12500.5, 3000)),
    # as other keyboards write
    ("0，0.5，1", (0, 0.5, 1)),
    ("0，5，1", (0, 5, 1)),
    ("０；０．５；１", (0, 0.5, 1)),
    ("0、0.5、1", (0, 0.5, 1)),
    ("−0.5; 1", (-0.5, 1)),
]
REFUSED = [
    # one number or two?
    ("0,5", "“0,5” in the list of λ may be 0.5 or 0 and 5"),
    ("3,5", "may be 3.5 or 3 and 5"),
    ("0,1", "may be 0.1 or 0 and 1"),
    ("-1,5", "may be"),
    ("0,25,0,5", "may be read in several ways"),
    ("0,5,1", "may be read in several ways"),
    ("0, 0,5, 1", "“0,5” in the list of λ may be 0.5 or 0 and 5"),
    ("3, 5,7", "may be 5.7 or 5 and 7"),
    ("0; 0,5, 1", "may be"),
    ("0; 0,5; 0.75", "may be"),
    ("0; 0,5,1", "may be read in several ways"),
    ("0,05,0,1", "may be"),
    # thousands, or decimals?
    ("1,000", "may be"),
    ("10,000; 5,000", "“10,000”"),
    ("1.000,5", "may be"),
    ("1,000.5", "may be"),
    ("1,000,000", "may be"),
    ("10 000", "“000” in the list of λ is not a number"),
    # no numbers
    ("0, x", "“x” in the list of λ is not a number"),
    ("1_0", "“1_0”"),
    ("nan", "“nan”"),
    ("inf, 1", "“inf”"),
    ("1e999", "“1e999”"),
    ("0..5", "“0..5”"),
    ("0.5.1", "“0.5.1”"),
    ("5²", "“5²”"),
    ("--1", "“--1”"),
    ("1e", "“1e”"),
    ("٣", "“٣”"),
    ("", "is empty"),
    (" ,; ", "is empty"),
    # twice
    ("0.5, 0.5", "holds 0.5 more than once"),
    ("0; 0,5; 0,50", "holds 0.5 more than once"),
    ("0, 1, -0", "holds -?0 more than once"),
]


@pytest.mark.parametrize(("text", "values"), TAKEN)
def test_taken(text, values):
    assert listed_values(text) == values


@pytest.mark.parametrize(("text", "message"), REFUSED)
def test_refused_in_one_sentence(text, message):
    with pytest.raises(ValueError, match=message) as error:
        listed_values(text)
    assert "\n" not in str(error.value)


def test_a_sentence_shows_the_beginning_of_what_is_endless():
    for text in ("x" * 5000, "9" * 5000, "0," * 5000 + "5"):
        with pytest.raises(ValueError, match=r"is not a number|read in several ways|more than once") as error:
            listed_values(text)
        assert len(str(error.value)) < 200


def test_a_number_is_what_people_write_as_one():
    assert [plain_number(text) for text in ("0.5", " 5000 ", "-2e3", ".5")] == [0.5, 5000, -2000, 0.5]
    assert [plain_number(text) for text in ("1_0", "nan", "inf", "1e999", "", "½", "0x10", "9" * 5000)] == [None] * 8


def test_the_list_is_named():
    for text in ("x", "0,5", "1, 1", ""):
        with pytest.raises(ValueError, match="list of cfg"):
            listed_values(text, "cfg")
