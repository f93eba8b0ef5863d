"""The page of an adaptation: whole, offline, below 12 MB, and alive in a browser."""

from __future__ import annotations

import base64
import copy
import csv
import gzip
import io
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import browser
from halves_of_a_study import SIDECAR, activity, measured
from tgdpet.io.files import sha256
from tgdpet.io.nifti import Image, suv_factor
from tgdpet.networks.weights import Card
from tgdpet.report import adaptation_page
from tgdpet.report.adaptation_page import Adaptation
from tgdpet.training.bit_comparison import compare
from training_cases import network

NIIVUE_0_69_0 = "47b896b77ec4a5be3ef1949c33ad393b6f45629921f326c279000bcf51bdb4af"
SETTINGS = {"method": "tgd", "phi": 0.4, "epochs": 2, "patch": 16, "loss": "mse"}
ORIGIN = {"seed": 3, "device": "cpu, 1 thread(s)", "software": {"tgdpet": "0.1.0"}}


def adaptation(folder: Path, image: Image, **more: Any) -> Adaptation:
    """One of an image, by networks that differ in two kernels."""
    log = folder / "log.csv"
    log.write_text("step,loss\n10,0.5\n20,0.3\n30,0.2\n")

    before = network()
    after = copy.deepcopy(before)
    with torch.no_grad():
        after.blocks[1].conv.weight[:2] += 1

    values: dict[str, Any] = {
        "image": image,
        "before": 0.9 * image.data,
        "after": 0.8 * image.data,
        "label": "scan<1>.nii.gz",
        "base": Card("v2-net", 0.0625, 9000.0),
        "card": Card("v2-net-adapted", 0.0625, 9000.0, ["v2-net"], settings=SETTINGS),
        "numbers": {"provenance": ORIGIN},
        "log": log,
        "comparison": compare(before, after, {"blocks.1.conv": [0, 1]}),
        "seconds": 12.0,
    }
    return Adaptation(**{**values, **more})


def shown(page: str) -> dict[str, Any]:
    """What the viewer is given."""
    (content,) = re.findall(r'<script id="shown" type="application/json">(.*?)</script>', page)
    return json.loads(content)


def text(page: str) -> str:
    """The page without its scripts."""
    return re.sub(r"<script.*?</script>", "", page, flags=re.S)


@pytest.fixture
def image() -> Image:
    return measured(activity(), seed=1)


def test_the_viewer_is_the_published_one() -> None:
    folder = Path(adaptation_page.__file__).parent
    assert sha256(folder / adaptation_page.VIEWER) == NIIVUE_0_69_0
    licences = (folder / "niivue/LICENSES.txt").read_text()
    for name in ("BSD 2-Clause", "gl-matrix", "fflate", "nifti-reader-js", "zarrita"):
        assert name in licences


def test_the_page_says_what_moved_and_what_did_not(tmp_path: Path, image: Image) -> None:
    made = adaptation(tmp_path, image)
    page = text(adaptation_page.page(made))
    bits = made.comparison

    assert f"<b>{bits.kept:,} have the same bits</b>" in page
    assert f"Of {bits.opened:,} parameters that might move, {bits.opened_changed:,} did" in page
    assert "<td>blocks.1.conv</td><td>4</td><td>2</td><td>2</td>" in page
    assert 'class="proof"' in page and 'class="proof broken"' not in page
    assert "scan&lt;1&gt;.nii.gz" in page and "scan<1>" not in page
    assert "From 0.5 to 0.2." in page and "30 steps" in page
    assert "kernels with a KSE below 0.4" in page


def test_a_broken_promise_would_be_seen(tmp_path: Path, image: Image) -> None:
    before = network()
    after = copy.deepcopy(before)
    with torch.no_grad():
        after.blocks[1].conv.weight += 1

    made = adaptation(tmp_path, image, comparison=compare(before, after, {}))
    assert 'class="proof broken"' in adaptation_page.page(made)


def test_nothing_is_fetched_and_nothing_is_missing(tmp_path: Path, image: Image) -> None:
    page = text(adaptation_page.page(adaptation(tmp_path, image)))
    assert not re.findall(r"(?:src|href)=|https?://|@import|url\(", page)


def test_images_are_those_that_were_given(tmp_path: Path, image: Image) -> None:
    import nibabel as nib

    content = shown(adaptation_page.page(adaptation(tmp_path, image)))
    volumes = []
    for encoded in content["volumes"]:
        file = gzip.decompress(base64.b64decode(encoded))
        volumes.append(nib.Nifti1Image.from_bytes(file))

    # Cropped to the body, on the image's own grid.
    first = np.linalg.inv(image.affine) @ volumes[0].affine[:, 3]
    x, y, z = np.rint(first[:3]).astype(int)
    nx, ny, nz = volumes[0].shape
    for volume, factor in zip(volumes, (1, 0.9, 0.8), strict=True):
        expected = factor * image.data[x : x + nx, y : y + ny, z : z + nz]
        worst = np.abs(volume.get_fdata() - expected).max()
        assert worst < 1e-4 * image.data.max()
    assert nx * ny * nz < image.data.size
    assert content["suv_bqml"] == pytest.approx(suv_factor(SIDECAR))
    assert content["step"] == [1, 1, 1]


def test_without_dose_there_is_no_suv(tmp_path: Path, image: Image) -> None:
    bare = Image(image.data, image.affine, {})
    assert shown(adaptation_page.page(adaptation(tmp_path, bare)))["suv_bqml"] is None


def test_a_large_scan_stays_below_twelve_megabytes(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    data = rng.gamma(2, 2000, (200, 200, 180)).astype(np.float32)  # noise does not compress
    image = Image(data, np.diag([2.0, 2.0, 2.0, 1.0]), {})
    page = adaptation_page.page(adaptation(tmp_path, image))

    assert len(page.encode()) < 12e6
    content = shown(page)
    assert content["step"] == [2, 2, 2] and content["voxel_mm"] == [4, 4, 4]
    assert "means of 2 × 2 × 2 of the image's" in page


def test_it_starts_where_most_was_changed(tmp_path: Path, image: Image) -> None:
    after = 0.9 * image.data
    after[18:22, 14:18, 8:11] += 5000
    content = shown(adaptation_page.page(adaptation(tmp_path, image, after=after)))
    box = adaptation_page._body_box(image.data)
    place = [start + part.start for start, part in zip(content["start"], box, strict=True)]
    assert np.abs(np.array(place) - [20, 16, 9]).max() <= 3


def test_a_training_without_steps_has_no_curve(tmp_path: Path, image: Image) -> None:
    made = adaptation(tmp_path, image)
    made.log.write_text("step,loss\n")
    assert "No kernel was to be retrained" in adaptation_page.page(made)


def test_the_log_is_a_csv_that_the_page_reads(tmp_path: Path) -> None:
    from tgdpet.training.log import LOG_COLUMNS

    assert {"step", "loss"} <= set(LOG_COLUMNS)
    path = tmp_path / "log.csv"
    with path.open("w") as file:
        csv.writer(file).writerows([("step", "loss"), (1, 2.0), (2, 1.0)])
    curve = adaptation_page._curve(path)
    assert curve["points"] == "320.0,0.0 640.0,180.0"


# Added to the page: what a reader does, and what the four canvases show then.
READER = """
<script>
const waiting = setInterval(() => {
  if (!document.documentElement.dataset.state) return;
  clearInterval(waiting);

  const pictures = {};
  const draw = (name) => {
    viewers[name].drawScene();
    return element(`canvas-${name}`).toDataURL();
  };
  for (const name of PANELS) pictures[name] = draw(name);

  element("blend").value = 0;
  element("blend").oninput();
  pictures.slid = draw("after");

  viewers.input.onLocationChange({ vox: [16, 14, 8] });
  const at = place.join(" ");
  const answer = document.createElement("pre");
  answer.id = "answer";
  answer.textContent = JSON.stringify({ pictures, at, size: element("sphere-size").textContent });
  document.body.append(answer);
}, 50);
</script>
</body>"""


def pixels(address: str) -> np.ndarray:
    """The pixels (Y, X, 3) of a picture that a page gave as an address of data."""
    import matplotlib.image

    content = io.BytesIO(base64.b64decode(address.partition(",")[2]))
    return matplotlib.image.imread(content, format="png")[:, :, :3]


@pytest.mark.skipif(browser.chromium() is None, reason="no Chromium here")
def test_it_lives_in_a_browser(tmp_path: Path, image: Image) -> None:
    path = tmp_path / "page.html"
    page = adaptation_page.page(adaptation(tmp_path, image))
    before_the_end, _, _ = page.rpartition("</body>")
    path.write_text(before_the_end + READER, encoding="utf-8")
    document = browser.open_page(path, tmp_path)

    assert 'data-state="ready"' in document, text(document)[-3000:]
    (content,) = re.findall(r'<pre id="answer">(.*?)</pre>', document, re.S)
    answer = json.loads(content)

    # The sphere goes where the reader clicks; before is 0.9 of the input there, after 0.8.
    assert answer["at"] == "16 14 8"
    assert answer["size"].startswith("12 mm, ")
    rows = re.findall(r"<tr><td>(input|before|after)</td><td>([\d.,]+)</td>", document)
    means = {name: float(value.replace(",", "")) for name, value in rows[:3]}
    assert means["before"] == pytest.approx(0.9 * means["input"], abs=0.02)
    assert means["after"] == pytest.approx(0.8 * means["input"], abs=0.02)
    assert means["input"] > 0 and "SUV" in document

    # Inverse grey with a green crosshair; what the adaptation took away is blue.
    seen = {name: pixels(address) for name, address in answer["pictures"].items()}
    for name in ("input", "before", "after"):
        red, green, blue = np.moveaxis(seen[name], -1, 0)
        assert ((green > 0.4) & (red < 0.3) & (blue < 0.5)).sum() > 200
        assert (seen[name].max(axis=2) < 0.25).sum() > 200
    red, _, blue = np.moveaxis(seen["difference"], -1, 0)
    assert (blue - red > 0.2).sum() > 1000

    # The slider at its left end shows what the panel before shows.
    assert np.array_equal(seen["slid"], seen["before"])
    assert not np.array_equal(seen["after"], seen["before"])


def test_the_page_says_which_blocks_were_kept(image: Image, tmp_path: Path) -> None:
    chosen = {**SETTINGS, "keep_blocks": 4}
    card = Card("v2-net-adapted", 0.0625, 9000.0, ["v2-net"], settings=chosen)

    kept = text(adaptation_page.page(adaptation(tmp_path, image, card=card)))
    none_kept = text(adaptation_page.page(adaptation(tmp_path, image)))

    assert "kernels with a KSE below 0.4; none of the first 4 blocks" in kept
    assert "none of the first" not in none_kept
