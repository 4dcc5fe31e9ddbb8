"""Images and their opinion scores: reading, writing and sets of 8-bit RGB images."""

from iqattack.images.mos import MosColumns, MosTable, match_mos, read_mos
from iqattack.images.reading import (
    SUFFIXES,
    Picture,
    encode_png,
    make_folder,
    pixels_sha256,
    read_file,
    read_image,
    write_bytes,
    write_png,
)
from iqattack.images.sets import ImageEntry, ImageSet

__all__ = [
    "SUFFIXES",
    "ImageEntry",
    "ImageSet",
    "MosColumns",
    "MosTable",
    "Picture",
    "encode_png",
    "make_folder",
    "match_mos",
    "pixels_sha256",
    "read_file",
    "read_image",
    "read_mos",
    "write_bytes",
    "write_png",
]
