"""Policies: what holds, what does not, and what could not be measured."""

from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iqattack.auditing import (
    WORST,
    Card,
    Line,
    Policy,
    Rule,
    Value,
    exit_status,
    judged,
    junit,
    markdown,
    read_policy,
)
from iqattack.auditing.card import CardImages, CardModel, Fresh, RunRecord, SuiteRecord
from iqattack.errors import InputError


def card(*lines, name="model", runs=()):
    return Card(
        suite=SuiteRecord(id="mine-v1", digest="0"),
        model=CardModel(name=name, score_range=(0.0, 1.0), lower_better=False, files={}),
        images=CardImages(count=12, attacked=12, digest="0"),
        runs=runs,
        lines=lines,
        seen=(),
    )


SROCC = Value(value=0.5, low=0.2, high=0.7)


def line(constraint, queries, gain, srocc=SROCC, attack=WORST):
    return Line(
        attack=attack,
        constraint=constraint,
        queries=queries,
        images=12,
        measures={"gain": gain, "srocc": srocc},
    )


GAIN = Value(value=0.2, low=0.1, high=0.3)
CARD = card(
    line("linf:3", 50, Value(value=0.1, low=0.05, high=0.15)),
    line("linf:3", 500, GAIN),
    line("linf:3", 500, Value(value=0.02, low=0.0, high=0.04), attack="noise"),
    line("bands:2.5", 500, Value(value=0.4, low=0.3, high=0.5), srocc=Value(value=None)),
)


def states(**rule):
    return [outcome.state for outcome in judged(Policy(rules=(Rule(**rule),)), CARD)]


def test_a_rule_is_about_the_worst_case_of_every_constraint_at_the_largest_budget() -> None:
    assert states(measure="gain", at_most=0.3) == ["passed", "failed"]
    assert states(measure="gain", at_most=0.4) == ["passed", "passed"]
    assert states(measure="gain", at_most=0.1, queries=50, constraint="linf:3") == ["passed"]
    assert states(measure="gain", at_most=0.05, attack="noise", constraint="linf:3") == ["passed"]


def test_what_is_not_there_was_not_measured() -> None:
    assert states(measure="srocc", at_least=0.4) == ["passed", "not measured"]
    assert states(measure="gain", at_most=1.0, queries=50) == ["passed", "not measured"]
    assert states(measure="plcc", at_least=0.4, constraint="linf:3") == ["not measured"]
    assert states(measure="gain", at_most=1.0, attack="square")[0] == "not measured"


@given(
    limit=st.floats(-1, 1), bound=st.sampled_from(["value", "lower", "upper"]), most=st.booleans()
)
def test_the_end_of_the_interval_that_was_asked_for_counts(limit, bound, most) -> None:
    side = {"at_most": limit} if most else {"at_least": limit}
    counted = {"value": 0.2, "lower": 0.1, "upper": 0.3}[bound]
    wanted = counted <= limit if most else counted >= limit
    assert states(measure="gain", bound=bound, constraint="linf:3", **side) == [
        "passed" if wanted else "failed"
    ]


@pytest.mark.parametrize(("limits", "status"), [((0.4, 0.5), 0), ((0.4, 0.1), 1), ((0.1, 0.4), 1)])
def test_exit_statuses(limits, status) -> None:
    rules = tuple(Rule(measure="gain", at_most=limit) for limit in limits)
    assert exit_status(judged(Policy(rules=rules), CARD)) == status
    missing = Rule(measure="plcc", at_least=0.0, constraint="linf:3")
    both = judged(Policy(rules=(*rules, missing)), CARD)
    assert exit_status(both) == (status or 2)  # what fails, fails


def test_junit_has_a_test_for_each() -> None:
    rules = (
        Rule(measure="gain", at_most=0.3),
        Rule(measure="srocc", at_least=0.0, bound="lower"),
    )
    outcomes = judged(Policy(rules=rules), card(*CARD.lines, name="a<b & 'c'"))
    suite = ElementTree.fromstring(junit(outcomes, card(*CARD.lines, name="a<b & 'c'")))
    assert (suite.get("tests"), suite.get("failures"), suite.get("errors")) == ("5", "1", "1")
    assert [[kind.tag for kind in case] for case in suite] == [[], [], ["failure"], [], ["error"]]
    assert {case.get("classname") for case in suite} == {"a<b & 'c'"}


def test_markdown_says_it_and_no_name_is_markup() -> None:
    rules = (Rule(measure="gain", at_most=0.3),)
    odd = card(*CARD.lines, name="![a](http://x/y.png) @bob `b`")
    text = markdown(judged(Policy(rules=rules), odd), odd)
    assert text.startswith("**The policy does not hold.** `![a](http://x/y.png) @bob 'b': ")
    assert len(text.splitlines()) == 2 + 2
    assert text.count("`") == 2 * 3


def test_a_failure_is_not_rounded_away() -> None:
    near = card(line("linf:3", 500, Value(value=0.15004, low=0.1, high=0.2)))
    (outcome,) = judged(Policy(rules=(Rule(measure="gain", at_most=0.15),)), near)
    assert outcome.state == "failed"
    assert "is at most 0.15 in linf:3: it is 0.15004 [0.1, 0.2]" in outcome.text


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "rules"),
        ("rules = []", "at least 1"),
        ('[[rules]]\nmeasure = "gain"', "either at_most or at_least"),
        ('[[rules]]\nmeasure = "gain"\nat_most = 1\nat_least = 0', "either"),
        ('[[rules]]\nmeasure = "beauty"\nat_most = 1', "measure"),
        ('[[rules]]\nmeasure = "gain"\nat_mots = 1', "at_mots"),
        *(
            (f'[[rules]]\nmeasure = "gain"\nat_most = {odd}', "at_most")
            for odd in ("nan", "inf", "true", '"1"')
        ),
        ('[[rules]]\nmeasure = "gain"\nat_most = 1\nconstraint = "linf"', "linf:3"),
        ('[[rules]]\nmeasure = "gain"\nat_most = 1\nattack = "sqare"', "did you mean 'square'"),
        ("[[rules", "is not TOML"),
    ],
)
def test_a_wrong_policy_says_what_and_where(tmp_path, text, reason) -> None:
    path = tmp_path / "policy.toml"
    path.write_text(text)
    with pytest.raises(InputError, match=reason) as failed:
        read_policy(path)
    assert "policy.toml" in str(failed.value)
    assert "\n" not in str(failed.value)
    with pytest.raises(InputError, match="cannot be read"):
        read_policy(tmp_path / "absent.toml")


def run(name="01", **changes):
    kept = {
        "folder": f"runs/{name}",
        "attack": "noise",
        "constraint": "linf:3",
        "seed": 0,
        "results": "0",
        "queries": 12,
        "verified": True,
    }
    return RunRecord(**{**kept, **changes})


@pytest.mark.parametrize(
    ("runs", "why"),
    [
        ((run(silent="constant"), run(silent="constant")), "the same score to all clean images"),
        ((run(silent="nonfinite"), run(silent="noise", noise=0.001)), "its scores are noisy"),
        ((run(noise=0.1),), "noise alone gains up to"),
        ((run(batch=0.2),), "scores depend on the batch, by 20.00 %"),
    ],
)
def test_a_model_of_which_nothing_can_be_said_passes_no_rule(runs, why) -> None:
    silent = card(line("linf:3", 500, GAIN), runs=runs)
    for rule in (Rule(measure="gain", at_most=0.3), Rule(measure="srocc", at_least=0.9)):
        outcomes = judged(Policy(rules=(rule,)), silent)
        assert [outcome.state for outcome in outcomes] == ["not measured"]
        assert why in outcomes[0].text
        assert exit_status(outcomes) == 2
        assert "nothing can be said about its robustness" in markdown(outcomes, silent)


def test_one_run_without_a_finite_score_does_not_silence_the_others() -> None:
    mixed = card(line("linf:3", 500, GAIN), runs=(run(silent="nonfinite"), run("02")))
    assert judged(Policy(rules=(Rule(measure="gain", at_most=0.3),)), mixed)[0].state == "passed"


def test_an_audit_that_is_not_sound_is_an_error_beside_the_rules() -> None:
    unsound = card(line("linf:3", 500, GAIN), runs=(run(verified=False), run("02")))
    outcomes = judged(Policy(rules=(Rule(measure="gain", at_most=0.3),)), unsound)
    assert exit_status(outcomes) == 0
    suite = ElementTree.fromstring(junit(outcomes, unsound))
    assert (suite.get("tests"), suite.get("failures"), suite.get("errors")) == ("2", "0", "1")
    assert suite[0][0].get("message") == "runs/01: is not as reported"
    text = markdown(outcomes, unsound)
    assert text.startswith("**The policy holds.** **But the audit is not sound.** ")
    assert "- ⚠️ `runs/01: is not as reported`" in text


def test_fresh_scores_have_rules_of_their_own() -> None:
    def fresh(gain):
        return Fresh(times=8, gain=gain, low=gain - 0.01, high=gain + 0.01, bias=0.1, error=0.001)

    runs = (
        run(fresh=fresh(0.02)),
        run("02", attack="square", fresh=fresh(0.04)),
        run("03", constraint="bands:2.5", fresh=fresh(0.3)),
    )
    lucky = card(line("linf:3", 500, GAIN), runs=runs)

    def found(**rule):
        (outcome,) = judged(Policy(rules=(Rule(measure="gain_fresh", **rule),)), lucky)
        return outcome.state

    assert found(at_most=0.04) == "passed"
    assert found(at_most=0.03) == "failed"
    assert found(at_most=0.03, attack="noise") == "passed"
    assert found(at_most=0.04, bound="upper") == "failed"
    assert found(at_most=0.03, attack="nes") == "not measured"
    with pytest.raises(ValueError, match="leave out queries"):
        Rule(measure="gain_fresh", at_most=0.1, queries=50)
    wide = run("02", attack="square", fresh=fresh(0.03).model_copy(update={"high": 0.5}))
    spread = card(line("linf:3", 500, GAIN), runs=(runs[1], wide))
    upper = Rule(measure="gain_fresh", at_most=0.3, bound="upper")
    assert judged(Policy(rules=(upper,)), spread)[0].state == "failed"  # not of the largest value
    part = card(line("linf:3", 500, GAIN), runs=(runs[0], run("02", attack="square")))
    assert judged(Policy(rules=(upper,)), part)[0].state == "not measured"
    noisy = card(line("linf:3", 500, GAIN), runs=(run(fresh=fresh(0.02), noise=0.1),))
    assert noisy.silence is not None
    assert judged(Policy(rules=(upper,)), noisy)[0].state == "passed"
    none = judged(Policy(rules=(Rule(measure="gain_fresh", at_most=0.1),)), CARD)
    assert {outcome.state for outcome in none} == {"not measured"}


@pytest.mark.parametrize("rule", ["measure='gain'\nat_most=30", "measure='srocc'\nat_least=-2"])
def test_limits_that_can_only_be_mistakes(tmp_path, rule) -> None:
    (tmp_path / "policy.toml").write_text(f"[[rules]]\n{rule}\n")
    with pytest.raises(InputError, match="expected a number from -1"):
        read_policy(tmp_path / "policy.toml")


def test_a_file_with_a_byte_order_mark(tmp_path) -> None:
    text = "[[rules]]\nmeasure = 'gain'\nat_most = 0.3\n"
    (tmp_path / "policy.toml").write_text(text, encoding="utf-8-sig")
    assert read_policy(tmp_path / "policy.toml").rules[0].limit == 0.3
