"""A report in a real browser, headless Chromium, at the width of a desktop and of a phone."""

import html
import json
import re
import shutil
import subprocess
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest
import torch
from torch import nn

from zoo.analysis.calibration import reliability
from zoo.data.preprocess import Preprocess
from zoo.data.splits import InMemory
from zoo.report import gallery, page
from zoo.report.content import Report
from zoo.training.class_statistics import per_class

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed"),
]

# Show the report in a frame of a given width, and measure it there. Chromium's own windows are not narrower than 500
# pixels.
MEASURE = """<!DOCTYPE html><body><iframe id=f style="border:0;width:WIDTHpx;height:3000px"></iframe><script>
f.onload = () => {
  const page = f.contentDocument, root = page.documentElement
  const outside = [...page.querySelectorAll('body *')].filter(e => {
    if (e.closest('.wide, pre, svg') && !e.matches('.wide, pre, svg')) return false
    const box = e.getBoundingClientRect()
    return box.width && (box.right > root.clientWidth + 1 || box.left < -1)
  })
  document.body.dataset.found = JSON.stringify({
    width: root.clientWidth,
    scrolled: root.scrollWidth,
    outside: outside.map(e => e.outerHTML.slice(0, 80)),
    images: [...page.images].map(i => i.complete && i.naturalWidth > 0),
    columns: getComputedStyle(page.querySelector('.gallery')).gridTemplateColumns.split(' ').length,
    font: getComputedStyle(page.body).fontFamily,
    height: root.scrollHeight,
  })
}
f.src = 'report.html'
</script></body>"""


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The folder of a report with long names and many classes, its address, and the paths that were asked for."""
    folder = tmp_path_factory.mktemp("site")
    generator = torch.Generator().manual_seed(0)
    classes = [f"a-rather-long-name-of-class-{k}" for k in range(20)]
    x = torch.randint(256, (200, 3, 64, 64), generator=generator, dtype=torch.uint8)
    y = torch.randint(20, (200,), generator=generator)
    predicted = torch.where(torch.rand(200, generator=generator) < 0.7, y, (y + 1) % 20)
    p = torch.rand(200, generator=generator).clamp(min=0.1)
    net = nn.Sequential(nn.Conv2d(3, 20, 8, 8), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    predictions = torch.stack([p, predicted.float(), y.float()], dim=1)
    shown = gallery.show(predictions, InMemory(x, y), net=net, preprocess=Preprocess((3, 64, 64)), classes=classes)
    confusion = torch.zeros(20, 20, dtype=torch.int64)
    confusion.index_put_((y, predicted), torch.tensor(1), accumulate=True)
    report = Report(
        "net",
        "the test split of photographs_with_a_very_long_name_that_has_no_space_at_all_to_break_the_line, 200 examples",
        "test",
        {"test/accuracy": 0.7, "test/f1": 0.7, "test/calibration_error": 0.1, "test/loss_uncalibrated": 0.123456},
        statistics=per_class(confusion.tolist(), classes),
        classes=classes,
        confusion=confusion.tolist(),
        commands={"train it": "zoo train " + "model.net.hidden=[1,2,3] " * 20},
        config="key: " + "value" * 100,
        facts={"commit": "0123456789abcdef" * 10},
        **shown._asdict(),
    )
    assert shown.bins == reliability(p, predicted == y)
    page.write(report, folder / "report.html")
    asked: list[str] = []

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, *arguments):
            asked.append(self.path)

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield folder, f"http://127.0.0.1:{server.server_port}", asked
    server.shutdown()
    server.server_close()


def chromium(profile, *words: str) -> str:
    """What Chromium prints; `profile`: an empty folder, so that it knows no page of another test."""
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
    command += [f"--user-data-dir={profile}", *words]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=120).stdout


@pytest.mark.parametrize(("width", "columns"), [(1280, 3), (390, 1)])
def test_the_page_fits_its_window_and_shows_all_images(width, columns, site, tmp_path):
    folder, address, asked = site
    asked.clear()
    (folder / "measure.html").write_text(MEASURE.replace("WIDTH", str(width)))
    words = ["--window-size=1400,3000", "--virtual-time-budget=10000", "--dump-dom", f"{address}/measure.html"]
    answer = re.search(r'data-found="([^"]*)"', chromium(tmp_path / "profile", *words))
    found = json.loads(html.unescape(answer[1]))
    assert found["width"] == width
    # Nothing sticks out, apart from the content of parts that scroll by themselves.
    assert found["scrolled"] <= width
    assert found["outside"] == []
    assert found["columns"] == columns
    # The style sheet applies, and the images are drawn; those far below are loaded later.
    assert "system-ui" in found["font"]
    assert len(found["images"]) == 36
    assert sum(found["images"]) >= 3
    assert set(asked) <= {"/measure.html", "/report.html", "/favicon.ico"}


def test_the_page_opens_from_disk(site, tmp_path):
    from PIL import Image

    folder, _, _ = site
    screenshot = tmp_path / "page.png"
    words = ["--window-size=1280,2400", f"--screenshot={screenshot}", (folder / "report.html").as_uri()]
    chromium(tmp_path / "profile", *words)
    with Image.open(screenshot) as image:
        assert image.size == (1280, 2400)
        colors = image.convert("RGB").getcolors(maxcolors=2**24)
    # The colors of the page, of the shaded mistakes and of the images.
    assert len(colors) > 1000
    assert {(245, 246, 249), (255, 255, 255)} <= {color for _, color in colors}
