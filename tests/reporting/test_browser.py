"""The page in a real browser."""

from base64 import b64decode
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from selenium.webdriver import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select, WebDriverWait

import iqattack
from iqattack.images import read_image
from iqattack.perception import JND_MODELS, ColorVideoVdp
from iqattack.runs import Meter
from iqattack.runs.numbers import percent
from iqattack.runs.visibility import known

pytestmark = pytest.mark.slow
LARGE = "7.png"  # 224×224
CHARTS = {"scores", "mos", "queries", "crossing", "jod", "ssim"}


def pixels_of(run, name):
    """Original and attacked pixels of an image, (H, W, 3) int."""
    result = next(result for result in run.results if result.image == name)
    pair = (read_image(path).pixels for path in (result.path, run.images / result.png_name))
    return result, *(pixels.permute(1, 2, 0).numpy().astype(int) for pixels in pair)


def shown(browser, canvas="under"):
    """What a canvas holds, (H, W, 3) int."""
    url = browser.js(f"return document.getElementById('{canvas}').toDataURL('image/png')")
    image = Image.open(BytesIO(b64decode(url.partition(",")[2])))
    assert np.asarray(image)[..., 3].min() == 255
    return np.asarray(image.convert("RGB")).astype(int)


def names(browser):
    return browser.js(
        "return [...document.querySelectorAll('.card .name')].map(e => e.textContent)"
    )


def press(browser, *keys):
    ActionChains(browser.driver).send_keys(*keys).perform()
    browser.settle()


def find(browser, selector):
    return browser.driver.find_element(By.CSS_SELECTOR, selector)


def open_image(browser, name=LARGE):
    card = browser.driver.find_element(By.XPATH, f"//span[@class='name' and text()='{name}']/..")
    card.click()
    wait_for(browser, name)
    return card


def wait_for(browser, name):
    """Until that image is in the viewer, with its pixels."""
    WebDriverWait(browser.driver, 20).until(
        lambda _: browser.js(
            "return document.getElementById('image-name').textContent === arguments[0]"
            " && !document.getElementById('says').textContent.startsWith('Loading')",
            name,
        )
    )
    browser.settle()


def look_at(browser, view):
    find(browser, f"input[name=view][value={view}]").click()
    browser.settle()


def choose(browser, name, value):
    Select(find(browser, f"select[name={name}]")).select_by_value(value)
    browser.settle()


def test_opens_from_disk_and_asks_for_nothing_else(chromium, page):
    chromium.requests()
    chromium.open(page)
    chromium.driver.execute_async_script(
        "document.querySelectorAll('.card img').forEach(i => i.loading = 'eager');"
        "setTimeout(arguments[0], 300)"
    )
    asked = chromium.requests()
    folder = page.parent.absolute().as_uri()
    local = [address for address in asked if not address.startswith("data:")]
    assert page.absolute().as_uri() in local
    assert any("/thumbs/" in address for address in local)
    assert [address for address in local if not address.startswith(folder)] == []
    assert chromium.complaints() == []


def test_the_policy_lets_no_script_in(browser):
    browser.js(
        "const s = document.createElement('script'); s.textContent = 'window.injected = 1';"
        "document.body.append(s)"
    )
    assert browser.js("return window.injected === undefined")
    assert any("Content Security Policy" in text for text in browser.complaints())


def test_sliders_of_the_largest_changes(browser):
    stages = browser.driver.find_elements(By.CSS_SELECTOR, ".telling .stage")
    assert len(stages) == 3
    slide = find(browser, ".telling input")
    assert "line between clean and attacked image" in slide.accessible_name
    slide.send_keys(Keys.END)
    over = "return document.querySelector('.telling .over-it').style.clipPath"
    assert browser.js(over).endswith("100%)")
    box, edge = slide.rect, find(browser, ".telling .edge").rect
    assert abs(edge["x"] - box["x"] - box["width"]) <= 3


def test_all_measures_are_folded_below_the_main_ones(browser):
    tiles = browser.driver.find_elements(By.CSS_SELECTOR, ".tiles dt")
    assert tiles[0].text == "mean gain, of the score range"
    table = find(browser, ".measures")
    assert not table.is_displayed()
    find(browser, "#measures summary").send_keys(Keys.ENTER)
    assert table.is_displayed()


def test_paper_is_light_and_narrower_than_the_screen(browser):
    browser.dark(True)
    sizes = browser.js(
        "window.dispatchEvent(new Event('beforeprint'));"
        "return Object.fromEntries([...document.querySelectorAll('.chart')]"
        ".map(c => [c.id.slice(6), [c.layout.width, c.layout.font.size]]))"
    )
    wide = {name for name, (width, _) in sizes.items() if width == 680}
    assert wide == {"queries", "ssim"}  # the main chart, and the last of five others
    assert {size for _, size in sizes.values()} == {11}
    ground = "return getComputedStyle(document.body).backgroundColor"
    assert browser.js(ground) == "rgb(255, 255, 255)"
    browser.js("window.dispatchEvent(new Event('afterprint'))")
    browser.still()
    assert browser.js(ground) == "rgb(20, 23, 26)"
    width = "return document.getElementById('chart-queries')._fullLayout.width"
    assert browser.js(width) > 800


def test_draws_every_chart(browser, run):
    done = [result for result in run.results if not result.failed]
    points = {
        chart: browser.js(
            f"return [...document.querySelectorAll('#chart-{chart} .scatterlayer .trace')]"
            ".map(t => t.querySelectorAll('.point').length)"
        )
        for chart in CHARTS
    }
    assert sum(points["scores"]) == sum(points["ssim"]) == sum(points["jod"]) == len(done) == 7
    assert sum(points["mos"]) == 2 * len(done)  # clean and attacked
    assert (len(points["queries"]), len(points["crossing"])) == (3, 1)
    drawn = browser.js("return [...document.querySelectorAll('.chart')].map(c => c.id)")
    assert {name.removeprefix("chart-") for name in drawn} == CHARTS
    colours = browser.js(
        "return [...document.querySelectorAll('#chart-ssim .trace .point')]"
        ".map(p => getComputedStyle(p).fill)"
    )
    assert len(set(colours)) == 3  # one for each direction, one for what was not changed
    labels = browser.js(
        "return document.getElementById('chart-scores').data.flatMap(t => t.text ?? [])"
    )
    assert "&lt;img src=x onerror=alert(1)&gt;.png" in labels


def test_sorts_and_filters(browser, run):
    results = {result.image: result for result in run.results}
    done = [result for result in known(run, run.results)[0] if not result.failed]

    def ordered(key):
        return [result.image for result in sorted(done, key=key)]

    assert len(names(browser)) == 8
    assert names(browser)[:7] == ordered(lambda result: -result.gain)
    choose(browser, "sort", "visible")
    assert names(browser)[:7] == ordered(lambda result: (result.jod, result.image))
    choose(browser, "sort", "name")
    assert names(browser)[2:] == [f"{k}.png" for k in range(2, 8)]
    for value, wanted in (
        ("changed", {name for name, result in results.items() if result.status == "ok"}),
        ("unchanged", {"3.png"}),
        ("failed", {"5.png"}),
        *(
            (way, {r.image for r in done if (r.status, r.direction) == ("ok", way)})
            for way in ("up", "down")
        ),
    ):
        assert wanted
        choose(browser, "filter", value)
        assert set(names(browser)) == wanted
        assert find(browser, "#count").text == f"{len(wanted)} of 8 images"
    choose(browser, "filter", "all")
    find(browser, "input[type=search]").send_keys("ONERROR")
    assert names(browser) == ["<img src=x onerror=alert(1)>.png"]


def test_difference_is_right_to_the_level(browser, run):
    _, before, after = pixels_of(run, LARGE)
    assert np.abs(after - before).max() == 3
    open_image(browser)
    look_at(browser, "difference")
    for k in (4, 16, 64):
        choose(browser, "factor", str(k))
        expected = np.clip(128 + k * (after - before), 0, 255)
        np.testing.assert_array_equal(shown(browser), expected)


@pytest.fixture
def without(monkeypatch):
    """As if the packages that measure JOD and FLIP were not installed."""
    monkeypatch.setattr(Meter, "_made", lambda meter, kind: None)


def test_where_a_change_is_visible_agrees_with_the_measure(browser, run):
    result, _, after = pixels_of(run, LARGE)
    pair = (read_image(path).pixels for path in (result.path, run.images / result.png_name))
    share = ColorVideoVdp().visible(*pair).clamp(0.0, 3.0).mul(85).round().div(85).numpy()
    assert 0.1 < share.max() < 1.0
    open_image(browser)
    assert not find(browser, "#legend").is_displayed()
    look_at(browser, "visible")
    grey = 64 + after.mean(axis=2) / 2
    pink = np.array((255, 0, 128))
    expected = (1 - share[..., None]) * grey[..., None] + share[..., None] * pink
    assert np.abs(shown(browser) - expected).max() <= 1
    assert find(browser, "#legend").text.endswith("3 JOD or more")
    ramp = shown(browser, "ramp")[0]
    for place, colour in ((0, (128, 128, 128)), (85, (255, 0, 128)), (255, (255, 240, 0))):
        np.testing.assert_array_equal(ramp[place], colour)
    jod = next(r.jod for r in known(run, [result])[0])
    assert f"{jod:.2f}" in find(browser, "#facts").text
    look_at(browser, "original")
    assert not find(browser, "#legend").is_displayed()


def test_without_the_packages_it_is_the_jnd(chromium, run, tmp_path, without):
    """The box, too."""
    result, before, after = pixels_of(run, LARGE)
    threshold = 0.38 * JND_MODELS["liu2010"](read_image(result.path).pixels).numpy()
    browser = chromium
    browser.open(iqattack.report(run, tmp_path / "page"))
    open_image(browser)
    look_at(browser, "box")
    limit = np.floor(threshold).clip(max=255)
    expected = np.floor(255 * limit / limit.max() + 0.5)
    np.testing.assert_array_equal(shown(browser), np.repeat(expected[..., None], 3, axis=2))
    assert f"white {limit.max():.0f}." in find(browser, "#says").text

    look_at(browser, "visible")
    assert find(browser, "input[value=visible]").accessible_name == "Over the JND"
    pink = (shown(browser) == (255, 0, 128)).all(axis=2)
    over = np.abs(after - before).max(axis=2) > threshold
    assert 0.0 < over.mean() < 1.0
    np.testing.assert_array_equal(pink, over)
    assert over.mean() == result.jnd_violation
    assert find(browser, "#says").text.startswith(f"{percent(over.mean())} of the pixels")


def test_slider_shows_the_original_left_and_the_attacked_right(browser, run):
    _, before, after = pixels_of(run, LARGE)
    open_image(browser)
    choose(browser, "zoom", "1")
    slide = find(browser, "#slide")
    assert slide.accessible_name.startswith("Line between original and attacked")
    box = slide.rect
    assert (box["width"], box["height"]) == (224, 224)
    for at in (25, 75):  # dragged to a quarter, to three quarters
        ActionChains(browser.driver).move_to_element_with_offset(
            slide, round(224 * (at - 50) / 100), 0
        ).click().perform()
        browser.settle()
        edge = 224 * int(slide.get_property("value")) / 100
        assert abs(edge - 224 * at / 100) < 12
        seen = Image.open(BytesIO(find(browser, "#stage").screenshot_as_png)).convert("RGB")
        seen = np.asarray(seen).astype(int)
        left, right = int(edge) - 3, int(edge) + 4  # of the line itself
        np.testing.assert_array_equal(seen[:, :left], before[:, :left])
        np.testing.assert_array_equal(seen[:, right:], after[:, right:])
    value = int(slide.get_property("value"))
    slide.send_keys(Keys.ARROW_LEFT)  # moves the line, not on to another image
    assert int(slide.get_property("value")) == value - 1
    assert find(browser, "#image-name").text == LARGE


def test_flicker_swaps_both_and_nothing_moves_by_itself(browser, run):
    _, before, after = pixels_of(run, LARGE)
    open_image(browser)
    for expected in (after, before, after):
        press(browser, "f")
        np.testing.assert_array_equal(shown(browser), expected)
    find(browser, "#flicker").click()
    np.testing.assert_array_equal(shown(browser), before)
    assert browser.js("return document.getAnimations().length") == 0


def test_keyboard_alone_is_enough(browser):
    choose(browser, "sort", "name")
    find(browser, "input[type=search]").click()
    press(browser, Keys.TAB)
    card = browser.driver.switch_to.active_element
    press(browser, Keys.ENTER)
    order = names(browser)
    wait_for(browser, order[0])
    assert not find(browser, "#previous").is_enabled()
    for name in order[1:]:
        press(browser, Keys.ARROW_RIGHT)
        wait_for(browser, name)
    assert not find(browser, "#next").is_enabled()
    find(browser, "#previous").send_keys(Keys.ENTER)
    wait_for(browser, order[-2])
    find(browser, "#next").send_keys(Keys.ENTER)  # which disables it, focus and all
    wait_for(browser, order[-1])
    press(browser, Keys.ARROW_LEFT)
    wait_for(browser, order[-2])
    for _ in range(30):  # the focus goes round within the dialog
        press(browser, Keys.TAB)
        assert browser.js(
            "const e = document.activeElement;"
            "return e === document.body || document.getElementById('viewer').contains(e)"
        )
    press(browser, Keys.ESCAPE)
    assert not find(browser, "#viewer").is_displayed()
    assert browser.driver.switch_to.active_element == card


def test_trace_tells_where_the_gain_improved(browser, run):
    result, *_ = pixels_of(run, LARGE)
    open_image(browser)
    scored, best, improved = browser.js(
        "return document.getElementById('trace').data.map(t => [t.x, t.y])"
    )
    assert scored[0] == list(range(1, result.queries + 1))
    assert max(scored[1]) == best[1][-1] == improved[1][-1] == pytest.approx(result.gain, abs=1e-6)
    times = len(improved[0])
    often = "once," if times == 1 else f"{times} times, last"
    reported = f"The score improved {often} at query {improved[0][-1]} of 12."
    assert reported in find(browser, "#trace-says").text
    rows = browser.js("return document.querySelectorAll('#trace-rows tr').length")
    assert rows == len(improved[0])


def test_trace_marks_the_stages_of_the_attack(chromium, make_run, tmp_path):
    run = make_run(tmp_path, attack="filter-search", queries=60)
    chromium.open(iqattack.report(run))
    open_image(chromium)
    marks = chromium.js(
        "const {shapes, annotations} = document.getElementById('trace').layout;"
        "return [annotations.map(a => [a.x, a.text]), shapes.map(s => s.x0)]"
    )
    (result,) = (result for result in run.results if result.image == LARGE)
    assert marks == [[list(stage) for stage in result.stages], [q for q, _ in result.stages]]
    assert [name for _, name in result.stages][:2] == ["bank", "filter"]
    assert "by their first query: bank 2, filter " in find(chromium, "#trace-says").text
    assert chromium.complaints() == []


def test_image_that_failed_says_why(browser):
    open_image(browser, "5.png")
    assert "is damaged or truncated" in find(browser, "#says").text
    assert "failed: " in find(browser, "#facts").text
    assert not find(browser, "#picture").is_displayed()
    assert not find(browser, "#trace-part").is_displayed()


def test_names_are_text(browser):
    assert browser.js("return document.querySelectorAll('img[src=x], b, main script').length") == 0
    assert '<b>bright</b> & "co"' in find(browser, "h1").text
    open_image(browser, "<img src=x onerror=alert(1)>.png")
    assert browser.js("return document.querySelectorAll('img[src=x]').length") == 0


@pytest.mark.parametrize("dark", [False, True])
def test_axe_finds_nothing_serious(browser, dark):
    browser.dark(dark)
    ground = browser.js("return getComputedStyle(document.body).backgroundColor")
    assert ground == ("rgb(20, 23, 26)" if dark else "rgb(255, 255, 255)")
    assert browser.faults() == []
    browser.js("document.querySelectorAll('details').forEach(d => d.open = true)")
    open_image(browser)
    for view in ("slider", "difference", "visible"):
        look_at(browser, view)
        assert browser.faults() == []


def test_colours_can_be_chosen(browser):
    def look():
        return browser.js(
            "return [getComputedStyle(document.body).backgroundColor,"
            " document.getElementById('chart-scores').layout.font.color]"
        )

    light = look()
    button = find(browser, "#theme")
    assert button.text == "Dark colours"
    button.click()
    browser.settle()
    assert all(a != b for a, b in zip(light, look(), strict=True))
    browser.driver.refresh()
    browser.settle()
    assert find(browser, "#theme").text == "Light colours"  # it is remembered
    find(browser, "#theme").click()
    assert look()[0] == light[0]


def test_fits_a_phone(browser):
    browser.size(390, 844)
    browser.driver.refresh()
    browser.settle()
    assert browser.js("return document.documentElement.scrollWidth") == 390
    open_image(browser)
    dialog = find(browser, "#viewer")
    assert browser.js("return arguments[0].scrollWidth <= arguments[0].clientWidth", dialog)
    assert find(browser, "#stage").rect["width"] <= 390
    assert find(browser, "#close").rect["height"] >= 40


def above(browser, chart="scores"):
    """Names of the images that lie above the dashed line, by their legend."""
    return browser.js(
        f"const g = document.getElementById('chart-{chart}'), {{ yaxis }} = g._fullLayout;"
        "return Object.fromEntries(g.data.filter(t => t.text).map(t => [t.name, t.x.map((x, i) => "
        "yaxis.c2p(t.y[i]) < yaxis.c2p(x))]))"
    )


@pytest.mark.parametrize("lower", [False, True])
def test_what_is_made_to_look_better_is_above_the_line(chromium, tmp_path, lower):
    """Whichever way the scores go: up is better in every chart of scores."""
    photos = tmp_path / "photos"
    photos.mkdir()
    rng = np.random.default_rng(0)
    for k in range(6):
        pixels = rng.integers(20 + 30 * k, 60 + 30 * k, (24, 24, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(photos / f"{k}.png")
    (tmp_path / "mos.csv").write_text("image,mos\n" + "".join(f"{k}.png,{k}\n" for k in range(6)))

    def score(images):
        mean = images.double().mean((1, 2, 3))
        return 255 - mean if lower else mean

    model = iqattack.wrap(score, score_range=(0, 255), lower_better=lower)
    options: dict[str, Any] = {
        "attack": "noise",
        "constraint": "linf:3",
        "queries": 8,
        "mos": tmp_path / "mos.csv",
    }
    run = iqattack.attack(photos, model, out=tmp_path / "run", **options)
    assert {result.direction for result in run.results} == {"up", "down"}
    assert all(result.gain > 0 for result in run.results)
    chromium.size(1280, 900)
    chromium.open(iqattack.report(run))
    found = above(chromium)
    assert found.keys() == {"made to look better", "made to look worse"}
    assert all(found["made to look better"])
    assert not any(found["made to look worse"])
    for chart, title in (("scores", "attacked model score"), ("mos", "model score")):
        axis = chromium.js(
            "const { title, range } = document.getElementById(arguments[0])._fullLayout.yaxis;"
            "return [title.text, range[0] > range[1]]",
            f"chart-{chart}",
        )
        assert axis == [f"{title}<br>(lower is better)" if lower else title, lower]
    best = chromium.js("return document.getElementById('chart-mos')._fullLayout.xaxis.range")
    assert best[0] < best[1]  # of a MOS, higher is better
    open_image(chromium, "5.png")
    facts = find(chromium, "#facts").text
    assert f"({'lower' if lower else 'higher'} is better)" in facts
    assert "of the score range, made to look worse" in facts
    assert chromium.complaints() == []


def test_names_of_cards_are_seen(browser):
    seen = browser.js(
        "return [...document.querySelectorAll('.card')].map(c => {"
        " const name = c.querySelector('.name'), box = c.getBoundingClientRect();"
        " return name.clientHeight >= 16 && c.scrollHeight <= Math.ceil(box.height) })"
    )
    assert len(seen) == 8
    assert all(seen)


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """A page of a portrait of 12 megapixels and a smaller landscape, both with fine stripes."""
    folder = tmp_path_factory.mktemp("large")
    (folder / "photos").mkdir()
    rng = np.random.default_rng(0)
    for name, width, height in (("portrait.png", 3000, 4000), ("landscape.png", 1600, 1200)):
        x, y = np.arange(width), np.arange(height)[:, None]
        stripes = 100.0 * ((x // 2) % 2) + 60.0 * (y % 2) + 40 * np.sin(x / 300) * np.cos(y / 200)
        picture = np.repeat((stripes + 45)[..., None], 3, axis=2) + rng.normal(0, 4, (1, 1, 3))
        Image.fromarray(picture.clip(0, 255).astype(np.uint8)).save(folder / "photos" / name)
    model = iqattack.wrap(
        lambda images: images.float().mean((1, 2, 3)), score_range=(0, 255), lower_better=False
    )
    options: dict[str, Any] = {"attack": "noise", "constraint": "linf:3", "queries": 2}
    with pytest.MonkeyPatch.context() as patched:  # JOD of 12 megapixels takes half a minute
        patched.setattr(Meter, "_made", lambda meter, kind: None)
        run = iqattack.attack(folder / "photos", model, out=folder / "run", **options)
        return iqattack.report(run)


@pytest.mark.parametrize(("width", "height"), [(1280, 900), (390, 844), (844, 390)])
@pytest.mark.parametrize("device", [1, 2])
def test_large_pictures_fit_and_are_shrunk_smoothly(chromium, large, width, height, device):
    """As Pillow shrinks them with a triangle, and without the stripes of taking single pixels."""
    photos = large.parents[2] / "photos"
    metrics = {"width": width, "height": height, "deviceScaleFactor": device, "mobile": False}
    chromium.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    chromium.open(large)
    for name, wide, high in (("portrait.png", 3000, 4000), ("landscape.png", 1600, 1200)):
        if device == 2 and name == "landscape.png":
            continue
        open_image(chromium, name)
        look_at(chromium, "original")
        pane, stage = (
            chromium.js("return document.querySelector(arguments[0]).getBoundingClientRect()", part)
            for part in (".pane", "#stage")
        )
        most = 0.65 * height
        assert stage["width"] <= pane["width"]
        assert stage["height"] <= most + 0.5
        filled = max(stage["width"] / pane["width"], stage["height"] / most)
        assert filled > 0.98  # of the side that is short of room
        assert stage["width"] / stage["height"] == pytest.approx(wide / high, rel=0.01)
        assert chromium.js(
            "const p = document.querySelector('.pane');"
            "return p.scrollHeight <= p.clientHeight + 1 && p.scrollWidth <= p.clientWidth + 1"
        )
        seen = shown(chromium)
        size = (seen.shape[1], seen.shape[0])
        assert size == (round(device * stage["width"]), round(device * stage["height"]))
        with Image.open(photos / name) as picture:
            ours, lanczos, nearest = (
                np.asarray(picture.resize(size, how)).astype(int)
                for how in (
                    Image.Resampling.BILINEAR,
                    Image.Resampling.LANCZOS,
                    Image.Resampling.NEAREST,
                )
            )
        assert np.abs(seen - ours).max() <= 1
        assert np.abs(seen - lanczos).mean() < 5.0
        assert np.abs(nearest - lanczos).mean() > 20.0  # what it was
        assert "Shrunk: each point is a mean of several pixels" in find(chromium, "#says").text
        if (device, width) == (1, 1280):  # and so on the screen: a pixel for each point
            screen = Image.open(BytesIO(find(chromium, "#stage").screenshot_as_png)).convert("RGB")
            middle = np.asarray(screen.resize(size)).astype(int)[20:-20, 20:-20]
            assert np.abs(middle - seen[20:-20, 20:-20]).mean() < 4.0
        press(chromium, Keys.ESCAPE)
    assert chromium.complaints() == []


def test_every_pixel_is_there_at_full_size_and_enlarged(chromium, large):
    chromium.size(1280, 900)
    chromium.open(large)
    open_image(chromium, "landscape.png")
    look_at(chromium, "original")
    with Image.open(large.parents[2] / "photos" / "landscape.png") as picture:
        pixels = np.asarray(picture).astype(int)
    for zoom in (1, 2):
        choose(chromium, "zoom", str(zoom))
        np.testing.assert_array_equal(shown(chromium), pixels)
        box = find(chromium, "#stage").rect
        assert (box["width"], box["height"]) == (1600 * zoom, 1200 * zoom)
        assert "Shrunk" not in find(chromium, "#says").text
    assert (
        chromium.js("return getComputedStyle(document.getElementById('under')).imageRendering")
        == "pixelated"
    )
    choose(chromium, "zoom", "fit")
    narrow = find(chromium, "#stage").rect["width"]
    chromium.size(900, 900)  # it follows the window
    chromium.settle()
    assert find(chromium, "#stage").rect["width"] < narrow


def points_of(browser, chart):
    """How many points there are in the chart, by the label of their trace."""
    return browser.js(
        f"return Object.fromEntries(document.getElementById('chart-{chart}').data"
        ".map(t => [t.name, t.x.length]))"
    )


def test_an_image_that_was_not_changed_is_not_called_made_to_look_worse(browser, run):
    results = {result.image: result for result in run.results if not result.failed}
    assert results["3.png"].status == "unchanged"
    for chart in ("scores", "ssim"):
        points = points_of(browser, chart)
        assert points["unchanged"] == 1
        assert points["made to look better"] + points["made to look worse"] == 6
    cells = browser.js(
        "return [...document.querySelectorAll('#values tbody tr')].map("
        "row => [...row.children].map(cell => cell.textContent))"
    )
    looks = {row[0]: row[1] for row in cells}
    assert looks["3.png"] == "–"
    assert sorted(looks.values()).count("–") == 2  # the other one failed
    open_image(browser, "3.png")
    facts = find(browser, "#facts").text
    way = "better" if results["3.png"].direction == "up" else "worse"
    assert f"of the score range, unchanged: was to look {way}" in facts


def test_small_shares_have_digits(browser):
    said = {
        value: browser.js(f"return iqattack.percent({value})")
        for value in (0.0, 4.2e-5, -4.2e-5, 0.0123, 0.5)
    }
    assert list(said.values()) == ["0.0 %", "0.0042 %", "−0.0042 %", "1.2 %", "50.0 %"]


def test_a_model_that_nothing_moves(chromium, make_run, tmp_path, monkeypatch):
    """The axis of SSIM ends at 1, and half of nothing is not reached by query 1."""
    model = iqattack.wrap(
        lambda images: 0 * images.double().mean((1, 2, 3)) + 50,
        score_range=(0, 100),
        lower_better=False,
    )
    made = make_run(tmp_path)
    options: dict[str, Any] = {"attack": "noise", "constraint": "linf:3", "queries": 6}
    run = iqattack.attack(
        Path(made.results[0].path).parent, model, out=tmp_path / "constant", **options
    )
    chromium.open(iqattack.report(run))
    low, high = chromium.js("return document.getElementById('chart-ssim')._fullLayout.xaxis.range")
    assert 0.9 < low < 1.0 < high < 1.01
    reported = find(chromium, "main").text
    assert "After 6 queries at least half of the images had gained nothing." in reported
    assert "half of that was reached" not in reported
    assert chromium.complaints() == []


@pytest.fixture(scope="module")
def striped(tmp_path_factory):
    """A page of a picture whose pixels were brightened and darkened by turns; noise hides some."""
    folder = tmp_path_factory.mktemp("striped")
    (folder / "photos").mkdir()
    x, y = np.arange(2400), np.arange(1800)[:, None]
    grey = 120 + 8 * np.sin(x / 40) * np.cos(y / 30)
    noise = np.random.default_rng(0).normal(0, 30, grey.shape).clip(-90, 90)
    grey = (grey + noise * (x > 600)).astype(np.uint8)
    Image.fromarray(np.repeat(grey[..., None], 3, axis=2)).save(folder / "photos" / "a.png")
    (folder / "turns.py").write_text(
        "import torch\n"
        "def turns(task):\n"
        "    'Plus and minus three by turns.'\n"
        "    h, w = task.image.shape[-2:]\n"
        "    sign = 1 - 2 * ((torch.arange(h)[:, None] + torch.arange(w)) % 2)\n"
        "    yield (task.image + 3.0 * sign)[None]\n"
    )
    model = iqattack.wrap(
        lambda images: (images[..., ::2, ::2].double() - images[..., ::2, 1::2].double()).mean(
            (1, 2, 3)
        ),
        score_range=(-255, 255),
        lower_better=False,
    )
    attack = f"{folder / 'turns.py'}:turns"
    options: dict[str, Any] = {
        "attack": attack,
        "constraint": "linf:3",
        "queries": 2,
        "objective": "up",
    }
    with pytest.MonkeyPatch.context() as patched:  # it is to show the JND
        patched.setattr(Meter, "_made", lambda meter, kind: None)
        run = iqattack.attack(folder / "photos", model, out=folder / "run", **options)
        return run, iqattack.report(run)


def test_the_difference_of_a_shrunk_picture_does_not_cancel(chromium, striped):
    run, page = striped
    result, before, after = pixels_of(run, "a.png")
    change = after - before
    assert set(np.unique(change)) == {-3, 3}
    chromium.size(1280, 900)
    chromium.open(page)
    open_image(chromium, "a.png")
    choose(chromium, "zoom", "fit")
    look_at(chromium, "difference")
    choose(chromium, "factor", "16")
    seen = shown(chromium)
    assert seen.shape[1] < 2400 / 2
    assert set(np.unique(seen)) <= {128 - 48, 128 + 48}
    assert "each point shows the largest change of its pixels" in find(chromium, "#says").text
    look_at(chromium, "visible")
    pink = (shown(chromium) == (255, 0, 128)).all(axis=2)
    height, width = pink.shape
    limit = 0.38 * JND_MODELS["liu2010"](read_image(result.path).pixels).numpy()
    over = np.abs(change).max(axis=2) > limit
    assert 0 < over.mean() < 0.9
    expected = np.zeros_like(pink)
    rows, columns = np.nonzero(over)
    expected[rows * height // 1800, columns * width // 2400] = True
    np.testing.assert_array_equal(pink, expected)
    assert "a point is pink if any of its pixels is" in find(chromium, "#says").text
    look_at(chromium, "original")
    assert "each point is a mean of several pixels" in find(chromium, "#says").text
