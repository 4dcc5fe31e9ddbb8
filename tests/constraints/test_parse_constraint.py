import pytest
from hypothesis import given
from hypothesis import strategies as st

from iqattack.constraints import JndBox, Linf, parse_constraint
from iqattack.errors import InputError


@pytest.mark.parametrize(
    ("spec", "constraint", "canonical"),
    [
        ("linf:3", Linf(3), "linf:3"),
        ("linf:3.0", Linf(3), "linf:3"),
        ("linf:12.75", Linf(12.75), "linf:12.75"),
        ("linf:255", Linf(255), "linf:255"),
        ("jnd:0.38", JndBox(0.38), "jnd:0.38"),
        ("jnd:0.38:liu2010", JndBox(0.38), "jnd:0.38"),
        ("jnd:0.38:canny", JndBox(0.38, "canny"), "jnd:0.38:canny"),
        ("jnd:1:yang2005", JndBox(1, "yang2005"), "jnd:1:yang2005"),
    ],
)
def test_specs(spec, constraint, canonical) -> None:
    assert parse_constraint(spec) == constraint
    assert constraint.spec == canonical


@given(st.one_of(st.floats(1, 255).map(Linf), st.floats(1e-6, 1e6).map(JndBox)))
def test_the_canonical_form_reads_back(constraint) -> None:
    assert parse_constraint(constraint.spec) == constraint


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (
            "lnf:3",
            "unknown constraint 'lnf': did you mean 'linf'? "
            "available: bands, jnd, jod, l0, linf, none",
        ),
        ("", "unknown constraint ''"),
        ("ssim:0.95", "'ssim:0.95' is a floor"),
        ("linf", "'linf': expected linf:GREY_LEVELS, such as linf:3"),
        ("linf:", "'linf:': '' is not a number, expected e.g. linf:3"),
        ("linf:3/255", "'3/255' is not a number, expected e.g. linf:3"),
        ("linf:3:4", "expected linf:GREY_LEVELS"),
        ("linf:0", "'linf:0': expected 1 to 255 grey levels"),
        ("linf:-3", "expected 1 to 255 grey levels"),
        ("linf:256", "expected 1 to 255 grey levels"),
        ("linf:nan", "expected 1 to 255 grey levels"),
        (
            "linf:0.05",
            "'linf:0.05': expected 1 to 255 grey levels of 255, 0.05 of white is linf:12",
        ),
        ("jnd", "expected jnd:SCALE or jnd:SCALE:MODEL, such as jnd:0.38"),
        ("jnd:canny", "'canny' is not a number, expected e.g. jnd:0.38"),
        ("jnd:0", "expected a scale above 0, such as jnd:0.38"),
        ("jnd:inf", "expected a scale above 0"),
        ("jnd:0.38:cany", "unknown JND model 'cany': did you mean 'canny'?"),
        ("jnd:0.38:canny:2", "expected jnd:SCALE"),
    ],
)
def test_bad_specs_say_what_was_expected(spec, message) -> None:
    with pytest.raises(InputError) as caught:
        parse_constraint(spec)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
