import csv
import hashlib
from pathlib import Path

import cv2
import numpy as np
import pytest

from iqattack.errors import InputError
from iqattack.images import ImageSet, match_mos, read_image, read_mos
from iqattack.samples import DISTORTIONS, sample_set, write_samples

# With the versions of constraints.txt.
PIXELS = "84fe479265c21f5cfbebd345c10cded0e6dddd39d4487a4e3419a9872cf27a14"


@pytest.fixture(scope="module")
def samples():
    return sample_set()


def test_the_same_pixels_every_time(samples):
    digest = hashlib.sha256()
    for name, (picture, _) in samples.items():
        digest.update(name.encode() + picture.tobytes())
    assert digest.hexdigest() == PIXELS


def test_the_processors_instructions_change_no_pixel(samples):
    """OpenCV picks its code by what the processor can do; without any of it, it must agree."""
    cv2.setUseOptimized(False)
    try:
        plain = sample_set()
    finally:
        cv2.setUseOptimized(True)
    assert all(np.array_equal(plain[name][0], picture) for name, (picture, _) in samples.items())
    assert cv2.ipp.useIPP()  # as it was


def test_what_is_written_is_a_labelled_set(samples, tmp_path):
    names = write_samples(tmp_path / "new" / "photos")
    images = ImageSet.from_folder(tmp_path / "new" / "photos")
    labelled = match_mos(images, read_mos(tmp_path / "new" / "photos" / "mos.csv"))
    assert [entry.name for entry in labelled] == names
    assert len(names) == 24
    for entry in labelled:
        picture, mos = samples[entry.name]
        pixels = read_image(entry.path).pixels.permute(1, 2, 0).numpy()
        assert np.array_equal(pixels, picture)
        assert entry.mos == pytest.approx(mos, abs=0.05)


def test_the_same_bytes_again(tmp_path):
    def contents():
        write_samples(tmp_path)
        return {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    assert contents() == contents()


def test_every_kind_is_there_and_the_clean_are_best(samples):
    clean = {name for name in samples if "clean" in name}
    assert len(clean) >= 4
    assert all((mos == 100) == (name in clean) for name, (_, mos) in samples.items())
    assert all(any(kind in name for name in samples) for kind in DISTORTIONS)


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"cannot be made .*; choose another folder"):
        write_samples(tmp_path / "file")


def test_table_has_the_documented_columns(tmp_path):
    write_samples(tmp_path)
    with Path(tmp_path, "mos.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["image", "mos"]
    assert all(0 <= float(row["mos"]) <= 100 for row in rows)
