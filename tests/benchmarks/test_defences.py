"""How defences are ranked: by the worst of the adaptive and the transferred images."""

import numpy as np
import pytest


@pytest.fixture
def defences(on_stand_in):
    import defences  # noqa: PLC0415 - from benchmarks/

    return defences


@pytest.fixture
def measured(defences):
    """Rows of four images of one victim, by one attack: (adaptive, other) gains by defence."""

    def rows(attack="square", images=4, **gains):
        gains = {defences.NONE: (0.4, 0.4)} | {
            name.replace("_", ":"): pair for name, pair in gains.items()
        }
        return [
            defences.Row("builtin", attack, name, f"{k}.png", "", k, k, pair[0], *pair)
            for name, pair in gains.items()
            for k in range(images)
        ]

    return rows


def test_a_failed_adaptive_attack_does_not_support_a_defence(defences, measured):
    table = defences.standings(measured(aaa_10=(0.04, 0.4), blur_7=(0.2, 0.1)), "builtin")
    assert [row.defence for row in table] == ["blur:7", "aaa:10"]
    blur, aaa = table
    assert (blur.share, aaa.share) == pytest.approx((0.5, 1.0))
    assert aaa.left("adaptive") == "0.10 [0.10, 0.10]"
    assert not any(row.holds for row in table)


def test_the_worst_is_chosen_image_by_image(defences, measured):
    one, other = measured(blur_7=(0.0, 0.4)), measured(blur_7=(0.4, 0.0))
    rows = [*one[:6], *other[6:]]  # four without a defence, and two of each
    (row,) = defences.standings(rows, "builtin")
    assert row.share == pytest.approx(1.0)
    assert row.left("adaptive").startswith("0.50")
    assert row.left("other").startswith("0.50")


def test_the_strongest_attack_counts_on_each_image(defences, measured):
    rows = measured(blur_7=(0.1, 0.0)) + measured("score-boundary", blur_7=(0.0, 0.2))
    (row,) = defences.standings(rows, "builtin")
    assert row.share == pytest.approx(0.5)
    assert np.allclose(row.worst, 0.2)


def test_defences_are_compared_on_the_same_images_and_attacks(defences, measured):
    rows = measured(images=6, blur_7=(0.1, 0.1)) + measured("filter-search", blur_7=(0.3, 0.3))
    more = [row for row in measured(blur_3=(0.2, 0.2)) if row.defence != defences.NONE]
    table = defences.standings([*rows, *more], "builtin")  # by square: it met both
    assert [(row.defence, len(row.without)) for row in table] == [("blur:7", 4), ("blur:3", 4)]
    assert defences.standings(measured(images=3, blur_7=(0.1, 0.1)), "builtin") == []
    assert defences.standings(rows, "scnn") == []


def test_the_conclusion_names_what_holds(defences, measured):
    rows = measured(blur_7=(0.04, 0.02), aaa_10=(0.0, 0.4))
    table = defences.standings(rows, "builtin")
    text = defences.conclusion({"builtin": table}, {"builtin": "square, 4 images"})
    assert "1 of 2 defences holds (`blur:7`)" in text
    assert "`blur:7` leaves least: 0.10 [0.10, 0.10], at an SROCC of 1.00" in text
    assert "1 of 2 leave less than half of the gain (1 with the whole interval), and 1 " in text
    none = defences.standings(measured(aaa_10=(0.0, 0.4)), "builtin")
    text = defences.conclusion({"builtin": none}, {"builtin": "square, 4 images"})
    assert "none of 1 defences holds" in text
    assert defences.conclusion({"scnn": []}, {}) == "Not measured yet."
