"""A scorer to copy: `iqattack attack PICTURES --model "command:python command_scorer.py"`.

It reads one request a line and answers each with one line of JSON; see docs/commands.md.
"""

import base64
import io
import json
import sys

import numpy as np
from PIL import Image

DECLARED = {"name": "sharpness", "score_range": [0, 100], "lower_better": False, "min_size": 3}


def score(pixels: np.ndarray) -> float:
    """Put your model here: pixels (H, W, 3) uint8 RGB in, a number out."""
    rows, columns = np.gradient(pixels.mean(2))
    return float(min(np.hypot(rows, columns).mean() * 5, 100))


for line in sys.stdin:  # ends when iqattack does
    request = json.loads(line)
    if "png" in request:
        picture = Image.open(io.BytesIO(base64.b64decode(request["png"]))).convert("RGB")
        answer: dict[str, object] = {"score": score(np.asarray(picture))}
    else:
        answer = DECLARED
    print(json.dumps({"id": request["id"], **answer}), flush=True)
