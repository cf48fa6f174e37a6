"""Verdicts of every class, in both directions."""

from __future__ import annotations

import pytest

from dreamer_jax.errors import UserError
from experiments.check.declare import Arm, Check
from experiments.check.verdict import judge

ARMS = {"system": Arm(), "control": Arm(), "other": Arm()}


def check(kind: str, pairs=(("system", "control"),), **options) -> Check:
    arms = {name: ARMS[name] for name in {n for pair in pairs for n in pair} or {"system"}}
    unread = lambda _: 0.0
    return Check("it works", kind, arms, unread, "points", 1, pairs, **options)


def rows(**arms) -> dict:
    return {name: dict(enumerate(values)) for name, values in arms.items()}


WINS = rows(system=[5.0, 6.0, 5.5, 6.5, 5.0], control=[1.0, 2.0, 1.0, 2.0, 1.0])
# Mean +1, but the interval of the differences 4, −2, 2, −1, 2 reaches below zero.
UNSURE = rows(system=[5.0, 0.0, 3.0, 1.0, 3.0], control=[1.0, 2.0, 1.0, 2.0, 1.0])


def test_a_system_that_beats_its_control_is_shown():
    verdict = judge(check("S"), WINS)
    assert verdict.word == "shown"
    assert verdict.comparisons[0].differences == {0: 4.0, 1: 4.0, 2: 4.5, 3: 4.5, 4: 4.0}
    assert verdict.comparisons[0].mean == pytest.approx(4.2)


@pytest.mark.parametrize("values", [UNSURE, {"system": WINS["control"], "control": WINS["system"]}])
def test_a_system_that_does_not_beat_its_control_surely_is_not_shown(values):
    assert judge(check("S"), values).word == "not shown"


def test_the_more_cautious_interval_decides():
    """0.2, 1, 1, 1, 6: the bootstrap stays above zero, Student's does not."""
    values = rows(system=[0.2, 1.0, 1.0, 1.0, 6.0], control=[0.0] * 5)
    verdict = judge(check("S"), values)
    assert verdict.comparisons[0].bootstrap.low > 0 > verdict.comparisons[0].student.low
    assert verdict.word == "not shown"


def test_every_control_must_lose():
    two = check("S", pairs=[("system", "control"), ("system", "other")])
    assert judge(two, WINS | rows(other=[2.0, 1.0, 1.0, 1.0, 2.0])).word == "shown"
    assert judge(two, WINS | rows(other=[5.0, 7.0, 5.0, 7.0, 5.0])).word == "not shown"


@pytest.mark.parametrize(("margin", "word"), [(3.8, "shown"), (3.9, "not shown")])
def test_a_difference_that_is_sure_but_small_is_not_shown(margin, word):
    """Student's interval of the differences 4, 4, 4.5, 4.5, 4 begins at 4.2 − 0.34 = 3.86."""
    assert judge(check("S", margin=margin), WINS).word == word


EQUAL = rows(system=[5.0, 6.0, 5.1], control=[5.1, 5.9, 5.1])
CHEAP = rows(system=[1.0, 1.1, 1.0], control=[2.0, 2.2, 2.1])
DEAR = {"system": CHEAP["control"], "control": CHEAP["system"]}


@pytest.mark.parametrize(
    ("values", "costs", "tolerance", "word"),
    [
        (EQUAL, CHEAP, 0.5, "shown"),
        (EQUAL, CHEAP, 0.1, "not shown"),  # differences −0.1, 0.1, 0: not surely within
        (EQUAL, DEAR, 0.5, "not shown"),
        (rows(system=[1.0, 2.0, 1.0], control=[5.0, 6.0, 5.0]), CHEAP, 0.5, "not shown"),
        (rows(system=[5.0] * 3, control=[5.0] * 3), CHEAP, 0.0, "shown"),  # to the last bit
    ],
)
def test_an_economy_is_equal_and_saves(values, costs, tolerance, word):
    economy = check("E", tolerance=tolerance, cost=lambda _: 0.0)
    verdict = judge(economy, values, costs)
    assert verdict.word == word
    if costs is CHEAP:
        assert verdict.savings[0].differences == pytest.approx({0: 1.0, 1: 1.1, 2: 1.1})


def test_an_option_is_reported_whatever_it_does():
    assert [judge(check("O"), values).word for values in (WINS, UNSURE)] == ["reported"] * 2
    assert judge(check("O"), UNSURE).comparisons[0].interval.low < 0
    assert judge(check("O", pairs=()), rows(system=[3.0])).word == "reported"


@pytest.mark.parametrize("kind", ["S", "O"])
def test_a_seed_without_a_value_is_never_left_out(kind):
    gap = {**WINS, "control": {**WINS["control"], 3: None}}
    assert judge(check(kind), gap).word == "incomplete"
    economy = check("E", tolerance=1.0, cost=lambda _: 0.0)
    assert (
        judge(economy, EQUAL, {**CHEAP, "system": {0: 1.0, 1: None, 2: 1.0}}).word == "incomplete"
    )


def test_one_seed_shows_nothing():
    assert judge(check("S"), rows(system=[9.0], control=[0.0])).word == "not shown"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kind": "X"}, "choose S, E or O"),
        ({"pairs": ()}, "names pairs of system and control"),
        ({"kind": "E"}, "states a tolerance and a cost"),
        ({"pairs": [("system", "contrl")]}, "unknown arm 'contrl'; close to it: control"),
        ({"arms": {**ARMS, "blind": Arm(reads="sytem")}}, "reads 'sytem', which is no arm"),
        ({"arms": {**ARMS, "a": Arm(reads="b"), "b": Arm(reads="other")}}, "reads 'b', which"),
    ],
)
def test_a_check_that_lacks_something_is_refused(changes, message):
    whole = {
        "claim": "it works",
        "kind": "S",
        "arms": ARMS,
        "measure": lambda _: 0.0,
        "measured": "points",
        "minutes": 1,
        "pairs": [("system", "control")],
    }
    Check(**whole)
    with pytest.raises(UserError, match=message):
        Check(**whole | changes)
