"""Tables of mean opinion scores."""

import os
import sys
import unicodedata
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from scipy.io import savemat

from iqattack.errors import InputError
from iqattack.images import ImageEntry, ImageSet, MosColumns, match_mos, read_mos


def images(root, *names):
    """A set of images that need not exist: matching looks at names alone."""
    return ImageSet(tuple(ImageEntry(name.replace("/", "_"), root / name) for name in names))


def table(path, text):
    path.write_text(text, encoding="utf-8")
    return read_mos(path)


def error(call, *args, **options):
    with pytest.raises(InputError) as caught:
        call(*args, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def cells(*strings):
    """A column of MATLAB's cell arrays."""
    column = np.empty((len(strings), 1), dtype=object)
    column[:, 0] = strings
    return column


@pytest.mark.parametrize(
    ("text", "scores", "source", "lower_better"),
    [
        ("image,mos\na.png,1.5\n\nb.png, 2\n", {"a.png": 1.5, "b.png": 2.0}, "iqattack CSV", False),
        ("\ufeffMOS,Image,x\n1e1,a.png,\n", {"a.png": 10.0}, "iqattack CSV", False),
        ('image,mos\r\n"a, b.png",3\r\n', {"a, b.png": 3.0}, "iqattack CSV", False),
        ("image,dmos\na.png,1.5\n", {"a.png": 1.5}, "iqattack CSV", True),
        (
            '"image_name","c1","c2","c3","c4","c5","c_total","MOS","SD","MOS_zscore"\n'
            '"10004473376.jpg",0,0,25,73,7,105,3.828571428,0.527278894,70.3\n',
            {"10004473376.jpg": 3.828571428},
            "KonIQ-10k",
            False,
        ),
        (
            "image_name,c1,c2,c3,c4,c5,MOS,SD,set\n826373.jpg,3,2,14,73,8,61.4,0.8,training\n",
            {"826373.jpg": 61.4},
            "KonIQ-10k",
            False,
        ),
        (
            "dist_img,ref_img,dmos,var\nI01_01_01.png,I01.png,4.57,0.496\n",
            {"I01_01_01.png": 4.57},
            "KADID-10k",
            False,
        ),
    ],
)
def test_csv_formats(tmp_path, text, scores, source, lower_better):
    read = table(tmp_path / "t.csv", text)
    assert dict(read) == scores
    assert (read.source, read.lower_better) == (source, lower_better)


def test_tid2013_ignores_case(tmp_path):
    read = table(tmp_path / "mos_with_names.txt", "5.51429 I01_01_1.bmp\n5.56757 i01_01_2.bmp\n")
    assert (read.source, read.lower_better) == ("TID2013", False)
    scored = match_mos(images(tmp_path, "i01_01_1.BMP", "I01_01_2.bmp"), read)
    assert [entry.mos for entry in scored] == [5.51429, 5.56757]
    assert "line 2" in error(table, tmp_path / "t.txt", "1 a.bmp\n1 a b.bmp\n")


def test_case_is_only_ignored_where_one_image_is_meant(tmp_path):
    read = table(tmp_path / "t.csv", "image,mos\na.png,1\nA.png,2\n")
    assert match_mos(images(tmp_path, "A.png"), read)[0].mos == 2
    ambiguous = table(tmp_path / "t.csv", "image,mos\nab.png,1\nAB.png,2\n")
    assert "Ab.png" in error(match_mos, images(tmp_path, "Ab.png"), ambiguous)


def test_spaq(tmp_path):
    openpyxl = pytest.importorskip("openpyxl")
    book = openpyxl.Workbook()
    for row in (["Image name", "MOS", "Brightness"], ["00001.jpg", 20.83, 31.1], [None] * 3):
        book.active.append(row)
    path = tmp_path / "MOS and Image attribute scores.xlsx"
    book.save(path)
    read = read_mos(path)
    assert dict(read) == {"00001.jpg": 20.83}
    assert (read.source, read.lower_better) == ("SPAQ", False)
    book.active.append(["00002.jpg", None, 1])
    book.save(path)
    assert "line 4" in error(read_mos, path)
    path.write_bytes(path.read_bytes()[:900])
    assert "not an Excel workbook" in error(read_mos, path)


def test_spaq_without_openpyxl(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "openpyxl", None)
    (tmp_path / "t.xlsx").touch()
    assert "iqattack[xlsx]" in error(read_mos, tmp_path / "t.xlsx")


def test_live_challenge(tmp_path):
    data = tmp_path / "ChallengeDB_release" / "Data"
    data.mkdir(parents=True)
    savemat(data / "AllImages_release.mat", {"AllImages_release": cells("t1.bmp", "10.bmp")})
    assert "no such MOS table" in error(read_mos, data / "AllMOS_release.mat")
    savemat(data / "AllMOS_release.mat", {"AllMOS_release": np.array([[63.9, 24.1]])})
    for path in (data.parent, data, data / "AllMOS_release.mat"):
        read = read_mos(path)
        assert dict(read) == {"t1.bmp": 63.9, "10.bmp": 24.1}
        assert (read.source, read.lower_better) == ("LIVE Challenge", False)
    savemat(data / "AllMOS_release.mat", {"AllMOS_release": np.array([[63.9]])})
    assert "1 scores for 2 images" in error(read_mos, data)
    savemat(data / "AllMOS_release.mat", {"AllMOS_release": np.array([[63.9, np.nan]])})
    assert "entry 2: score nan of 10.bmp" in error(read_mos, data)
    savemat(data / "AllImages_release.mat", {"other": 1})
    assert "has no AllImages_release; download the file again" in error(read_mos, data)
    (data / "AllImages_release.mat").unlink()
    assert "AllImages_release.mat: no such file" in error(read_mos, data)


def live(folder, **changes):
    dmos = np.arange(982.0)[None]
    orgs = np.zeros((1, 982), np.uint8)
    orgs[0, [1, 227]] = 1  # the second of jp2k and the first of jpeg
    savemat(folder / "dmos.mat", {"dmos": dmos, "orgs": orgs} | changes)
    savemat(folder / "refnames_all.mat", {"refnames_all": cells("bikes.bmp", "sailing1.bmp").T})
    return folder


def test_live_counts_through_its_folders(tmp_path):
    read = read_mos(live(tmp_path))
    assert (read.source, read.lower_better) == ("LIVE release 2", True)
    # Borders: 227 jp2k, 460 with jpeg, 634 with wn, 808 with gblur, 982 with fastfading.
    for name, score in {
        "jp2k/img1.bmp": 0,
        "jp2k/img227.bmp": 226,
        "jpeg/img2.bmp": 228,
        "jpeg/img233.bmp": 459,
        "wn/img1.bmp": 460,
        "gblur/img1.bmp": 634,
        "fastfading/img1.bmp": 808,
        "fastfading/img174.bmp": 981,
    }.items():
        assert read[name] == score
    assert len(read) == 980
    assert {"jp2k/img2.bmp", "jpeg/img1.bmp", "refimgs/bikes.bmp"} < read.references


def test_live_matches_by_folder_and_leaves_references_out(tmp_path, monkeypatch):
    read = read_mos(live(tmp_path))
    found = images(tmp_path, "jp2k/img1.bmp", "jp2k/img2.bmp", "wn/img1.bmp", "refimgs/bikes.bmp")
    scored = match_mos(found, read)
    assert [(entry.name, entry.mos) for entry in scored] == [
        ("jp2k_img1.bmp", 0.0),
        ("wn_img1.bmp", 460.0),
    ]
    assert scored.notes == (
        "2 reference images left out",
        "the table of opinion scores has 978 further images",
    )
    (tmp_path / "wn").mkdir()
    (tmp_path / "wn" / "img3.bmp").touch()
    monkeypatch.chdir(tmp_path / "wn")
    assert match_mos(ImageSet.from_folder("."), read)[0].mos == 462


def test_live_prefers_the_realigned_scores(tmp_path):
    live(tmp_path)
    new = {"dmos_new": np.full((1, 982), 50.0), "orgs": np.zeros((1, 982)), "dmos_std": 1}
    savemat(tmp_path / "dmos_realigned.mat", new)
    assert set(read_mos(tmp_path).values()) == {50.0}
    assert read_mos(tmp_path / "dmos.mat")["wn/img1.bmp"] == 460


def test_live_that_is_none(tmp_path):
    assert "981 scores for 982" in error(read_mos, live(tmp_path, dmos=np.zeros((1, 981))))
    assert "3 orgs" in error(read_mos, live(tmp_path, orgs=np.zeros(3)))
    savemat(tmp_path / "dmos.mat", {"other": 1})
    assert "has other" in error(read_mos, tmp_path)
    (tmp_path / "dmos.mat").write_bytes(b"MATLAB 7.3 MAT-file".ljust(200, b"\0"))
    assert "not a MATLAB file" in error(read_mos, tmp_path)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "unknown columns"),
        (
            "image;score\na;1\n",
            "its first line has image, score, expected names such as image and mos",
        ),
        ("a.png,1\nb.png,2\n", "a.png, 1 and is not a header; name them"),
        ("image,mos\na,1_0\n", "line 2: score '1_0' of a"),
        ("image,mos\na,١\n", "line 2: score '١' of a"),
        ("image,mos\na,0x1F\n", "line 2: score '0x1F' of a"),
        ("image,mos\n", "has no scores"),
        ("image,mos\na,1\nb,good\n", "line 3: score 'good' of b"),
        ("image,mos\na,1\n\nb,nan\n", "line 4: score 'nan' of b"),
        ("image,mos\na,-inf\n", "line 2: score '-inf'"),
        ("image,mos\na,\n", "line 2: score '' of a"),
        ("image,mos\na\n", "line 2: too few columns"),
        ("image,mos\n,1\n", "line 2: no image name"),
        ("image,mos\na,1\nb,1\na,1\n", "line 4: a is scored twice"),
        ('image,mos\n"a,1\n', "not CSV"),
    ],
)
def test_bad_tables(tmp_path, text, expected):
    message = error(table, tmp_path / "t.csv", text)
    assert expected in message
    assert str(tmp_path / "t.csv") in message


def test_files_that_are_no_tables(tmp_path):
    assert "no such MOS table" in error(read_mos, tmp_path / "t.csv")
    assert "no MOS table in this folder" in error(read_mos, tmp_path)
    (tmp_path / "t.json").touch()
    assert "expected .csv" in error(read_mos, tmp_path / "t.json")
    (tmp_path / "t.csv").write_bytes(b"image,mos\n\xff,1\n")
    assert "UTF-8" in error(read_mos, tmp_path / "t.csv")


@pytest.mark.parametrize("header", ["image,mos", "image_name,MOS"])
def test_what_else_a_table_has_is_left_out_and_said(tmp_path, header):
    read = table(tmp_path / "t.csv", header + "\na.png,1\nb.png,2\nc.png,3\n")
    few = match_mos(images(tmp_path, "a.png", "b.png"), read)
    assert [entry.mos for entry in few] == [1, 2]
    assert few.notes == ("the table of opinion scores has 1 further image",)
    said = error(match_mos, images(tmp_path, "a.png", "x.png", "y.png"), read)
    assert "no score for 2 (x.png, y.png) of 3 images; it has 3 (a.png, b.png, c.png)" in said
    assert f"beside columns {header.replace(',', ', ')}" in said


def test_one_score_never_serves_two_images(tmp_path):
    read = table(tmp_path / "t.csv", "image,mos\nimg1.bmp,1\n")
    both = images(tmp_path, "jp2k/img1.bmp", "wn/img1.bmp")
    assert "img1.bmp matches both" in error(match_mos, both, read)
    text = "image,mos\njp2k/img1.bmp,1\nwn_img1.bmp,2\n"
    assert [e.mos for e in match_mos(both, table(tmp_path / "t.csv", text))] == [1, 2]


def test_a_decimal_comma_is_no_silent_rounding(tmp_path):
    said = error(table, tmp_path / "t.csv", "image,mos\na.png,1,5\n")
    assert "line 2: 3 columns, the first line has 2; write 1.5 for 1,5" in said
    read = table(tmp_path / "t.csv", "image,mos\na.png,1,,\n  \nb.png,2\n")
    assert dict(read) == {"a.png": 1.0, "b.png": 2.0}


SIX = dict(zip("abcdef", (81.5, 70.25, 62.0, 55.75, 40.0, 20.5), strict=True))


def six(root, suffix=".png"):
    return images(root, *(name + suffix for name in SIX))


def lines(*rows, between=","):
    return "".join(between.join(map(str, row)) + "\n" for row in rows)


def of_six(header, *more, between=",", score=str):
    rows = [(f"{name}.png", score(mos), *more) for name, mos in SIX.items()]
    return lines(header, *rows, between=between)


def with_comma(mos):
    return str(mos).replace(".", ",")


AGIQA = lines(
    ("name", "prompt", "adj1", "mos_quality", "std_quality", "mos_align"),
    *[(f"{name}.png", '"a cat, asleep"', "", mos, 0.1, 3) for name, mos in SIX.items()],
)


@pytest.mark.parametrize(
    ("suffix", "text", "lower_better"),
    [
        (".csv", of_six(("img_name", "mos", "std", "split"), 0.5, "training"), False),
        (".csv", of_six(("name", "mos", "is_valid"), True), False),
        (".csv", of_six(("name", "mos_image", "mos_patch_1"), 3), False),
        (".csv", of_six(("filename", "mos")), False),
        (".csv", of_six(("File Name", "DMOS")), True),
        (".csv", AGIQA, False),
        (".tsv", of_six(("image", "mos"), between="\t"), False),
        (".txt", of_six(("image", "mos"), between="\t"), False),
        (".csv", of_six(("image", "mos"), between=";"), False),
        (".csv", of_six(("image", "mos"), between=";", score=with_comma), False),
        (".csv", of_six(("image", "mos"), score=lambda mos: f'"{with_comma(mos)}"'), False),
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_tables_of_six(tmp_path, suffix, text, lower_better, encoding):
    path = tmp_path / f"t{suffix}"
    path.write_text(text, encoding=encoding)
    read = read_mos(path)
    assert read.lower_better is lower_better
    assert [entry.mos for entry in match_mos(six(tmp_path), read)] == list(SIX.values())


def test_a_table_says_which_of_its_columns_it_took(tmp_path):
    text = "image_name,MOS,SD,MOS_zscore\na.png,3.5,0.5,70\n"
    assert match_mos(images(tmp_path, "a.png"), table(tmp_path / "t.csv", text)).notes == (
        "opinion scores: column MOS, not MOS_zscore; --mos-columns mos=NAME selects another",
    )
    read = read_mos(tmp_path / "t.csv", "mos=MOS_zscore")
    assert (dict(read), read.notes) == ({"a.png": 70.0}, ())
    text = "name,filename,mos\nAda,a.png,3.5\n"
    (note,) = table(tmp_path / "t.csv", text).notes
    assert "column filename, not name" in note


@pytest.mark.parametrize(
    ("text", "columns", "scores", "lower_better"),
    [
        ("who,q\na.png,1.5\n", "image=who,mos=q", {"a.png": 1.5}, False),
        ("Who Is,q\na.png,1.5\n", "dmos=Q, image=who is", {"a.png": 1.5}, True),
        ("a.png,1.5\nb.png,2\n", "image=1,mos=2", {"a.png": 1.5, "b.png": 2.0}, False),
        ("1.5 a.png\n2 b.png\n", "image=2,dmos=1", {"a.png": 1.5, "b.png": 2.0}, True),
        ("who;q\na.png;1,5\n", "image=1,mos=2", {"a.png": 1.5}, False),
        ("1,2\na.png,7\n", 'image="1",mos="2"', {"a.png": 7.0}, False),
        ("2,1\n7,a.png\n", 'image="1",mos="2"', {"a.png": 7.0}, False),
        ("x,1,2\na.png,7,8\n", 'image=x,mos="1"', {"a.png": 7.0}, False),
        ("who,2\na.png,7\n", "image=who,mos=2", {"a.png": 7.0}, False),  # a header, by a name
        ('who,"q, mean"\na.png,3\n', "image=who,mos=q, mean", {"a.png": 3.0}, False),
        ("dist_img,dmos\nx.png,3\n", "dmos=dmos", {"x.png": 3.0}, True),
    ],
)
def test_columns_can_be_chosen(tmp_path, text, columns, scores, lower_better):
    (tmp_path / "t.csv").write_text(text)
    read = read_mos(tmp_path / "t.csv", columns)
    assert (dict(read), read.lower_better) == (scores, lower_better)
    chosen = MosColumns.parse(columns)
    assert MosColumns.parse(chosen.text) == chosen


@pytest.mark.parametrize(
    "text", ["", "image=a", "mos=", "mos=a,dmos=b", "score=a", "a,b", "mos=a,mos=b"]
)
def test_columns_that_are_none(text):
    assert "expected image=NAME,mos=NAME" in error(MosColumns.parse, text)


def test_chosen_columns_that_a_table_lacks(tmp_path):
    (tmp_path / "t.csv").write_text("who;q;r;s\na.png;1;2;3\n")
    said = error(read_mos, tmp_path / "t.csv", "image=who,mos=score")
    assert "has no column score; its first line has who, q, r, …" in said
    assert "names the images; give" in error(read_mos, tmp_path / "t.csv", "mos=q")
    assert "unknown columns" in error(read_mos, tmp_path / "t.csv", "image=1,mos=9")
    assert "count from 1" in error(read_mos, tmp_path / "t.csv", "image=0,mos=2")
    live(tmp_path)
    assert "leave them out" in error(read_mos, tmp_path / "dmos.mat", "image=1,mos=2")


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        (("3,828", "3,5"), [3.828, 3.5]),  # the second is no number of thousands
        (("0,828", "3"), [0.828, 3.0]),
        (("3,828", "2,500"), "without a comma that may be a thousands separator"),
        (("3,5", "2.5"), "score '3,5'"),
        (("1,234,567", "3,5"), "score '1,234,567'"),
    ],
)
def test_decimal_commas_only_where_they_are_certain(tmp_path, cells, expected):
    text = lines(("image", "mos"), *zip(("a", "b"), cells, strict=True), between=";")
    if isinstance(expected, str):
        assert expected in error(table, tmp_path / "t.csv", text)
    else:
        assert list(table(tmp_path / "t.csv", text).values()) == expected


def test_names_in_either_unicode_form(tmp_path):
    forms: list[tuple[Literal["NFC", "NFD"], Literal["NFC", "NFD"]]] = [
        ("NFC", "NFD"),
        ("NFD", "NFC"),
    ]
    for form, other in forms:
        there, here = unicodedata.normalize(form, "É.png"), unicodedata.normalize(other, "é.PNG")
        read = table(tmp_path / "t.csv", f"image,mos\n{there},3\n")
        assert match_mos(images(tmp_path, here), read)[0].mos == 3


HISTOGRAM = ("a.png,4,3,2", "b.png,5,1,1", "c.png,1,2,3", "d.png,2,2,5", "e.png,2,3,4")


def written(path, *rows):
    """Rows of text as a CSV file, or as a workbook whose numbers are numbers."""
    if path.suffix == ".csv":
        path.write_text("".join(f"{row}\n" for row in rows))
        return path
    book = pytest.importorskip("openpyxl").Workbook()
    for row in rows:
        book.active.append([int(c) if c.isdecimal() else c or None for c in row.split(",")])
    book.save(path)
    return path


@pytest.mark.parametrize("name", ["t.csv", "t.xlsx"])
def test_columns_that_nobody_knows_are_to_be_named(tmp_path, name):
    path = written(tmp_path / name, "who,good", "b.png,3")
    said = error(read_mos, path)
    assert "unknown columns, its first line has who, good" in said
    assert "choose with --mos-columns" in said


@pytest.mark.parametrize("name", ["t.csv", "t.xlsx"])
def test_numbers_of_columns_are_positions(tmp_path, name):
    """Whatever the cells of the first row are: 2 stands in some of these columns."""
    path = written(tmp_path / name, *HISTOGRAM)
    assert list(read_mos(path, "image=1,mos=2").values()) == [4, 5, 1, 2, 2]
    assert list(read_mos(path, "image=1,dmos=4").values()) == [2, 1, 3, 5, 4]
    path = written(tmp_path / name, "a.png,2", "b.png,3")
    assert dict(read_mos(path, "image=1,mos=2")) == {"a.png": 2, "b.png": 3}
    path = written(tmp_path / name, "who,good,bad", "b.png,3,1")
    assert dict(read_mos(path, "image=1,mos=2")) == {"b.png": 3}


@pytest.mark.parametrize("name", ["t.csv", "t.xlsx"])
def test_a_first_row_is_not_taken_for_what_it_may_not_be(tmp_path, name):
    path = written(tmp_path / name, "who,1,2", "b.png,3,4")
    said = error(read_mos, path, "image=1,mos=2")
    assert (
        """if so, name the columns in double quotes: --mos-columns 'image="who",mos="1"'""" in said
    )
    assert dict(read_mos(path, 'image="who",mos="1"')) == {"b.png": 3}
    said = error(read_mos, path, "image=who,mos=2")
    assert """column 2 is called 1, and another is called 2; give names in double quotes""" in said
    assert dict(read_mos(path, 'image=who,mos="2"')) == {"b.png": 4}
    path = written(tmp_path / name, "a.png,n/a", "b.png,3")  # no header: it has an image
    assert "line 1: score 'n/a' of a.png" in error(read_mos, path, "image=1,mos=2")


@pytest.mark.parametrize(
    ("text", "columns", "expected"),
    [
        (
            "a.png,3,5\nb.png,4\n",
            "image=1,mos=2",
            "line 2: too few columns, 2, the first line has 3",
        ),
        ("a.png,3\nb.png,4,5\n", "image=1,mos=2", "line 2: 3 columns, the first line has 2"),
        ("image,mos,sd\na.png,81,5\nb.png,70\n", None, "line 3: too few columns, 2"),
        ("image,mos,sd\na.png,81,5\nb.png,7,2,5\n", None, "line 3: 4 columns"),
    ],
)
def test_rows_of_several_widths(tmp_path, text, columns, expected):
    (tmp_path / "t.csv").write_text(text)
    said = error(read_mos, tmp_path / "t.csv", columns)
    assert expected in said
    assert "write 1.5 for 1,5" in said


def test_a_header_may_end_with_separators(tmp_path):
    read = table(tmp_path / "t.csv", "image,mos,,\na.png,1\nb.png,2,\n")
    assert dict(read) == {"a.png": 1, "b.png": 2}


def test_a_decimal_comma_in_every_row_is_doubted(tmp_path):
    (tmp_path / "t.csv").write_text("a.png,3,5\nb.png,4,25\n")
    (note,) = read_mos(tmp_path / "t.csv", "image=1,mos=2").notes
    assert "if the score is 3,5, write 3.5" in note
    (tmp_path / "t.csv").write_text("a.png,3,5\nb.png,4.5,25\n")
    assert read_mos(tmp_path / "t.csv", "image=1,mos=2").notes == ()


def test_missing_cells_at_the_ends_of_a_workbook(tmp_path):
    path = written(tmp_path / "t.xlsx", "image,mos,sd", "a.png,3,1", "b.png,4")
    assert dict(read_mos(path)) == {"a.png": 3, "b.png": 4}


@pytest.mark.parametrize("name", ["t.csv", "t.xlsx"])
@pytest.mark.parametrize(
    ("header", "columns", "score"),
    [
        ("image,mos,mos", None, None),
        ("image,mos,MOS", None, None),
        ("image,image,mos", None, None),
        ("image,image,mos", "mos=mos", None),
        ("image,mos,mos", "image=image,mos=mos", None),
        ("image,mos,mos", "image=1,mos=2", 1),
        ("image,mos,mos", "image=1,mos=3", 2),
        ("image,mos,mos", "mos=3", 2),
        ("image,image,mos", "image=1,mos=3", 2),
    ],
)
def test_two_columns_of_one_name(tmp_path, name, header, columns, score):
    path = written(tmp_path / name, header, "a.png,1,2")
    if score is not None:
        assert dict(read_mos(path, columns)) == {"a.png": score}
        return
    said = error(read_mos, path, columns)
    assert "has 2 columns" in said
    assert "number" in said
    if columns is None:  # its remedy works
        read_mos(path, said.split("--mos-columns ")[1].split(", or")[0])


@pytest.mark.parametrize(
    "image", ["dist_img", "image", "filename", "img_name", "dist_name", "Name", "path"]
)
def test_kadid_is_known_by_the_names_of_its_images(tmp_path, image):
    read = table(tmp_path / "t.csv", f"{image},dmos\nI01_01_01.png,4.5\ni81_25_05.PNG,3\n")
    assert (read.source, read.lower_better, read.notes) == ("KADID-10k", False, ())
    mixed = f"{image},dmos\nI01_01_01.png,4.5\nx.png,3\n"
    said = error(table, tmp_path / "t.csv", mixed)
    assert f"choose with --mos-columns image={image},mos=dmos" in said
    assert read_mos(tmp_path / "t.csv", f"image={image},mos=dmos").lower_better is False
    read = read_mos(tmp_path / "t.csv", f"image={image},dmos=dmos")
    assert (read.lower_better, read.notes) == (True, ())


def test_pyiqa_has_a_table_of_kadid(tmp_path):
    text = "ref_name,dist_name,dmos,std\nI01.png,I01_01_01.png,4.5,0.5\n"
    read = table(tmp_path / "meta_info.csv", text)
    assert (dict(read), read.lower_better) == ({"I01_01_01.png": 4.5}, False)
    assert read.references == {"I01.png"}


@pytest.mark.parametrize("header", ["image,dmos", "File Name,DMOS", "dist_name,dmos"])
def test_a_dmos_whose_direction_is_not_certain_is_noted(tmp_path, header):
    read = table(tmp_path / "t.csv", f"{header}\nI01_01_1.png,1\nb.png,2\n")
    (note,) = read.notes
    score = header.partition(",")[2]
    assert f"{score}: lower is better; if higher is, give --mos-columns mos={score}" in note
    assert read.lower_better
    assert not read_mos(tmp_path / "t.csv", f"mos={score}").lower_better


@pytest.mark.parametrize(
    ("text", "scores"),
    [
        ("a.png;81,5\nb.png;70,25\n", [81.5, 70.25]),
        ("a.png;3;1,2,3,4\nb.png;4;1,2,3,4\n", [3, 4]),
        ("a.png\t81,5\nb.png\t70,25\n", [81.5, 70.25]),
        ("a.png 81,5\nb.png 70,25\n", [81.5, 70.25]),
        ("a;b.png,3\nc.png,4\n", [3, 4]),
        ("a.png,3,x;7\nc.png,4,y;8\n", [3, 4]),
        ("my a.png,3\nb.png,4\n", [3, 4]),
    ],
)
def test_the_separator_is_the_one_that_gives_images_and_scores(tmp_path, text, scores):
    (tmp_path / "t.csv").write_text(text)
    assert list(read_mos(tmp_path / "t.csv", "image=1,mos=2").values()) == scores


def test_semicolons_come_before_commas_in_a_header_too(tmp_path):
    (tmp_path / "t.csv").write_text("who, in all;q, mean\na.png;1,5\n")
    assert dict(read_mos(tmp_path / "t.csv", "image=1,mos=2")) == {"a.png": 1.5}


@pytest.mark.parametrize(
    ("cells", "scores"),
    [
        (("1.500", "999", "1.200"), None),
        (("1.500", "12"), [1.5, 12]),
        (("3.828", "3", "2.125"), [3.828, 3, 2.125]),
        (("81.523", "70", "100"), [81.523, 70, 100]),
        (("1.500", "1.250"), [1.5, 1.25]),
        (("1.50", "999"), [1.5, 999]),
    ],
)
def test_dots_of_thousands_are_doubted_where_the_others_are_as_large(tmp_path, cells, scores):
    text = lines(("image", "mos"), *zip("abc", cells, strict=False), between=";")
    if scores is None:
        said = error(table, tmp_path / "t.csv", text)
        assert "score '1.500' of a" in said
        assert "write 1500, or 1.5000" in said
        assert table(tmp_path / "t.csv", text.replace(".", ""))["a"] == 1500
        assert table(tmp_path / "t.csv", text.replace("1.500", "1.5000"))["a"] == 1.5
    else:
        assert list(table(tmp_path / "t.csv", text).values()) == scores


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-32", "utf-32-be"])
@pytest.mark.parametrize("suffix", [".csv", ".txt", ".tsv"])
def test_encodings_that_are_not_read_have_a_remedy(tmp_path, encoding, suffix):
    path = tmp_path / f"t{suffix}"
    path.write_text("image,mos\na.png,1\n", encoding=encoding)
    said = error(read_mos, path)
    assert "cannot be read as UTF-8 text" in said
    assert "save it as UTF-8" in said
    assert "\0" not in said


@pytest.mark.parametrize(
    ("suffix", "text"),
    [
        (".csv", '"image","mos"\n"1","a.png",3\n"2","b.png",4\n'),
        (".csv", '"image";"mos"\n"1";"a.png";3,5\n"2";"b.png";4\n'),
        (".txt", '"image" "mos"\n"1" "a.png" 3\n"2" "b.png" 4\n'),
    ],
)
def test_row_names_of_r(tmp_path, suffix, text):
    said = error(table, tmp_path / f"t{suffix}", text)
    assert "its first column has no name; give it one, or in R row.names = FALSE" in said
    named = text.replace('"image"', '"row"' + text[7] + '"image"', 1)
    assert list(table(tmp_path / f"t{suffix}", named)) == ["a.png", "b.png"]


def test_quoted_words_between_blanks(tmp_path):
    read = table(tmp_path / "t.txt", '"image" "mos"\n"my a.png" 3\nb.png 4\n')
    assert dict(read) == {"my a.png": 3, "b.png": 4}


def test_a_scored_image_is_no_reference_in_another_case(tmp_path):
    text = "image,reference,mos\nA.PNG,a.png,3\nb.png,c.png,2\n"
    read = table(tmp_path / "t.csv", text)
    assert read.references == {"c.png"}
    assert [e.mos for e in match_mos(images(tmp_path, "a.png", "b.png", "c.png"), read)] == [3, 2]


@pytest.mark.parametrize("name", ["t.csv", "t.tsv", "t.txt", "t.xlsx", "dmos.mat"])
def test_a_table_that_is_far_too_large_is_never_read(tmp_path, name):
    if name.endswith("xlsx"):
        pytest.importorskip("openpyxl")
    with (tmp_path / name).open("wb") as file:
        file.truncate(2**40)
    assert "is too large (1,099,511,627,776 bytes), expected" in error(read_mos, tmp_path / name)


@pytest.mark.parametrize("name", ["t.csv", "t.txt", "t.xlsx", "dmos.mat"])
def test_a_file_of_size_0_is_empty_without_being_opened(tmp_path, name, monkeypatch):
    """As those of /proc are, which may block."""
    if name.endswith("xlsx"):
        pytest.importorskip("openpyxl")
    (tmp_path / name).touch()
    opened = Path.open

    def watched(path, *args, **options):
        assert path != tmp_path / name
        return opened(path, *args, **options)

    monkeypatch.setattr(Path, "open", watched)  # `read_bytes` uses it
    error(read_mos, tmp_path / name)


def test_a_name_with_a_nul_is_no_table():
    assert "no file can have this name" in error(read_mos, "a\0b.csv")


def test_kadid_leaves_its_references_out(tmp_path):
    names = [f"I{k:02d}_{t:02d}_01.png" for k in (1, 2) for t in (1, 2)]
    rows = [(name, f"{name[:3]}.png", k + 1, 0.4) for k, name in enumerate(names)]
    read = table(tmp_path / "dmos.csv", lines(("dist_img", "ref_img", "dmos", "var"), *rows))
    found = images(tmp_path, "I01.png", *names[:2], "I02.png", *names[2:])
    scored = match_mos(found, read)
    assert ([e.name for e in scored], [e.mos for e in scored]) == (names, [1, 2, 3, 4])
    assert scored.notes == ("2 reference images left out",)
    # The first two of the test images, whatever lies between them.
    assert [e.name for e in match_mos(found, read, limit=2)] == names[:2]
    assert "all 2 images as references" in error(
        match_mos, images(tmp_path, "I01.png", "I02.png"), read
    )
    other = lines(("dist_img", "ref_img", "dmos"), ("x_1.png", "x.png", 3))
    assert "choose with --mos-columns" in error(table, tmp_path / "t.csv", other)


def test_a_limit_needs_scores_of_those_images_alone(tmp_path):
    read = table(tmp_path / "t.csv", "image,mos\na.png,1\nb.png,2\n")
    found = images(tmp_path, "a.png", "b.png", "c.png")
    assert [e.mos for e in match_mos(found, read, limit=2)] == [1, 2]
    assert "1 (c.png) of 3" in error(match_mos, found, read, limit=3)
    assert "limit 0" in error(match_mos, found, read, limit=0)


def test_tid2013_knows_its_originals(tmp_path):
    read = table(tmp_path / "mos_with_names.txt", "5.5 I01_01_1.bmp\n4.5 i02_24_5.bmp\n")
    found = images(tmp_path, "I01.BMP", "I01_01_1.bmp", "I02.BMP", "I02_24_5.bmp")
    assert [e.mos for e in match_mos(found, read)] == [5.5, 4.5]
    assert "--mos-columns image=1,mos=2" in error(table, tmp_path / "t.txt", "a.png 5\n")


def test_pipal(tmp_path):
    labels = tmp_path / "PIPAL" / "Train_Label"
    labels.mkdir(parents=True)
    (labels / "A0001.txt").write_text("A0001_00_00.bmp,1500.1\nA0001_00_01.bmp,1400\n")
    (labels / "A0002.txt").write_text("A0002_00_00.bmp,1300.5\n")
    scores = {"A0001_00_00.bmp": 1500.1, "A0001_00_01.bmp": 1400, "A0002_00_00.bmp": 1300.5}
    for path in (labels, labels.parent):
        read = read_mos(path)
        assert dict(read) == scores
        assert (read.source, read.lower_better) == ("PIPAL", False)
        assert read.references == {"A0001.bmp", "A0002.bmp"}
    assert dict(read_mos(labels / "A0002.txt")) == {"A0002_00_00.bmp": 1300.5}
    (labels / "A0002.txt").write_text("A0001_00_00.bmp,1300.5\n")
    assert "scored in another file" in error(read_mos, labels)
    (labels / "A0002.txt").write_text("A0002_00_00.bmp 1300.5\n")
    assert "A0002.txt, line 1" in error(read_mos, labels)


def test_a_table_of_other_files_shows_its_names(tmp_path):
    read = table(tmp_path / "t.csv", "image,mos\na.jpg,1\nb.jpg,2\n")
    said = error(match_mos, images(tmp_path, "a.png", "b.png"), read)
    assert "2 (a.png, b.png) of 2 images; it has 2 (a.jpg, b.jpg)" in said
    assert "correct the names in the table" in said


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes there")
@pytest.mark.parametrize("name", ["t.csv", "t.txt", "t.xlsx", "t.mat"])
def test_pipes_are_never_opened(tmp_path, name):
    os.mkfifo(tmp_path / name)
    assert "is a named pipe" in error(read_mos, tmp_path / name)


def test_every_table_of_the_cases(tmp_path, cases):
    read_wrong = {"other_extension.csv": "a.jpg", "underscore.csv": "'81_0'"}
    found = ImageSet.from_folder(cases / "six")
    for path in sorted((cases / "tables").iterdir()):
        if path.name in read_wrong:
            said = error(lambda table: match_mos(found, read_mos(table)), path)
            assert read_wrong[path.name] in said
            continue
        scored = match_mos(found, read_mos(path))
        scores = list(SIX.values())
        if path.name == "koniq.csv":
            scores = [score / 20 + 0.5 for score in scores]
            assert "column MOS, not MOS_zscore" in scored.notes[0]
        assert [entry.mos for entry in scored] == scores
        assert ("1 further image" in "".join(scored.notes)) is (path.name == "more_rows.csv")
    assert len(match_mos(ImageSet.from_folder(cases / "kadid" / "images"),
                         read_mos(cases / "kadid" / "dmos.csv"))) == 8  # fmt: skip
