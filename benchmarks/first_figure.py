"""Draws docs/first.png: four pictures before and after the default attack, with CNNIQA's scores.

    python benchmarks/first_figure.py [--queries 500]

Every sixth picture of `iqattack samples` from the second on, not selected by result; default
constraint, `rank` over these four, seed 0.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from common import ROOT, Measured, cnniqa, measure, shared_data
from iqattack.attacks import load_attack
from iqattack.catalogue.defaults import ATTACK, CONSTRAINT
from iqattack.images import ImageSet, read_image
from iqattack.samples import write_samples

FIRST, EVERY = 1, 6
LEFT, TOP, GAP, CAPTION = 84, 30, 8, 34  # pixels
FIGURE = ROOT / "docs" / "first.png"


def draw(images: ImageSet, result: Measured, queries: int) -> None:
    """Clean pictures above attacked ones, pixel for pixel, and the score below each."""
    clean = [read_image(entry.path).pixels for entry in images]
    height, width = (max(picture.shape[axis] for picture in clean) for axis in (1, 2))
    step, line = width + GAP, height + CAPTION
    sheet = Image.new("RGB", (LEFT + len(clean) * step, TOP + 2 * line), "white")
    pen = ImageDraw.Draw(sheet)
    plain, small = (ImageFont.load_default(size) for size in (17, 14))
    pen.text((LEFT, 4), "CNNIQA's score, 0 (best) to 100 (worst)", "black", plain)
    for row, label in enumerate(("clean", f"{queries} queries")):
        pen.text((4, TOP + row * line + height // 2), label, "black", small)
    rows = (clean, result.clean), (result.pictures, result.attacked)
    for row, (pictures, scores) in enumerate(rows):
        for column, (picture, score) in enumerate(zip(pictures, scores, strict=True)):
            corner = LEFT + column * step, TOP + row * line
            sheet.paste(Image.fromarray(picture.permute(1, 2, 0).numpy()), corner)
            moved = "" if not row else ("  better" if score < result.clean[column] else "  worse")
            pen.text((corner[0], corner[1] + height + 4), f"{score:.1f}{moved}", "black", plain)
    sheet.save(FIGURE, optimize=True)
    print(f"written: {FIGURE.relative_to(ROOT)}")


def main() -> None:
    """Attack and draw."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--queries", type=int, default=500)
    queries = parser.parse_args().queries
    shared_data()
    with tempfile.TemporaryDirectory() as folder:
        write_samples(Path(folder))
        images = ImageSet(ImageSet.from_folder(folder).entries[FIRST::EVERY])
        result = measure(
            ATTACK, cnniqa(), images, load_attack(ATTACK), constraint=CONSTRAINT, queries=queries
        )
        for entry, clean, attacked, jod in zip(
            images, result.clean, result.attacked, result.jod, strict=True
        ):
            print(f"{entry.name}: {clean:.1f} -> {attacked:.1f}, JOD {jod:.2f}")
        draw(images, result, queries)


if __name__ == "__main__":
    main()
