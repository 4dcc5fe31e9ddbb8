"""A scorer in a process of its own, in any language: one JSON object a line, in and out.

iqattack attack PHOTOS --model 'command:python FILE.py' --out runs/first
"""

import base64
import io
import json
import sys

from PIL import Image, ImageStat

for line in sys.stdin:
    request = json.loads(line)
    if "describe" in request:  # asked once: what the scores mean
        answer = {"score_range": [0, 128], "lower_better": False}
    else:
        picture = Image.open(io.BytesIO(base64.b64decode(request["png"])))
        answer = {"score": ImageStat.Stat(picture.convert("L")).stddev[0]}  # put your model here
    print(json.dumps({"id": request["id"], **answer}), flush=True)
