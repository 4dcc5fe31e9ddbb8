import runpy
from pathlib import Path

import pytest

MAKE = Path(__file__).resolve().parents[3] / "shared" / "cases" / "make_cases.py"


@pytest.fixture(scope="module")
def cases(tmp_path_factory):
    """The inputs from outside, which lie beside the repository; to be read only."""
    if not MAKE.is_file():
        pytest.skip("cases absent: expected shared/cases/make_cases.py beside the repository")
    out = tmp_path_factory.mktemp("cases")
    runpy.run_path(str(MAKE))["main"](out)
    return out
