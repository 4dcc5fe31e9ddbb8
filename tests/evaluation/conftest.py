import csv
import json
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray


@dataclass(frozen=True)
class Published:
    """Scores of MANIQA under I-FGSM on 1,000 images, and the MSU benchmark's values for them."""

    clean: NDArray[np.float64]
    attacked: NDArray[np.float64]
    values: dict[str, Any]


@pytest.fixture(scope="session")
def published(shared) -> Published:
    with (shared / "reference" / "msu_ifgsm_maniqa_nips.csv").open() as file:
        rows = list(csv.DictReader(file))
    values = json.loads((shared / "reference" / "msu_ifgsm_maniqa_nips.json").read_text())
    clean, attacked = (np.array([float(row[k]) for row in rows]) for k in ("clear", "attacked"))
    return Published(clean, attacked, values)
