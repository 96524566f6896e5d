"""The instrument Draw: what is exported is the network, and the page draws what PyTorch draws."""

import base64
import copy
import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from offline import open_offline

import ganlib
from ganlib.networks import ConditionalMLPGenerator, Noise
from ganlib.sampling import generate

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "laboratory"))
import draw  # noqa: E402

NETWORKS = {
    "two shared layers": ("normal", (5, 7)),
    "one shared layer": ("uniform", (9,)),
    "none": ("normal", ()),
}


def small(name):
    distribution, hidden = NETWORKS[name]
    torch.manual_seed(0)
    return ConditionalMLPGenerator(
        Noise(6, distribution), (1, 4, 3), 3, units_z=8, units_y=5, hidden=hidden, init=1.0
    )


def pixels(G, z, y):
    """(N, height × width) in float64."""
    return generate(copy.deepcopy(G).double(), z.double(), y).flatten(1)


def by_hand(layers, z, y):
    """What the page computes, in NumPy: (weight, bias) of each layer, biases by class or not."""
    x = np.asarray(z, float)
    for n, (weight, bias) in enumerate(layers):
        x = (np.maximum(x, 0) if n else x) @ weight + (bias[y] if bias.ndim == 2 else bias)
    return 1 / (1 + np.exp(-x))


@pytest.fixture(scope="module")
def G():
    return ganlib.pretrained("cgan-mnist")


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    folder = tmp_path_factory.mktemp("exported")
    draw.export(folder)
    return folder


@pytest.fixture(scope="module")
def network(exported):
    script = (exported / "draw-network.js").read_text("ascii")
    start = "document.currentScript.network = "
    assert script.startswith(start)
    return json.loads(script.removeprefix(start).removesuffix(";\n"))


def numbers(text, dtype):
    return np.frombuffer(base64.b64decode(text), dtype).astype(float)


@pytest.mark.parametrize("name", NETWORKS)
def test_with_the_class_folded_in_it_is_the_same_network(name):
    G = small(name)
    layers = [(weight.T.numpy(), bias.numpy()) for weight, bias in draw.folded(G)]
    z, y = G.noise(30, seed=1), torch.arange(30) % 3
    torch.testing.assert_close(
        torch.from_numpy(by_hand(layers, z.double(), y)), pixels(G, z, y), rtol=0, atol=1e-10
    )
    assert layers[1][1].shape[0] == G.classes


def test_what_is_exported_is_the_shipped_generator(G, network):
    widths = [G.noise.dim, G.of_z[0].out_features, *G.config["hidden"]]
    assert [layer["outputs"] for layer in network["layers"]] == [*widths[1:], 784]
    layers = []
    for n, (layer, width) in enumerate(zip(network["layers"], widths, strict=True)):
        weight, bias = numbers(layer["weight"], "<f2"), numbers(layer["bias"], "<f4")
        assert (weight.size, bias.size) == (
            width * layer["outputs"],
            layer["outputs"] * (G.classes if n == 1 else 1),
        )
        rows = (-1, layer["outputs"])
        layers.append((weight.reshape(rows), bias.reshape(rows) if n == 1 else bias))
    for (weight, _), (full, _) in zip(layers, draw.folded(G), strict=True):
        assert (weight == full.T.numpy()).all()  # float16 is what the package ships
    z, y = G.noise(100, seed=2), torch.arange(100) % 10
    wrong = np.abs(by_hand(layers, z.double(), y) - pixels(G, z, y).numpy())
    assert wrong.max() < 1e-6
    assert network["noise"] == {"dim": G.noise.dim, "distribution": G.noise.distribution}
    assert (network["height"], network["width"], network["classes"]) == (28, 28, 10)


def test_the_sheet_shows_ten_of_each_class(exported):
    with (exported / "draw.png").open("rb") as file:
        sheet = ganlib.plotting.plt.imread(file)
    assert sheet[..., :3].min() == 0
    assert sheet[..., :3].max() == 1
    assert min(sheet.shape[:2]) > 10 * 56


def test_along_the_exported_directions_the_picture_changes_most(G, network):
    """Measured by small steps of z, at z that the directions were not computed from."""
    leading = np.stack([numbers(text, "<f4") for text in network["directions"]])
    np.testing.assert_allclose(leading @ leading.T, np.eye(len(leading)), atol=1e-6)
    z, y = G.noise(100, seed=7).double(), torch.arange(100) % 10
    size = 1e-4

    def change(direction):
        step = size * torch.from_numpy(direction)
        return ((pixels(G, z + step, y) - pixels(G, z - step, y)) / (2 * size)).square().sum()

    along = [change(direction) for direction in leading]
    total = sum(change(direction) for direction in np.eye(G.noise.dim))
    shares = torch.stack(along) / total
    torch.testing.assert_close(
        shares, torch.tensor(network["shares"]).double(), rtol=0.25, atol=0.005
    )
    assert shares.min() > 2 / G.noise.dim
    assert network["shares"] == sorted(network["shares"], reverse=True)


def test_what_cannot_be_exported_is_refused():
    colour = ConditionalMLPGenerator(Noise(4), (3, 2, 2), 2, 3, 3, (3,))
    with pytest.raises(ValueError, match="shape \\(1, height, width\\), got \\(3, 2, 2\\)"):
        draw.described(colour)
    large = small("one shared layer")
    torch.nn.init.constant_(large.last.weight, 1e5)
    with pytest.raises(ValueError, match="does not fit into <f2: up to 1e\\+05"):
        draw.described(large)


# The page. Below, a "page" is one on which the instrument is loaded.


@pytest.fixture(params=[(1280, "light"), (390, "dark")], ids=["desktop", "phone"])
def page(book, browser, request):
    width, scheme = request.param
    size = {"width": width, "height": 800}
    path = book / "chapters" / "laboratory.html"
    page = open_offline(browser, path, viewport=size, color_scheme=scheme, has_touch=width < 600)
    page.locator(".draw").scroll_into_view_if_needed()
    page.wait_for_selector(".draw-picture")
    yield page
    assert page.wrong == []
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    page.context.close()


def alone(browser, folder, exported, network=None):
    """The instrument on a page of its own, with another network, or with none to load."""
    beside = folder / "_static" / "laboratory"
    beside.mkdir(parents=True)
    shutil.copy(ROOT / "laboratory" / "draw.js", beside)
    shutil.copy(exported / "draw.png", beside)
    if network:
        script = f"document.currentScript.network = {json.dumps(network)}"
        (beside / "draw-network.js").write_text(script)
    html = (ROOT / "laboratory" / "draw.html").read_text("utf-8")
    script = '<meta charset="utf-8"><script src="../_static/laboratory/draw.js" defer></script>'
    (folder / "chapters").mkdir()
    (folder / "chapters" / "draw.html").write_text(f"<!doctype html>{script}{html}", "utf-8")
    page = open_offline(browser, folder / "chapters" / "draw.html")
    page.locator(".draw").scroll_into_view_if_needed()
    return page


def drawn(page, z, y):
    """What the page's G makes of z and y, as numbers."""
    run = """([z, y]) => z.map((z, i) =>
        Array.from(document.querySelector(".draw").G(Float64Array.from(z), y[i])))"""
    return torch.tensor(page.evaluate(run, [z.tolist(), y.tolist()]), dtype=torch.float64)


def picture(page, canvas=".draw-picture"):
    """The grey values that a canvas shows."""
    run = """canvas => Array.from(canvas.getContext("2d")
        .getImageData(0, 0, canvas.width, canvas.height).data).filter((_, i) => i % 4 === 0)"""
    return page.locator(canvas).evaluate(run)


def shown_z(page):
    values = page.locator(".draw").evaluate("root => Array.from(root.z)")
    return torch.tensor(values, dtype=torch.float64)


def caption(page):
    return page.locator(".draw figcaption").text_content()


def test_every_pixel_is_what_pytorch_draws(page, G):
    z = G.noise(3, seed=11).repeat_interleave(10, 0)
    y = torch.arange(10).repeat(3)
    assert (drawn(page, z, y) - pixels(G, z, y)).abs().max() < 1e-6
    page.locator(".draw").get_by_role("radio", name="4").check()
    exact = 255 * pixels(G, shown_z(page)[None], torch.tensor([4]))[0]
    assert (torch.tensor(picture(page)) - exact).abs().max() <= 0.5 + 1e-3


@pytest.mark.parametrize("name", NETWORKS)
def test_the_page_follows_the_structure_of_the_network(browser, tmp_path, exported, name):
    """Other widths, depths, classes and noise; z is standardised, and walks are ganlib's."""
    G = small(name)
    G.load_state_dict({key: value.half().float() for key, value in G.state_dict().items()})
    page = alone(browser, tmp_path, exported, draw.described(G))
    page.wait_for_selector(".draw-picture")
    assert page.locator(".draw").get_by_role("radio").count() == 3
    z, y = G.noise(30, seed=1), torch.arange(30) % 3
    assert (drawn(page, z, y) - pixels(G, z, y)).abs().max() < 1e-6
    run = """() => { const { noise } = document.querySelector(".draw");
        return Array.from({ length: 2000 }, (_, seed) => Array.from(noise(seed))); }"""
    draws = np.array(page.evaluate(run))
    assert (draws == np.array(page.evaluate(run))).all()
    assert np.abs(draws.mean(0)).max() < 5 / np.sqrt(2000)
    np.testing.assert_allclose(draws.T @ draws / 2000, np.eye(6), atol=0.16)
    uniform = G.noise.distribution == "uniform"
    assert (np.abs(draws).max() < np.sqrt(3)) == uniform
    run = """([a, b]) => Array.from({ length: 5 }, (_, k) =>
        Array.from(document.querySelector(".draw").walk(
            Float64Array.from(a), Float64Array.from(b), k / 4)))"""
    way = torch.tensor(page.evaluate(run, z[:2].tolist()), dtype=torch.float64)
    expected = ganlib.walk(*z[:2].double(), 5, spherical=not uniform)
    torch.testing.assert_close(way, expected, rtol=0, atol=1e-12)
    note = page.locator(".draw-note").text_content()
    assert ("straight line" if uniform else "an arc") in note
    assert page.wrong == []
    page.close()


def test_a_class_is_chosen_by_its_picture(page):
    before = picture(page)
    label = page.locator(".draw-digits label").nth(7)
    label.tap() if page.viewport_size["width"] < 600 else label.click()
    assert page.locator(".draw").get_by_role("radio", name="7").is_checked()
    assert page.locator(".draw").get_by_role("radio", checked=True).count() == 1
    assert picture(page) != before
    assert picture(page) == picture(page, ".draw-digits label:nth-child(8) canvas")
    assert page.get_by_role("img", name="The generator's picture of a handwritten 7").is_visible()
    assert caption(page).startswith("Class 7, the z of seed 0. Ink on ")
    assert page.locator(".draw").get_by_role("status").text_content() == caption(page)


def test_a_seed_brings_its_z_back(page):
    first, z = picture(page), shown_z(page)
    page.get_by_role("button", name="New z").click()
    assert page.get_by_label("Seed of z").input_value() == "1"
    assert caption(page).startswith("Class 0, the z of seed 1.")
    assert picture(page) != first
    for text in ("1.5", "-1", "4294967296", ""):
        page.get_by_label("Seed of z").fill(text)
        page.get_by_role("button", name="Set", exact=True).click()
        assert caption(page).startswith("Class 0, the z of seed 1.")
        assert page.locator("[name=seed]:invalid").count() == 1
    page.get_by_label("Seed of z").fill("0")
    page.get_by_role("button", name="Set", exact=True).click()
    assert picture(page) == first
    assert torch.equal(shown_z(page), z)


def test_a_slider_moves_z_along_its_direction_alone(page, network):
    leading = torch.tensor(np.stack([numbers(text, "<f4") for text in network["directions"]]))
    z = shown_z(page)
    slider = page.get_by_role("slider", name="Direction 2")
    assert float(slider.input_value()) == pytest.approx((z @ leading[1]).item(), abs=0.025 + 1e-6)
    slider.fill("2.5")
    moved = shown_z(page)
    torch.testing.assert_close(leading @ moved, (leading @ z).index_fill(0, torch.tensor(1), 2.5))
    torch.testing.assert_close(moved - z, (2.5 - z @ leading[1]) * leading[1])
    assert slider.get_attribute("aria-valuetext") == "2.50"
    assert caption(page).startswith("Class 0, the z of seed 0, moved.")
    share = f"{100 * network['shares'][1]:.0f} % of the change"
    assert page.get_by_role("slider", name=share).count() >= 1


def test_a_walk_begins_and_ends_at_the_saved_points(page, G):
    ends = {}
    for name, seed in (("A", "4"), ("B", "9")):
        page.get_by_label("Seed of z").fill(seed)
        page.get_by_role("button", name="Set", exact=True).click()
        page.get_by_role("button", name=f"Save as {name}").click()
        ends[name] = picture(page), shown_z(page)
        assert picture(page, f"[data-point={name}]") == ends[name][0]
    way = page.get_by_role("slider", name="From A to B")
    assert way.get_attribute("aria-valuetext") == "t = 1.00"
    way.fill("0.5")
    spherical = G.noise.distribution == "normal"
    middle = ganlib.walk(ends["A"][1], ends["B"][1], 3, spherical=spherical)[1]
    torch.testing.assert_close(shown_z(page), middle, rtol=0, atol=1e-12)
    assert caption(page).startswith("Class 0, the z at t = 0.50 from A to B.")
    assert picture(page) not in (ends["A"][0], ends["B"][0])
    for end, name in (("0", "A"), ("1", "B")):
        way.fill(end)
        assert picture(page) == ends[name][0]
        assert torch.equal(shown_z(page), ends[name][1])
    page.get_by_role("button", name="New z").click()
    assert way.get_attribute("aria-valuetext") == "z is not on the way"


def test_on_a_phone_the_picture_stays_in_sight(page):
    if page.viewport_size["width"] > 600:
        pytest.skip("beside the picture there is room for the controls")
    page.get_by_role("button", name="Save as B").focus()
    for _ in range(9):  # backwards to the seed
        page.keyboard.press("Shift+Tab")
        picture = page.locator(".draw-picture").bounding_box()
        top = page.evaluate("document.activeElement.getBoundingClientRect().top")
        assert 0 < picture["y"] < 100
        assert top > picture["y"] + picture["height"]
    assert page.evaluate("document.activeElement.name") == "seed"


def test_all_of_it_works_by_keyboard(page):
    page.locator(".draw").get_by_role("radio", name="0").focus()
    press = page.keyboard.press
    press("ArrowRight")
    press("ArrowRight")
    assert caption(page).startswith("Class 2, the z of seed 0.")
    press("Tab")  # the seed
    page.keyboard.type("5")
    press("Enter")
    assert caption(page).startswith("Class 2, the z of seed 5.")
    press("Tab")
    press("Tab")  # New z
    press("Enter")
    press("Space")
    assert caption(page).startswith("Class 2, the z of seed 7.")
    press("Tab")  # the first direction
    press("End")
    press("ArrowLeft")
    assert page.get_by_role("slider", name="Direction 1").get_attribute("aria-valuetext") == "2.95"
    for _ in range(4):
        press("Tab")
    press("Space")
    assert caption(page).startswith("Class 2, the z saved as A.")
    press("Tab")  # the way
    press("End")
    assert caption(page).startswith("Class 2, the z at t = 1.00 from A to B.")
    press("Tab")
    press("Enter")
    assert caption(page).startswith("Class 2, the z saved as B.")


def test_only_this_page_loads_the_instrument_and_the_network_comes_later(book):
    loads = [path.name for path in book.rglob("*.html") if "laboratory/draw.js" in path.read_text()]
    assert loads == ["laboratory.html"]
    assert "draw-network" not in (book / "chapters" / "laboratory.html").read_text()


def test_without_javascript_there_is_a_sheet(book, browser):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto((book / "chapters" / "laboratory.html").as_uri())
    sheet = page.get_by_role("img", name="Ten rows of ten generated handwritten digits")
    assert sheet.bounding_box()["height"] > 400  # a missing picture would be as high as its text
    assert page.locator(".draw").get_by_role("button").count() == 0
    context.close()


def test_where_the_network_is_missing_the_page_says_so_and_the_sheet_stays(
    browser, tmp_path, exported
):
    page = alone(browser, tmp_path, exported)
    page.get_by_text("The generator could not be loaded.").wait_for()
    assert page.locator(".draw-sheet").is_visible()
    page.close()
