"""What the page of an audit says, from cards made up for it."""

import math
import runpy
from pathlib import Path

import pytest

from iqattack.auditing import WORST, Outcome, Rule
from iqattack.auditing.card import CardImages
from iqattack.reporting import card_content as content
from iqattack.reporting.common import fixed, score_digits

_cards = runpy.run_path(str(Path(__file__).with_name("cards.py")))
card, curve, line = _cards["card"], _cards["curve"], _cards["line"]
run_record = _cards["run_record"]


def said(*lines, **changes):
    return content.headline(card(*lines, **changes)).text.replace("\N{NO-BREAK SPACE}", " ")


def test_the_headline_is_of_the_constraint_that_gained_most_at_the_largest_budget():
    lines = line("linf:3", 10, 0.9), line("linf:3", 100, 0.1), line("bands:2", 100, 0.2)
    assert said(*lines) == (
        "With 100 queries per image and attack, the scores of model move by 20.0 % of the score "
        "range within bands:2 (95 % interval 18.0 to 22.0 %), and the ranking of the images "
        "changed a lot."
    )
    assert content.headline(card(*lines)).strong == "20.0\N{NO-BREAK SPACE}%"


@pytest.mark.parametrize(
    ("srocc", "images", "ending"),
    [
        ((0.99, 0.97, 1.0), 20, ", and the ranking of the images stayed almost unchanged."),
        ((0.1, -0.2, 0.4), 20, ", and the ranking of the images was lost."),
        ((0.5, -0.9, 0.99), 20, "; the effect on the ranking is undecided."),
        ((0.5, 0.4, 0.6), 9, "; 9 images are too few for a statement about their ranking."),
    ],
)
def test_the_headline_says_what_became_of_the_ranking(srocc, images, ending):
    text = said(line("linf:3", 100, 0.1, srocc=srocc, images=images))
    assert text.endswith(ending)
    assert "within" not in text  # the only constraint


def test_a_long_name_is_in_the_title_alone():
    name = "a/long/path/to/my_model_of_quality.py:load"
    assert "the scores of this model move by" in said(line("linf:3", 100, 0.1), name=name)


@pytest.mark.parametrize(("noise", "silent"), [(0.0, False), (0.001, False), (0.05, True)])
def test_where_noise_explains_the_gain_nothing_is_said_of_robustness(noise, silent):
    """2σ√(2 ln n) ≥ gain, with n the scores that the worst case is the best of."""
    runs = [run_record(noise=noise), run_record("square"), run_record("square", "bands:2")]
    text = said(line("linf:3", 100, 0.1), runs=runs)
    assert text.startswith("Nothing can be said about the robustness of model") == silent
    if silent:
        most = 100 * noise * math.sqrt(2 * math.log(200))
        assert f"noise alone gains up to {most:.1f} % of the score range" in text


def test_where_the_batch_explains_the_gain_nothing_is_said_either():
    text = said(line("linf:3", 100, 0.1), runs=[run_record(batch=0.06)])
    assert (
        text.startswith("Nothing can be said") and "scores depend on the batch, by 6.00 %" in text
    )


def test_of_nothing_nothing_is_said():
    empty = card(runs=(), seen=())
    assert content.headline(empty).text == "Nothing was measured of model."
    assert content.figures(empty) == []
    assert content.measures(empty) == []
    assert content.concerns(empty) == []
    assert content.chart(empty, []).curves == []


def test_a_sound_audit_has_no_concerns():
    assert content.concerns(card(line("linf:3", 100, 0.1))) == []


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"runs": [run_record(verified=False)]}, "Not as reported: runs/noise-linf-3."),
        ({"runs": [run_record(verified=None)]}, "1 run of 1 not verified"),
        ({"runs": [run_record(), run_record("square", noise=None)]}, "not measured in 1 run of 2"),
        ({"runs": [run_record(noise=0.0123)]}, "standard deviation of 1.23 %"),
        ({"runs": [run_record(batch=0.002)]}, "other images of a batch, by 0.20 %"),
        ({"images": (25, 20, 0)}, "5 images of 25 could not be attacked"),
        ({"images": (20, 20, 1)}, "1 image of 20 failed with some attacks"),
        ({"runs": [run_record(findings=("scores differ",))]}, "Scores differ."),
        (
            {"runs": [run_record(), run_record("square", findings=("scores differ",))]},
            "Scores differ (square in linf:3).",
        ),
    ],
)
def test_each_concern_is_one_sentence_or_two(changes, expected):
    (found,) = content.concerns(card(line("linf:3", 100, 0.5), **changes))
    assert expected in found.replace("\N{NO-BREAK SPACE}", " ")


def test_what_was_not_as_reported_comes_first():
    runs = [run_record(findings=("odd",)), run_record("square", verified=False)]
    found = content.concerns(card(line("linf:3", 100, 0.1), runs=runs, images=(9, 8, 0)), ["gone."])
    assert [text.split()[0] for text in found] == ["Not", "gone.", "1", "Odd"]


def test_tables_have_every_line_the_largest_budget_first():
    lines = [
        line("linf:3", 10, 0.1, best={"noise": 1.0}),
        line("linf:3", 10, 0.1, attack="noise"),
        line("linf:3", 100, 0.4, best={"noise": 0.25}),
        line("linf:3", 100, 0.2, attack="noise"),
    ]
    (table,) = content.measures(card(*lines))
    assert table.columns == ("attack", "gain", "SROCC", "strongest on", "images")
    assert [title for title, _ in table.budgets] == [
        "100 queries per image",
        "10 queries per image",
    ]
    worst, noise = table.budgets[0][1]
    assert (worst.name, worst.worst, noise.name, noise.worst) == (WORST, True, "noise", False)
    assert [cell.share for cell in (worst.cells[0], noise.cells[0])] == [1.0, 0.5]
    texts = [(cell.text.replace("\N{NO-BREAK SPACE}", " "), cell.interval) for cell in noise.cells]
    assert texts == [
        ("20.0 %", "18.0 … 22.0"),
        ("0.50", "0.45 … 0.60"),
        ("25 %", None),
        ("20", None),
    ]


@pytest.mark.parametrize(
    ("value", "digits", "text"),
    [(-0.0001, 2, "0.00"), (-1.0, 2, "−1.00"), (None, 2, "–"), (26.566, 1, "26.6")],
)
def test_numbers_of_a_column_have_as_many_digits(value, digits, text):
    assert fixed(value, digits) == text


@pytest.mark.parametrize(
    ("score_range", "digits"), [((0, 1), 3), ((0, 100), 1), ((1, 5), 2), ((0, 1e5), 0)]
)
def test_scores_have_the_digits_of_a_thousandth_of_their_range(score_range, digits):
    assert score_digits(score_range) == digits


def test_the_chart_has_each_curve_once_in_the_colour_of_its_constraint():
    curves = [
        curve("linf:3", 0.2),
        curve("linf:3", 0.1, attack="noise"),
        curve("bands:2", 0.3),
        curve("bands:2", 0.2, attack="noise"),
    ]
    lines = line("linf:3", 100, 0.2), line("bands:2", 100, 0.3)
    chart = content.chart(card(*lines, curves=curves), [])
    assert [one["colour"] for one in chart.curves] == [0, 0, 1, 1]
    assert [one["kind"] for one in chart.curves] == ["worst", "attack"] * 2
    assert [one["gain"] for one in chart.curves] == [list(one.gain) for one in curves]
    keys = [(group.title, [key.series for key in group.keys]) for group in chart.legend]
    assert keys == [("linf:3", [(0,), (1,)]), ("bands:2", [(2,), (3,)])]
    assert chart.table.columns == ("queries", "linf:3", "bands:2")
    assert [row[0] for row in chart.table.rows] == ["1", "10", "100"]


def test_reference_models_are_grey_and_counted():
    own = card(line("linf:3", 100, 0.2), curves=[curve("linf:3", 0.2)])
    others = [
        card(
            line("linf:3", 100, gain),
            name=name,
            curves=[
                curve("linf:3", gain),
                curve("linf:3", gain, attack="noise"),
                curve("l0:5", 1.0),
            ],
        )
        for name, gain in (("weak", 0.5), ("strong", 0.1), ("stronger", 0.05))
    ]
    chart = content.chart(own, others)
    grey = [one for one in chart.curves if one["kind"] == "reference"]
    assert [one["label"] for one in grey] == ["weak", "strong", "stronger"]
    assert all(one["colour"] is None for one in grey)
    assert chart.legend[-1].colour is None
    assert "2 of 3 reference models moved less." in chart.text
    assert ("reference models", "2 of 3 moved less") in content.figures(own, others)[0].facts
    assert "other images" not in chart.text
    elsewhere = others[0].model_copy(
        update={"images": CardImages(count=9, attacked=9, partly=0, digest="0" * 64)}
    )
    assert "on other images: compare them with care" in content.chart(own, [elsewhere]).text


def test_a_policy_that_fails_shows_what_fails_first():
    rule = Rule(measure="gain", at_most=0.1)
    outcomes = [
        Outcome(rule, "linf:3", "passed", "first"),
        Outcome(rule, "linf:3", "failed", "second"),
        Outcome(rule, "linf:3", "not measured", "third"),
    ]
    sentence, status, rules = content.policy(outcomes)
    assert (sentence, status) == ("The policy does not hold.", 1)
    assert rules == [("fails", "second"), ("not measured", "third"), ("holds", "first")]
    assert content.policy(outcomes[:1])[:2] == ("The policy holds.", 0)
    assert content.policy(outcomes[::2])[:2] == ("The policy could not be measured.", 2)


@pytest.mark.parametrize("spec", ["bands:2.5:19", "linf:3", "jnd:0.38:canny", "l0:500", "none"])
def test_constraints_are_explained(spec):
    strength = spec.split(":")[1] if ":" in spec else "any"
    assert f" {strength}" in f" {content.meaning(spec)}"
    assert content.meaning("mine:3") is None
