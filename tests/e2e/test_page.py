"""The page in a real browser, against the real service: what somebody does who never opens a terminal."""

from __future__ import annotations

import base64
import hashlib
import os
import re
import subprocess
import sys
import threading
import tomllib
import urllib.request
from collections.abc import Callable, Iterator
from fractions import Fraction
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from tests.graphs import inverting
from tests.live import LiveServer
from tests.patience import PATIENCE_S, wait_until
from tests.servers import need

from facefusion.imaging.resample import resize_pixels
from facefusion.media.generate import write_test_clip
from facefusion.media.image import Photo, read_photo, write_photo
from facefusion.media.reader import ClipReader
from facefusion.policy.mark import MarkId, site_id
from facefusion.testing.fakes import sample_path

BROWSER = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip
PATIENCE_MS = PATIENCE_S * 1000
DESKTOP = {"width": 1280, "height": 800}
PHONE = {"width": 390, "height": 844}

SHIFTS = """
window.shifted = 0;
new PerformanceObserver((list) => {
  for (const entry of list.getEntries()) if (!entry.hadRecentInput) window.shifted += entry.value;
}).observe({ type: "layout-shift", buffered: true });
"""
"""Counts how far what is there jumps without anybody having touched it (Cumulative Layout Shift; below 0.1 is good)."""


class Service(LiveServer):
    """The service as a newcomer starts it."""

    def run(self, *words: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "facefusion", *words], cwd=self.folder, env=self._own_environment(),
            capture_output=True, text=True, timeout=PATIENCE_S, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    def hands(self) -> list[psutil.Process]:
        """Processes that do what takes long."""
        return psutil.Process(self.process.pid).children(recursive=True)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    need("chromium")
    with Service(tmp_path_factory.mktemp("service"), ["--jobs-at-once", "1"]) as made:
        yield made


class Shelf(ThreadingHTTPServer):
    """Where a model can be had. It is not there at first, and then comes in two halves."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Asked)
        self.content = inverting(512)
        self.is_stocked = False
        self.is_rest_wanted = threading.Event()
        self.url = f"http://127.0.0.1:{self.server_port}/negative.onnx"
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def close(self) -> None:
        self.is_rest_wanted.set()
        self.shutdown()
        self.server_close()


class Asked(BaseHTTPRequestHandler):
    """One request for the model."""

    server: Shelf

    def log_message(self, *_: Any) -> None:
        """Nothing is logged."""

    def do_GET(self) -> None:
        if not self.server.is_stocked:
            self.send_error(404)
            return
        content = self.server.content
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content[: len(content) // 2])
        self.wfile.flush()
        self.server.is_rest_wanted.wait(PATIENCE_S)
        self.wfile.write(content[len(content) // 2 :])


ENTRY = """
id = "{name}"
version = "1"
capability = "face_enhancer"
family = "restoration"
licence = "{licence}"
licence_source = "the test"
commercial = "{commercial}"
vendor = "nobody"
year = 2026
files = [{{ name = "{name}.onnx", sha256 = "{sha256}", size_bytes = {size}, urls = ["{url}"] }}]
preprocess = {{ template = "ffhq_512", size = 512, mean = [0.5, 0.5, 0.5], std = [0.5, 0.5, 0.5] }}
inputs = {{ "#0" = [-1, 3, 512, 512] }}
outputs = {{ "#0" = [-1, 3, 512, 512] }}
"""


@pytest.fixture(scope="module")
def shelf() -> Iterator[Shelf]:
    made = Shelf()
    yield made
    made.close()


@pytest.fixture(scope="module")
def careful(tmp_path_factory: pytest.TempPathFactory, shelf: Shelf) -> Iterator[Service]:
    """A service for research that notes consents, with two models that could be fetched."""
    need("chromium")
    folder = tmp_path_factory.mktemp("careful")
    models = folder / "data" / "facefusion" / "models"
    models.mkdir(parents=True)
    facts = {"sha256": hashlib.sha256(shelf.content).hexdigest(), "size": len(shelf.content), "url": shelf.url}
    for name, licence, commercial in (("negative", "CC-BY-NC-4.0", "no"), ("unsaid", "", "unclear")):
        entry = ENTRY.format(name=name, licence=licence, commercial=commercial, **facts)
        (models / f"{name}.toml").write_text(entry, encoding="utf-8")
    flags = ["--jobs-at-once", "1", "--licences", "research", "--consent-mode", "record"]
    with Service(folder, flags, {"XDG_DATA_HOME": str(folder / "data")}) as made:
        yield made


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    (program,) = need("chromium")
    if os.environ.get("CI") != "true":
        pytest.importorskip("playwright", reason="playwright is not installed; pip install '.[dev]' installs it")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=program, headless=True, args=BROWSER, timeout=PATIENCE_MS, downloads_path=None
        )
        yield browser
        browser.close()


class Visit:
    """A browser of its own, at the page; what it complains about is kept."""

    def __init__(self, chromium: Any, service: Service, size: dict[str, int], locale: str, theme: str) -> None:
        is_phone = size is PHONE
        self.service = service
        self.context = chromium.new_context(
            viewport=size, locale=locale, color_scheme=theme, has_touch=is_phone, is_mobile=is_phone,
            accept_downloads=True,
        )  # fmt: skip
        self.context.set_default_timeout(PATIENCE_MS)
        self.context.add_init_script(SHIFTS)
        self.page = self.context.new_page()
        self.complaints: list[str] = []
        self.expected = ["status of 503"]  # on a busy machine a look may have to wait, and the page asks again
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("console", self._hear)

    def _hear(self, message: Any) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(f"{message.text} {message.location.get('url', '')}")

    def open(self, path: str = "/") -> None:
        self.page.goto(self.service.url + path)
        self.page.wait_for_selector("html[data-ready]")

    def give(self, role: str, *paths: Path) -> None:
        """Choose files as a person does."""
        button = (
            "#viewer .primary, #target-head [data-focus=target-choose]"
            if role == "target"
            else "#sources .tile-add button"
        )
        with self.page.expect_file_chooser() as chooser:
            self.page.locator(button).first.click()
        chooser.value.set_files([str(path) for path in paths])

    def bring(self, how: str, where: str, path: Path) -> None:
        """Let go of a file over something, or paste it."""
        self.page.evaluate(
            """([how, where, name, content]) => {
              const bytes = Uint8Array.from(atob(content), (letter) => letter.charCodeAt(0));
              const data = new DataTransfer();
              data.items.add(new File([bytes], name, { type: "image/jpeg" }));
              const place = document.querySelector(where);
              const rest = { bubbles: true, cancelable: true };
              const send = (event) => place.dispatchEvent(event);
              if (how === "paste") send(new ClipboardEvent("paste", { clipboardData: data, ...rest }));
              else for (const kind of ["dragenter", "dragover", "drop"])
                send(new DragEvent(kind, { dataTransfer: data, ...rest }));
            }""",
            [how, where, path.name, base64.b64encode(path.read_bytes()).decode()],
        )

    def see_people(self, count: int) -> None:
        self.page.wait_for_function(
            "count => document.querySelectorAll('.person:not(.is-waiting)').length === count", arg=count
        )

    def see_change(self) -> None:
        self.page.wait_for_selector(".frame.has-after:not(.is-asking)")

    def render(self) -> str:
        """Press the button; returns the id of the job."""
        self.page.click("#render[aria-disabled=false]")
        self.page.wait_for_selector(".job-top")
        return self.page.url.rpartition("/")[2]

    def told(self, group: str) -> dict[str, str]:
        """What a group of facts about a job says, by name; what something was made of by what that was."""
        self.page.evaluate("group => { document.querySelector(`#job-${group}`).open = true; }", group)
        found: dict[str, str] = self.page.evaluate(
            """group => Object.fromEntries([...document.querySelectorAll(`#job-${group} dt`)].flatMap((name) => {
              const parts = [...name.nextElementSibling.querySelectorAll(".ingredient")];
              return parts.length ? parts.map((part) => [...part.children].map((each) => each.textContent))
                : [[name.textContent, name.nextElementSibling.innerText]];
            }))""",
            group,
        )
        return found

    def see_end(self, status: str = "done") -> None:
        self.page.wait_for_selector(f".job-top .status[data-status={status}]")

    def ask(self, path: str) -> Any:
        """What the service answers to the page."""
        return self.page.request.get(self.service.url + path)

    def delete_job(self, with_inputs: bool = True) -> None:
        """Press the bin, and say yes."""
        self.expected.append("status of 404")  # the page asks whether what it was made of is still there
        self.page.get_by_role("button", name="Delete the job and its result").click()
        self.page.locator("#remove-inputs").set_checked(with_inputs)
        self.page.click("#remove-job")

    def download(self, path: Path) -> Path:
        with self.page.expect_download() as download:
            self.page.click("#download")
        download.value.save_as(path)
        return path

    def check_axe(self) -> None:
        from axe_playwright_python.sync_playwright import Axe

        found = Axe().run(self.page)
        assert not found.violations_count, found.generate_report()

    def close(self) -> None:
        self.context.close()
        left = [text for text in self.complaints if not any(re.search(known, text) for known in self.expected)]
        assert not left, left


@pytest.fixture
def visit(chromium: Any, service: Service) -> Iterator[Callable[..., Visit]]:
    made: list[Visit] = []

    def begin(
        size: dict[str, int] = DESKTOP, locale: str = "en-GB", theme: str = "dark", at: Service | None = None
    ) -> Visit:
        made.append(Visit(chromium, at or service, size, locale, theme))
        return made[-1]

    yield begin
    for one in made:
        one.close()


@pytest.fixture(scope="module")
def two_people(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clip of half a second in which the two people of the packaged photos stand side by side."""
    halves = [resize_pixels(read_photo(sample_path(name)).pixels, 384, 384) for name in ("source.jpg", "target.jpg")]
    path = tmp_path_factory.mktemp("clips") / "two.mp4"
    frame = np.ascontiguousarray(np.concatenate(halves, axis=1))
    write_test_clip(path, [frame] * 12, [k * 512 for k in range(12)], Fraction(1, 12800))
    return path


def difference(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.abs(one.astype(np.float32) - other.astype(np.float32)).mean())


def test_a_photo_is_swapped_by_somebody_who_drops_one_and_pastes_the_other(visit, tmp_path):
    one = visit()
    one.open()
    one.check_axe()
    one.bring("drop", "#viewer", sample_path("target.jpg"))
    one.see_people(1)
    assert one.page.text_content(".caption") == "Add a source to see the change."
    one.bring("paste", "body", sample_path("source.jpg"))
    one.page.wait_for_selector(".person[data-fate=swapped]")
    one.see_change()
    one.check_axe()

    # The settings leave as a file that the command line reads, and come back from it.
    one.page.locator('[data-option="face_swapper.light"]').fill("0.5")
    one.page.click("#presets")
    with one.page.expect_download() as download:
        one.page.click("#preset-download")
    preset = tmp_path / "preset.toml"
    download.value.save_as(preset)
    assert tomllib.loads(preset.read_text()) == {"step": [{"processor": "face_swapper", "light": 0.5}]}
    one.page.locator('[data-option="face_swapper.light"]').fill("1")
    one.page.click("#presets")
    with one.page.expect_file_chooser() as chooser:
        one.page.click("#preset-open")
    chooser.value.set_files(str(preset))
    one.page.wait_for_function("() => document.querySelector('[data-option=\"face_swapper.light\"]').value === '0.5'")
    assert "0.5" in one.service.run("run", "--config-path", str(preset), "--show-config")
    one.see_change()

    one.render()
    one.see_end()
    one.page.wait_for_selector("#job-provenance [data-provenance=valid]")
    told = one.told("provenance")
    assert told["Signature"] == "Intact, signed by this service" and "What is wrong" not in told
    assert (told["Target"], told["Source"]) == tuple(
        hashlib.sha256(sample_path(name).read_bytes()).hexdigest() for name in ("target.jpg", "source.jpg")
    )
    assert "Apache-2.0" in told["Models"] and MarkId.parse(told["Invisible mark"]).site == site_id()
    assert told["What it is"] == "Recorded material, partly made by a model"
    assert one.page.inner_text("#job-checks summary") == "Checks"
    one.page.click("#job-provenance summary")
    assert not one.page.evaluate("() => document.querySelector('#job-provenance').open")
    one.page.click("#job-provenance summary")
    one.check_axe()
    made = read_photo(one.download(tmp_path / "made.jpg")).pixels
    target = read_photo(sample_path("target.jpg")).pixels
    assert made.shape == target.shape
    height, width = target.shape[:2]
    face = np.s_[height // 4 : 3 * height // 4, width // 4 : 3 * width // 4]
    assert difference(made[face], target[face]) > 3
    assert one.page.evaluate("() => window.shifted") < 0.1
    assert one.page.evaluate("() => document.documentElement.scrollHeight <= innerHeight"), "only its columns scroll"


def test_two_people_of_a_clip_get_two_faces_and_the_result_plays_beside_the_original(visit, two_people, tmp_path):
    one = visit(theme="light")
    one.open()
    one.give("target", two_people)
    one.see_people(2)
    one.give("source", sample_path("source.jpg"), sample_path("target.jpg"))
    one.page.wait_for_function("() => document.querySelectorAll('.tile[data-key]:not(.tile-add) img').length === 2")
    one.page.wait_for_function("() => !document.querySelector('.tile-upload')")
    if one.page.locator("#people-actions button", has_text="Clear").count():
        one.page.locator("#people-actions button", has_text="Clear").click()
    # Each gets the face of the other: the first source is the one on the left.
    left = one.page.evaluate(
        "async () => { const id = location.hash.split('target=')[1];"
        " const { people } = await (await fetch(`/v1/assets/${id}/faces`)).json();"
        " return people.findIndex(person => person.box[0] < 0.4); }"
    )
    people, tiles = one.page.locator(".person"), one.page.locator(".tile:not(.tile-add) .tile-face")
    fate = "at => document.querySelectorAll('.person')[at].dataset.fate === 'swapped'"
    tiles.nth(1).drag_to(people.nth(left))  # by mouse
    one.page.wait_for_function(fate, arg=left)
    tiles.nth(0).focus()  # and by keyboard
    one.page.keyboard.press("Enter")
    people.nth(1 - left).locator(".person-main").focus()
    one.page.keyboard.press("Enter")
    one.page.wait_for_function(fate, arg=1 - left)
    one.page.keyboard.press("Escape")
    one.see_change()
    one.check_axe()

    # All but the first two frames, and the last, are kept.
    one.page.focus(".trim.is-start")
    one.page.keyboard.press("ArrowRight")
    one.page.keyboard.press("ArrowRight")
    one.page.focus(".trim.is-end")
    one.page.keyboard.press("ArrowLeft")
    one.render()
    one.see_end()
    frames = [frame.pixels for frame in ClipReader(one.download(tmp_path / "made.mp4"))]
    before = [frame.pixels for frame in ClipReader(two_people)]
    assert len(frames) == 9
    for half in (np.s_[96:288, 96:288], np.s_[96:288, 480:672]):
        assert difference(frames[4][half], before[6][half]) > 2

    one.page.click(".player input[value=beside]")
    one.page.click("#play-result")
    one.page.wait_for_function("() => document.querySelector('.pane.is-after video').currentTime > 0.1")
    one.page.wait_for_function(
        "() => { const [before, after] ="
        " ['before', 'after'].map(side => document.querySelector(`.pane.is-${side} video`));"
        " return after.paused && !before.seeking && Math.abs(before.currentTime - after.currentTime - 0.08) < 0.05; }"
    )
    one.check_axe()


def test_everybody_is_anonymised_with_one_touch_on_a_phone_in_chinese(visit, two_people, tmp_path):
    one = visit(PHONE, "zh-CN")
    one.open()
    assert one.page.get_attribute("html", "lang") == "zh-Hans"
    one.give("target", two_people)
    one.see_people(2)
    one.page.tap("label:has(#mode-anonymise)")
    one.see_change()
    assert one.page.locator(".person[data-fate=hidden]").count() == 2
    one.check_axe()
    assert one.page.evaluate("() => document.documentElement.scrollWidth <= innerWidth")
    one.page.select_option("#language", "en")
    one.page.wait_for_function("() => document.querySelector('#render').textContent === 'Anonymise'")
    one.page.select_option("#language", "zh")
    one.page.wait_for_function("() => document.querySelector('#render').textContent === '匿名化'")
    one.render()
    one.see_end()
    one.check_axe()
    assert one.page.evaluate("() => document.documentElement.scrollWidth <= innerWidth")
    frames = [frame.pixels for frame in ClipReader(one.download(tmp_path / "made.mp4"))]
    before = [frame.pixels for frame in ClipReader(two_people)]
    for half in (np.s_[96:288, 96:288], np.s_[96:288, 480:672]):
        assert difference(frames[6][half], before[6][half]) > 2


def test_who_is_hidden_is_shown_nowhere_known_again_by_no_seed_and_goes_with_the_job(visit, two_people, tmp_path):
    one = visit()
    one.open()
    one.give("target", sample_path("target.jpg"))
    one.see_people(1)
    one.page.click('#mode label:has-text("Anonymise")')
    assert one.page.locator("#sources-section").is_hidden()
    assert one.page.locator("#want-report").is_checked(), "the review is made unasked"
    assert one.page.locator('[data-option="face_anonymiser.seed"]').input_value() == ""
    assert "kept until" in one.page.text_content("#target-head")
    ids, seeds = [], []
    for _ in range(2):
        ids.append(one.render())
        # Nothing of the original is in the list, before the result is there nor after it.
        assert not one.page.locator(".job-poster img").count()
        one.see_end()
        job = one.ask(f"/v1/jobs/{ids[-1]}").json()
        seeds.append(job["recipe"]["steps"][0]["options"]["seed"])
        target, output = job["recipe"]["target"], job["output"]["id"]
        assert job["has_report"]
        picture = one.page.locator(f'.job-row a[href="#/jobs/{ids[-1]}"] img')
        one.page.wait_for_function("output => document.querySelector('.job-row img').src.includes(output)", arg=output)
        assert picture.count() == 1
        sources = one.page.evaluate("() => [...document.querySelectorAll('#jobs img, #jobs video')].map((e) => e.src)")
        assert not [source for source in sources if target in source]
        one.page.screenshot(path=tmp_path / f"job{len(ids)}.png")
        one.page.click("#show-original")
        one.page.wait_for_selector(f'#jobs img[src*="{target}"]')
        one.page.click("nav >> text=Studio")
    assert seeds[0] != seeds[1], "the new face of one job is known again in none"

    # Another tab is told, and so is whoever is asked before something goes.
    other = one.context.new_page()
    other.goto(f"{one.service.url}/#/jobs/{ids[0]}")
    other.wait_for_selector("#download")
    one.page.goto(f"{one.service.url}/#/jobs/{ids[0]}")
    one.page.wait_for_selector(".job-top")
    one.page.get_by_role("button", name="Delete the job and its result").click()
    one.page.wait_for_selector("#remove-inputs:checked")
    one.check_axe()
    one.page.screenshot(path=tmp_path / "delete.png")
    one.page.click("dialog >> text=Cancel")
    assert one.ask(f"/v1/jobs/{ids[0]}").status == 200, "nothing goes unasked"
    one.delete_job()
    other.wait_for_selector("text=This job is not here")
    assert not other.locator("#download").count()
    assert one.ask(f"/v1/assets/{target}/about").status == 200, "the other job reads it"
    one.page.goto(f"{one.service.url}/#/jobs/{ids[1]}")
    one.page.wait_for_selector(f'.job-top[data-job="{ids[1]}"]')
    one.delete_job()
    one.page.wait_for_selector("text=Choose a job.")
    assert one.ask(f"/v1/assets/{target}/about").status == 404
    one.page.click("nav >> text=Studio")
    one.page.wait_for_selector("#viewer .primary")  # there is no target any more


def test_a_file_is_deleted_in_the_studio_and_one_that_is_replaced_goes_too(visit, two_people, tmp_path):
    one = visit()
    one.expected.append("status of 404")  # the test asks for what is gone
    one.open()

    def target() -> str:
        return one.page.evaluate("() => JSON.parse(localStorage['facefusion.draft']).target?.id ?? ''")

    one.give("target", sample_path("target.jpg"))
    one.see_people(1)
    first = target()
    one.give("target", two_people)
    one.see_people(2)
    second = target()
    assert first != second
    wait_until(lambda: one.ask(f"/v1/assets/{first}/about").status == 404)
    one.give("source", sample_path("source.jpg"))
    one.page.wait_for_selector(".person[data-fate=swapped]")
    source = one.page.evaluate("() => JSON.parse(localStorage['facefusion.draft']).sources[0].id")
    one.page.locator(".tile-remove").click()
    wait_until(lambda: one.ask(f"/v1/assets/{source}/about").status == 404)
    one.page.click("#delete-target")
    one.check_axe()
    one.page.screenshot(path=tmp_path / "target.png")
    one.page.click("#delete-target-now")
    one.page.wait_for_selector("#viewer .primary")
    assert target() == "" and one.ask(f"/v1/assets/{second}/about").status == 404


def test_cards_are_added_ordered_and_removed_and_say_what_a_licence_forbids(visit):
    one = visit()
    one.open()

    def cards() -> list[str]:
        return one.page.locator(".card h3").all_inner_texts()

    one.page.click(".add-step")
    one.page.click(".popover .menu-item:has-text('Face Enhancer')")
    one.page.wait_for_selector(".card[data-processor=face_enhancer]")
    assert cards() == ["Face Swapper", "Face Enhancer"]
    model = one.page.locator('.card[data-processor=face_enhancer] [data-option="face_enhancer.model"]')
    forbidden = model.locator("option", has_text="no commercial use").first.get_attribute("value")
    model.select_option(forbidden)
    licence = one.page.locator(".card[data-processor=face_enhancer] .licence")
    assert licence.inner_text().startswith("No commercial use.") and forbidden in licence.inner_text()
    one.check_axe()
    one.page.click(".card[data-processor=face_enhancer] .card-up")
    assert cards() == ["Face Enhancer", "Face Swapper"]
    one.page.reload()
    one.page.wait_for_selector(".card[data-processor=face_enhancer]")
    assert cards() == ["Face Enhancer", "Face Swapper"]
    assert model.input_value() == forbidden
    one.page.click(".card[data-processor=face_enhancer] .card-remove")
    assert cards() == ["Face Swapper"]


def test_a_model_is_fetched_from_its_card_under_its_licence_and_what_goes_wrong_stays_there(visit, careful, shelf):
    one = visit(at=careful)
    one.open()
    one.page.click(".add-step")
    one.page.click(".popover .menu-item:has-text('Face Enhancer')")
    card = one.page.locator(".card[data-processor=face_enhancer]")
    model = card.locator('[data-option="face_enhancer.model"]')
    model.select_option("unsaid")
    assert "This service refuses it under its settings." in card.locator(".licence").inner_text()
    assert not card.locator(".model-state button").count()

    model.select_option("negative")
    assert card.locator(".licence").inner_text() == "No commercial use. Licence of negative: CC-BY-NC-4.0."
    card.get_by_role("button", name="Accept the licence and fetch it").click()
    notice = card.locator(".model-state[data-state=failed] .notice")
    notice.wait_for()
    assert "the server answers 404" in notice.inner_text()
    assert "--" not in notice.inner_text() and "facefusion models" not in notice.inner_text()
    one.check_axe()
    one.page.reload()  # it is still said
    notice.wait_for()

    shelf.is_stocked = True
    card.get_by_role("button", name="Try again").click()
    one.page.wait_for_selector(".model-state [role=progressbar][aria-valuenow='50']")
    assert "50%" in card.locator(".model-state").inner_text()
    one.check_axe()
    one.page.reload()  # and goes on
    one.page.wait_for_selector(".model-state [role=progressbar][aria-valuenow='50']")
    shelf.is_rest_wanted.set()
    one.page.wait_for_selector("text=negative is here.")
    assert not card.locator(".model-state").count()
    assert "not fetched" not in model.locator("option:checked").inner_text()
    assert model.input_value() == "negative"


def test_what_the_site_checked_is_told_with_the_job_in_both_languages(visit, careful, tmp_path):
    careful.run("consent", "add", "paper-1", str(sample_path("source.jpg")), "--note", "in the safe")
    one = visit(PHONE, "zh-CN", "light", careful)
    photo = resize_pixels(read_photo(sample_path("target.jpg")).pixels, 256, 256)
    write_test_clip(tmp_path / "short.mp4", [photo] * 6, [k * 512 for k in range(6)], Fraction(1, 12800))
    one.open()
    one.give("target", tmp_path / "short.mp4")
    one.give("source", sample_path("source.jpg"))
    one.page.wait_for_selector(".person[data-fate=swapped]")
    one.see_change()
    one.page.evaluate("() => { for (const each of document.querySelectorAll('details')) each.open = true; }")
    one.page.select_option("#output-format", "mkv")
    one.render()
    one.see_end()
    one.page.wait_for_selector("#job-provenance [data-provenance=valid]")
    told = one.told("checks")
    assert told["同意书"] == "并非所有人都已同意"
    assert told["已同意的人"] == "来源：1 / 1\n被修改的人物：0 / 1"  # noqa: RUF001
    assert (told["生效的同意书"], told["禁止参与的人"], told["内容"]) == ("paper-1", "此处不检查", "此处不检查")
    assert "in the safe" not in one.page.content()
    assert one.page.locator("#job-checks .note").all_inner_texts() == [
        "Person 0 of the target is not covered by a consent."
    ]
    with one.page.expect_download() as download:
        one.page.click("#job-provenance a[download$='.mkv.c2pa']")
    download.value.save_as(tmp_path / "made.mkv.c2pa")
    one.download(tmp_path / "made.mkv")
    assert '"valid"' in careful.run("verify", str(tmp_path / "made.mkv"), "--json")
    one.check_axe()
    assert one.page.evaluate("() => document.documentElement.scrollWidth <= innerWidth")
    one.page.select_option("#language", "en")
    one.page.wait_for_function("() => document.querySelector('#job-checks summary')?.textContent === 'Checks'")
    assert one.told("checks")["Who agreed"] == "1 of 1 sources\n0 of 1 people who are changed"
    one.check_axe()


def test_a_job_is_cancelled_retried_and_outlives_a_reload(visit):
    one = visit()
    one.open()
    one.give("target", sample_path("target.jpg"))
    one.give("source", sample_path("source.jpg"))
    one.page.wait_for_selector(".person[data-fate=swapped]")
    one.see_change()
    stopped = one.service.hands()
    try:
        for process in stopped:  # so that the job waits for as long as it is looked at
            process.suspend()
        job = one.render()
        # Pictures of other jobs are drawn by who is stopped.
        one.page.reload(wait_until="domcontentloaded")
        one.page.wait_for_selector(".job-top .status[data-status=queued]")
        assert one.page.url.endswith(job)
        one.check_axe()
        one.page.click("#cancel-job")
        one.see_end("cancelled")
    finally:
        for process in stopped:
            process.resume()
    one.page.click("#retry-job")
    one.page.wait_for_selector(".job-top .status:not([data-status=cancelled])")
    one.page.reload()
    one.see_end()
    one.delete_job()
    one.page.wait_for_function(
        "id => !location.hash.includes(id) && !document.querySelector(`[data-key='${id}']`)", arg=job
    )


def test_a_job_is_cancelled_in_the_middle_of_rendering(visit, tmp_path):
    one = visit()
    photo = resize_pixels(read_photo(sample_path("target.jpg")).pixels, 192, 192)
    write_test_clip(tmp_path / "long.mp4", [photo] * 400, [k * 512 for k in range(400)], Fraction(1, 12800))
    one.open()
    one.give("target", tmp_path / "long.mp4")
    one.give("source", sample_path("source.jpg"))
    one.page.wait_for_selector(".person[data-fate=swapped]")
    one.see_change()
    job = one.render()
    ask = "job => fetch(`/v1/jobs/${job}`).then(answer => answer.json())"
    wait_until(lambda: one.page.evaluate(ask, job)["progress"]["stage"] == "render")
    stopped = one.service.hands()
    try:
        for process in stopped:  # so that it is in the middle for as long as it is looked at
            process.suspend()
        told = one.page.evaluate(ask, job)
        assert told["status"] == "running" and told["progress"]["share"] < 1
        one.page.click("#cancel-job")
    finally:
        for process in stopped:
            process.resume()
    one.see_end("cancelled")
    told = one.page.evaluate(ask, job)
    assert (told["status"], told["output"], told["error"]) == ("cancelled", None, None)
    one.check_axe()
    one.delete_job()
    one.page.wait_for_function("id => !location.hash.includes(id)", arg=job)


def test_a_press_arrives_though_the_page_is_told_of_progress_before_it_is_let_go(visit, tmp_path):
    one = visit()
    photo = resize_pixels(read_photo(sample_path("target.jpg")).pixels, 192, 192)
    write_test_clip(tmp_path / "long.mp4", [photo] * 400, [k * 512 for k in range(400)], Fraction(1, 12800))
    one.open()
    one.give("target", tmp_path / "long.mp4")
    one.see_people(1)

    one.give("source", sample_path("source.jpg"))
    one.page.wait_for_selector(".person[data-fate=swapped]")
    job = one.render()
    one.page.wait_for_selector(".job-numbers .big")
    one.page.hover("#cancel-job")
    before = one.page.inner_text(".job-numbers .big")
    one.page.mouse.down()
    one.page.wait_for_function(
        "before => (document.querySelector('.job-numbers .big')?.textContent ?? before) !== before", arg=before
    )
    one.page.mouse.up()
    one.see_end("cancelled")
    one.delete_job()
    one.page.wait_for_function("id => !location.hash.includes(id)", arg=job)


def test_whoever_uses_the_keyboard_keeps_their_place_while_files_come_and_go(visit):
    one = visit()
    one.open()
    focused = "() => document.activeElement.closest('[data-focus]')?.dataset.focus ?? document.activeElement.tagName"

    one.page.evaluate("() => document.addEventListener('keydown', event => { window.pressed = event.target.tagName; })")

    def press(button: str) -> None:
        """As often as it takes: what is drawn anew between focus and key gets no key."""
        while True:
            one.page.locator(button).press("Enter")
            if one.page.evaluate("() => window.pressed") == "BUTTON":
                return

    with one.page.expect_file_chooser() as chooser:
        press("#viewer [data-focus=empty-choose]")
    chooser.value.set_files(str(sample_path("target.jpg")))
    one.see_people(1)
    assert one.page.evaluate(focused) == "target-choose"
    one.page.focus("#sources [data-focus=add]")
    one.bring("paste", "body", sample_path("source.jpg"))
    one.page.wait_for_selector(".person[data-fate=swapped]")
    assert one.page.evaluate(focused) == "add"
    press(".tile-remove")
    one.page.wait_for_selector(".person:not([data-fate=swapped])")
    assert one.page.evaluate(focused) == "add"


@pytest.mark.parametrize("order", ["sources first", "target first"])
def test_the_first_source_goes_to_the_most_prominent_person_whichever_is_there_first(visit, two_people, order):
    one = visit()
    one.open()
    sources = [sample_path("source.jpg"), sample_path("target.jpg")]
    if order == "sources first":
        one.give("source", *sources)
        one.page.wait_for_function("() => document.querySelectorAll('.tile:not(.tile-add)').length === 2")
    one.give("target", two_people)
    one.see_people(2)
    if order == "target first":
        one.give("source", *sources)
    one.page.wait_for_function("() => document.querySelectorAll('.tile:not(.tile-add)').length === 2")
    one.page.wait_for_selector(".person:first-child .chip[aria-label*='source.jpg']")
    assert one.page.locator(".chip").count() == 1
    one.page.locator("#people-actions button", has_text="Clear").click()
    one.bring("paste", "body", sample_path("target.jpg"))
    one.page.wait_for_function("() => document.querySelectorAll('.tile:not(.tile-add)').length === 3")
    assert one.page.locator(".chip").count() == 0, "whoever took it away does not get it again"


def test_a_report_that_cannot_be_made_cannot_be_chosen_and_the_page_says_why(visit):
    one = visit()

    def without(route: Any) -> None:
        answer = route.fetch()
        route.fulfill(response=answer, json={**answer.json(), "reports": False})

    one.page.route("**/v1/capabilities", without)
    one.open()
    box = one.page.locator("#want-report")
    assert box.is_disabled() and not box.is_checked()
    assert one.page.inner_text(f"#{box.get_attribute('aria-describedby')}") == "not installed on this service"
    one.check_axe()


def test_what_is_wrong_is_said_with_what_to_do_next(visit, tmp_path):
    one = visit()
    one.expected += ["Failed to load resource"]
    one.open()
    bad = tmp_path / "notes.jpg"
    bad.write_text("no picture at all")
    one.give("target", bad)
    notice = one.page.locator("#target-notice .notice-text")
    notice.wait_for()
    assert len(notice.locator("p").all()) == 2  # what is wrong, and a hint
    one.check_axe()
    assert one.page.inner_text("[data-focus=target-choose]") == "Replace", "another one can be chosen at once"
    one.page.click(".upload .upload-actions >> text=Remove")

    grey = tmp_path / "grey.png"
    write_photo(grey, Photo(np.full((96, 96, 3), 128, np.uint8), None, None, None))
    one.give("target", sample_path("target.jpg"))
    one.see_people(1)
    one.give("source", grey)
    one.page.wait_for_selector(".tile-flaw[aria-label='No face is found in grey.png']")
    told = one.page.locator("#preview-notice .notice")
    told.wait_for()
    assert "face" in told.inner_text()
    one.check_axe()
    one.render()
    one.see_end("failed")
    assert "grey.png" in one.page.inner_text(".job-state .notice")
    one.check_axe()
    one.page.goto(f"{one.service.url}/#/jobs/{'0' * 32}")
    one.page.wait_for_selector("text=This job is not here")


def test_an_upload_that_a_reload_cuts_off_goes_on_where_it_was(visit, tmp_path, rng):
    one = visit()
    one.expected += ["net::ERR_FAILED", "Failed to load resource"]
    one.open()
    noise = tmp_path / "noise.png"
    write_photo(noise, Photo(rng.integers(0, 256, (640, 640, 3), dtype=np.uint8), None, None, None))
    assert noise.stat().st_size > 3 * 256 * 1024
    sent: list[int] = []

    def let_one_through(route: Any) -> None:
        if route.request.method == "PATCH":
            sent.append(int(route.request.headers["upload-offset"]))
            if len(sent) > 1:
                route.abort()
                return
        route.continue_()

    one.page.route("**/v1/uploads/*", let_one_through)
    one.give("target", noise)
    one.page.wait_for_selector(".upload.is-retrying")
    one.page.unroute("**/v1/uploads/*")
    resumed: list[int] = []
    one.page.on(
        "request",
        lambda request: resumed.append(int(request.headers["upload-offset"])) if request.method == "PATCH" else None,
    )
    one.page.reload()
    one.page.wait_for_selector(".target-name >> text=noise.png")
    assert sent[0] == 0 and resumed[0] > 0
    one.page.wait_for_selector("text=No face is found in the target.")


def test_a_key_opens_the_page_where_there_is_no_session(visit):
    one = visit()
    one.expected += ["401"]
    secret = one.service.key("studio")

    def without_session(route: Any) -> None:  # as it is for whoever comes over the network
        with urllib.request.urlopen(one.service.url, timeout=PATIENCE_S) as answer:
            headers = {name.lower(): value for name, value in answer.headers.items()}
            route.fulfill(body=answer.read(), headers={k: v for k, v in headers.items() if k != "set-cookie"})

    one.context.route(re.compile(r":\d+/$"), without_session)
    one.page.goto(one.service.url)
    one.page.wait_for_selector("dialog")
    one.check_axe()
    one.page.fill("#key", "ff_wrong")
    one.page.keyboard.press("Enter")
    one.page.wait_for_selector("dialog .notice >> text=This key is not accepted.")
    one.page.fill("#key", secret)
    one.page.keyboard.press("Enter")
    one.page.wait_for_selector("html[data-ready]")
    one.page.click("#sign-out")
    one.page.wait_for_selector("dialog")


def test_people_have_the_numbers_that_they_have_everywhere(visit, two_people):
    one = visit()
    one.open()
    one.give("target", two_people)
    one.see_people(2)
    names = one.page.locator(".person-name").all_inner_texts()
    numbers = one.page.evaluate(
        "async () => { const id = location.hash.split('target=')[1];"
        " const { people } = await (await fetch(`/v1/assets/${id}/faces`)).json();"
        " return people.map(person => person.face); }"
    )
    if folder := os.environ.get("LOOKED_AT"):
        one.page.screenshot(path=f"{folder}/people.png")
    assert names == [f"Person {number}" for number in numbers] and sorted(numbers) == ["0", "1"]
    assert one.page.locator(".lane-name").all_inner_texts() == numbers


def test_the_bar_of_a_file_that_was_refused_has_not_the_colour_of_success(visit, tmp_path):
    one = visit()
    one.expected.append("status of 4")
    (tmp_path / "no photo.jpg").write_text("hello " * 1000)
    one.open()
    one.give("source", tmp_path / "no photo.jpg")
    one.page.wait_for_selector(".upload.is-failed progress")
    if folder := os.environ.get("LOOKED_AT"):
        one.page.screenshot(path=f"{folder}/refused.png")
    rules = one.page.evaluate(
        """() => [...document.styleSheets].flatMap((sheet) => [...sheet.cssRules])
          .filter((rule) => rule.selectorText?.startsWith(".upload.is-failed progress"))
          .map((rule) => rule.style.background)"""
    )
    assert rules and set(rules) == {"var(--bad)"}
