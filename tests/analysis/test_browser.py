"""The page as a reader has it: opened in a real Chromium, which must be on the machine (.ci/run sees to it)."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from analysis.report import write_report
from tests.analysis.conftest import alphas, trial, write_folder

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(BROWSER is None, reason="no Chromium on this machine (apt-get install chromium)")
HOSTILE = "<script>document.title='owned'</script>\"'><img src=x onerror=document.title='owned'>${7*7}{{7*7}}"


class Visit(NamedTuple):
    """An open page, and what the browser said of it."""

    page: Any
    said: list[str]
    asked: list[str]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with sync_api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_report(write_folder(tmp_path_factory.mktemp("page") / "run", *alphas()))


def visit(browser: Any, file: Path, **options: Any) -> Visit:
    page = browser.new_page(**options)
    result = Visit(page, [], [])
    page.on("console", lambda message: result.said.append(message.text))
    page.on("pageerror", lambda error: result.said.append(str(error)))
    page.on("dialog", lambda dialog: result.said.append(dialog.message))
    page.on("request", lambda request: result.asked.append(request.url))
    page.goto(file.as_uri())
    return result


@pytest.fixture(scope="module")
def desktop(browser: Any, written: Path) -> Visit:
    return visit(browser, written, viewport={"width": 1280, "height": 900})


def column(page: Any, table: str, place: int) -> list[str]:
    cells = page.locator(f"[aria-labelledby='{table}'] tbody tr:visible td:nth-child({place})")
    return [text.strip() for text in cells.all_inner_texts()]


def test_nothing_is_asked_for_and_nothing_goes_wrong(desktop: Visit, written: Path) -> None:
    assert desktop.asked == [written.as_uri()]
    assert desktop.said == []


def test_a_table_sorts_by_numbers_at_the_keyboard_and_what_is_missing_comes_last(desktop: Visit) -> None:
    head = desktop.page.locator("[aria-labelledby='methods'] th", has_text="minus joint")
    head.get_by_role("button").focus()
    desktop.page.keyboard.press("Enter")
    assert head.get_attribute("aria-sort") == "ascending"
    first = column(desktop.page, "methods", 7)
    desktop.page.keyboard.press("Enter")
    assert head.get_attribute("aria-sort") == "descending"
    second = column(desktop.page, "methods", 7)
    assert [text[:4] for text in first] == ["+1.3", "+2.0", "–", "–", "–"]  # noqa: RUF001
    assert [text[:4] for text in second] == ["+2.0", "+1.3", "–", "–", "–"]  # noqa: RUF001


def test_a_table_is_filtered_by_what_is_typed(desktop: Visit) -> None:
    box = desktop.page.get_by_role("searchbox").first
    box.fill("UNI alone")
    assert column(desktop.page, "methods", 1) == ["unimodal (audio alone)", "unimodal (image alone)"]
    assert desktop.page.get_by_role("status").first.inner_text() == "2 of 5 rows"
    box.fill("")
    assert len(column(desktop.page, "methods", 1)) == 5


def test_figures_have_texts_and_are_seen(desktop: Visit) -> None:
    images = desktop.page.get_by_role("img").all()
    assert len(images) == 5
    for image in images:
        assert len(image.get_attribute("aria-label")) > 40
        box = image.bounding_box()
        assert box["width"] > 400
        assert box["height"] > 80


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_is_accessible(browser: Any, written: Path, scheme: str) -> None:
    """By axe-core's rules: contrast, names, order of headings, what the keyboard reaches."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe is not installed").Axe()
    for width in (1280, 390):
        page = visit(browser, written, viewport={"width": width, "height": 900}, color_scheme=scheme).page
        result = axe.run(page).response["violations"]
        assert [(one["id"], one["nodes"][0]["html"][:200]) for one in result] == []
        page.close()


def test_on_a_phone_nothing_sticks_out_and_a_number_stands_beside_its_name(browser: Any, written: Path) -> None:
    page = visit(browser, written, viewport={"width": 390, "height": 844}).page
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    cell = page.locator("[aria-labelledby='methods'] tbody td").nth(5)
    assert "test accuracy" in cell.evaluate("cell => getComputedStyle(cell, '::before').content")
    assert cell.bounding_box()["width"] < 390
    page.close()


def test_on_paper_everything_is_unfolded(browser: Any, written: Path, tmp_path: Path) -> None:
    page = visit(browser, written).page
    page.evaluate("document.querySelectorAll('details').forEach(one => one.open = false)")
    page.pdf(path=tmp_path / "page.pdf")
    assert page.locator("details:not([open])").count() == 0
    page.emulate_media(media="print")
    assert not page.get_by_role("searchbox").first.is_visible()
    page.close()


def test_a_hostile_study_does_nothing(browser: Any, tmp_path: Path) -> None:
    rows = [
        trial(f"{HOSTILE}-{m}-{s}", m, s, 0.8, 0.7, modality=None)
        for m in (f"mine:{HOSTILE}", "joint")
        for s in range(2)
    ]
    rows.append(trial("broken", f"mine:{HOSTILE}", 2, None, None, error=f"{HOSTILE}\n--><script>alert(1)</script>"))
    folder = write_folder(tmp_path / "run", rows, name=HOSTILE, methods=[f"mine:{HOSTILE}", "joint"], data=HOSTILE)
    result = visit(browser, write_report(folder))
    result.page.wait_for_timeout(200)
    assert result.page.title() == HOSTILE
    assert result.page.locator("h1").inner_text() == HOSTILE
    assert HOSTILE in result.page.inner_text("[aria-labelledby='failures']")
    assert result.page.locator("script").count() == 1
    assert result.page.locator("img").count() == 0
    assert result.said == []
    assert len(result.asked) == 1
    result.page.close()
