"""Tables of mean opinion scores."""

import sys

import numpy as np
import pytest
from scipy.io import savemat

from iqattack.errors import InputError
from iqattack.images import ImageEntry, ImageSet, match_mos, read_mos


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
    assert match_mos(images(tmp_path, "A.png"), read, allow_unknown=True)[0].mos == 2
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
    assert scored.notes == ("2 reference images left out",)
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
    assert "holds other" in error(read_mos, tmp_path)
    (tmp_path / "dmos.mat").write_bytes(b"MATLAB 7.3 MAT-file".ljust(200, b"\0"))
    assert "not a MATLAB file" in error(read_mos, tmp_path)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "unknown columns"),
        ("image;mos\na;1\n", "separated by commas"),
        ("image,mos\n", "holds no scores"),
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


def test_own_table_must_fit_exactly_a_database_may_hold_more(tmp_path):
    own = table(tmp_path / "own.csv", "image,mos\na.png,1\nb.png,2\nc.png,3\n")
    published = table(tmp_path / "koniq.csv", "image_name,MOS\na.png,1\nb.png,2\nc.png,3\n")
    few, more = images(tmp_path, "a.png", "b.png"), images(tmp_path, "a.png", "x.png", "y.png")
    assert "scores 1 (c.png)" in error(match_mos, few, own)
    assert [entry.mos for entry in match_mos(few, own, allow_unknown=True)] == [1, 2]
    assert [entry.mos for entry in match_mos(few, published)] == [1, 2]
    assert "scores 1 (c.png)" in error(match_mos, few, published, allow_unknown=False)
    assert "2 (x.png, y.png) of 3" in error(match_mos, more, published)


def test_one_score_never_serves_two_images(tmp_path):
    read = table(tmp_path / "t.csv", "image,mos\nimg1.bmp,1\n")
    both = images(tmp_path, "jp2k/img1.bmp", "wn/img1.bmp")
    assert "img1.bmp fits both" in error(match_mos, both, read)
    text = "image,mos\njp2k/img1.bmp,1\nwn_img1.bmp,2\n"
    assert [e.mos for e in match_mos(both, table(tmp_path / "t.csv", text))] == [1, 2]


def test_a_decimal_comma_is_no_silent_rounding(tmp_path):
    said = error(table, tmp_path / "t.csv", "image,mos\na.png,1,5\n")
    assert "line 2: 3 columns, the first line has 2; write 1.5 for 1,5" in said
    read = table(tmp_path / "t.csv", "image,mos\na.png,1,,\n  \nb.png,2\n")
    assert dict(read) == {"a.png": 1.0, "b.png": 2.0}
