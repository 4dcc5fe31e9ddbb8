"""A model behind HTTP, as short as it can be: replace `score` by your own model.

    pip install 'iqattack[http]' fastapi uvicorn python-multipart
    python examples/server.py --port 8000
    iqattack attack photos --model examples/server.toml --out runs/photos

Endpoints: /score takes a PNG file as the body, /upload one as the field `file` of a form, /batch
several in JSON, {"images": ["<base64>", …]}.
"""

import argparse
import base64
import binascii
import io
import threading
from collections.abc import Callable
from typing import Annotated, Any

import numpy as np
import torch
import uvicorn
from fastapi import Body, FastAPI, HTTPException, UploadFile
from PIL import Image
from pydantic import BaseModel

import iqattack
from iqattack.errors import InputError


class Batch(BaseModel):
    """PNG files in base64."""

    images: list[str]


def picture(data: bytes) -> torch.Tensor:
    """A PNG file as (1, 3, H, W) uint8 RGB; the answer is 422 where it is none."""
    try:
        pixels = np.array(Image.open(io.BytesIO(data)).convert("RGB"))
    except OSError as error:
        raise HTTPException(422, f"not a picture: {error}") from error
    return torch.from_numpy(pixels).permute(2, 0, 1)[None]


def application(model: Callable[[torch.Tensor], Any]) -> FastAPI:
    """The endpoints."""
    app = FastAPI()
    one_at_a_time = threading.Lock()  # endpoints run in threads; most models do not

    def score(image: torch.Tensor) -> float:
        try:
            with one_at_a_time:
                return float(model(image)[0])
        except InputError as error:  # such as a picture that is too small
            raise HTTPException(422, str(error)) from error

    @app.post("/score")
    def of_body(png: Annotated[bytes, Body(media_type="image/png")]) -> dict[str, float]:
        return {"score": score(picture(png))}

    @app.post("/upload")
    def of_form(file: UploadFile) -> dict[str, float]:
        return {"score": score(picture(file.file.read()))}

    @app.post("/batch")
    def of_json(batch: Batch) -> dict[str, list[float]]:
        try:
            files = [base64.b64decode(text, validate=True) for text in batch.images]
        except binascii.Error as error:
            raise HTTPException(422, f"not base64: {error}") from error
        return {"scores": [score(picture(file)) for file in files]}

    return app


class Server(uvicorn.Server):
    """Prints its address when it is ready; --port 0 takes a port that is free."""

    async def startup(self, sockets: Any = None) -> None:
        """See `uvicorn.Server`."""
        await super().startup(sockets)
        for server in self.servers:
            host, port = server.sockets[0].getsockname()[:2]
            print(f"http://{host}:{port}", flush=True)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="A model behind HTTP.")
    parser.add_argument("--model", default="builtin", help="as iqattack --model takes it")
    parser.add_argument("--weights", help="of CNNIQA, instead of --model")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000)
    given = parser.parse_args()
    model = iqattack.load_model(f"cnniqa:{given.weights}" if given.weights else given.model)
    config = uvicorn.Config(
        application(model), host=given.host, port=given.port, log_level="warning"
    )
    Server(config).run()


if __name__ == "__main__":
    main()
