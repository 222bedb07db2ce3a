"""The page of a study in a real Chromium, opened from a file: looked at, clicked, typed into."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from medseg.report.study.write import write_study_page
from tests.report.study_data import HOSTILE, LABELS, made_cases, made_page

# Not page.wait_for_function, which the page's security policy forbids: it makes code from a string.
playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: the dev extra")
expect = playwright.expect
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium on the PATH to open the page")

COUNT = 120


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    return write_study_page(made_page(folder, COUNT), folder / "report.html", embedded_pictures=20)


@pytest.fixture(scope="module")
def chromium():
    with playwright.sync_playwright() as driver:
        # The sandbox refuses to run as root, as which containers run tests.
        root = hasattr(os, "geteuid") and os.geteuid() == 0
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"] if root else [])
        yield browser
        browser.close()


@pytest.fixture
def open_page(chromium, written):
    """Opens the page; at the end nothing has complained, and nothing but its own pictures was asked for."""
    contexts, complaints, requests = [], [], []

    def opened(**options):
        context = chromium.new_context(
            **{"viewport": {"width": 1280, "height": 800}, "reduced_motion": "reduce", **options}
        )
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: requests.append(request.url))
        page.goto(written.as_uri())
        page.wait_for_selector("html[data-ready]", state="attached")
        return page

    yield opened
    for context in contexts:
        assert context.pages[0].evaluate("window.broken") is None
        context.close()
    # The one picture that is not there: the page states it, and Chromium tells the console too.
    assert [text for text in complaints if "ERR_FILE_NOT_FOUND" not in text] == []
    for url in requests:
        if not url.startswith("data:"):
            assert urlsplit(url).scheme == "file"
            assert Path(unquote(urlsplit(url).path)).is_relative_to(written.parent)


def _badness(case):
    tier = {"failed": 0, "refused": 1, "warning": 2, "repaired": 4, "ok": 5}[case.verdict.status]
    return (3, case.score) if case.score is not None and tier > 1 else (tier, 0)


def _names(page):
    return page.locator(".card .name").all_text_contents()


def test_the_worst_cases_come_first_and_pages_are_turned(open_page, written):
    page = open_page()
    expected = [case.case_id for case in sorted(made_cases(written.parent, COUNT), key=_badness)]
    shown = _names(page)
    assert shown == [name.replace("\0", "\ufffd") if "\0" in name else name for name in expected[:48]]
    page.get_by_role("button", name="Next", exact=True).click()
    expect(page.get_by_text("Page 2 of 3")).to_be_visible()
    assert _names(page) == expected[48:96]
    page.get_by_role("button", name="Last", exact=True).click()
    assert _names(page) == expected[96:]
    assert page.get_by_role("button", name="Next", exact=True).is_disabled()


def test_cases_are_searched_and_filtered(open_page, written):
    page = open_page()
    cases = made_cases(written.parent, COUNT)
    page.get_by_label("Search case ids").fill("CASE-11")
    expect(page.locator(".card")).to_have_count(10)
    page.get_by_label("Verdict", exact=True).select_option("warning")
    expect(page.locator(".card")).to_have_count(2)
    assert set(_names(page)) == {"case-112", "case-117"}
    page.get_by_label("Search case ids").fill("")
    expect(page.locator(".card").nth(2)).to_be_visible()
    page.get_by_label("Reason", exact=True).select_option("out-of-scope")
    page.get_by_label("group", exact=True).select_option(label="patient")
    right = [c for c in cases if c.verdict.status == "warning" and c.columns["group"] == "patient"]
    expect(page.locator(".card")).to_have_count(len(right))
    page.get_by_label("Search case ids").fill("nothing is called so")
    expect(page.locator(".card")).to_have_count(0)
    expect(page.locator(".found")).to_contain_text("No case fits")


def test_a_reason_of_the_failures_leads_to_its_cases(open_page, written):
    page = open_page()
    page.get_by_role("button", name="Show cases: unreadable").click()
    count = sum(case.verdict.status == "failed" for case in made_cases(written.parent, COUNT))
    expect(page.locator(".found")).to_contain_text(f"{count} of 120 cases")
    expect(page.locator("#cases-heading")).to_be_focused()


def test_the_table_sorts_by_its_headings_and_says_so(open_page, written):
    page = open_page()
    page.get_by_role("button", name="Table", exact=True).click()
    heading = page.get_by_role("columnheader", name="anterior: Volume (mL)")
    expect(heading).to_have_attribute("aria-sort", "none")
    button = heading.get_by_role("button")
    volumes = [c.labels[LABELS[0]]["volume_ml"] for c in made_cases(written.parent, COUNT) if c.labels]
    for direction in ("ascending", "descending"):
        button.focus()
        page.keyboard.press("Enter")
        expect(heading).to_have_attribute("aria-sort", direction)
        assert page.evaluate("document.activeElement.dataset.sort") == "value"
        shown = [
            float(t) for t in page.locator("#case-browser tbody td.number:nth-child(4)").all_text_contents()
        ]
        ordered = sorted(volumes, reverse=direction == "descending")[:48]
        assert shown == pytest.approx(ordered, rel=5e-4)
    page.get_by_role("columnheader", name="Case", exact=True).get_by_role("button").click()
    expect(page.get_by_role("columnheader", name="Case", exact=True)).to_have_attribute(
        "aria-sort", "ascending"
    )
    names = page.locator("#case-browser tbody th").all_text_contents()
    plain = [name for name in names if name.startswith("case-")]
    assert plain == sorted(plain)


def test_a_case_opens_and_closes_by_keyboard(open_page, written):
    page = open_page()
    page.get_by_label("Search case ids").fill("case-1")
    expect(page.locator(".card")).to_have_count(20)
    page.get_by_label("Verdict", exact=True).select_option("ok")
    expect(page.locator(".card")).to_have_count(12)
    first, second = page.locator(".card .open").nth(0), page.locator(".card .open").nth(1)
    first.focus()
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog")
    name = _names(page)[0]
    expect(dialog.get_by_role("heading", name=name)).to_be_visible()
    case = next(c for c in made_cases(written.parent, COUNT) if c.case_id == name)
    cells = dialog.locator("tbody tr").first.locator("th, td").all_text_contents()
    assert cells[0] == LABELS[0]
    assert [float(cell) for cell in cells[1:]] == pytest.approx(
        list(case.labels[LABELS[0]].values()), rel=5e-4
    )
    page.keyboard.press("ArrowRight")
    expect(dialog.get_by_role("heading", name=_names(page)[1])).to_be_visible()
    page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)
    expect(first).to_be_focused()
    second.click()
    assert dialog.get_by_role("img").get_attribute("alt").startswith(f"{_names(page)[1]}: overlay")
    dialog.get_by_role("button", name="Close").click()
    expect(dialog).to_have_count(0)


def test_pictures_are_embedded_linked_or_missing_with_a_word(open_page, written):
    page = open_page()
    page.get_by_label("Verdict", exact=True).select_option("segmented")
    page.locator(".card img").first.scroll_into_view_if_needed()
    expect(page.locator(".card img").first).to_have_js_property("naturalWidth", 100)
    page.get_by_label("Sorted by", exact=True).select_option("id")
    linked = page.locator(".card img:not([src^='data:'])").first
    linked.scroll_into_view_if_needed()
    expect(linked).to_have_js_property("naturalWidth", 100)
    page.get_by_label("Search case ids").fill("case-020")
    page.get_by_text("case-020: its picture is not beside this page").wait_for()
    page.get_by_label("Verdict", exact=True).select_option("failed")
    page.get_by_label("Search case ids").fill("case-1")
    page.get_by_text("case-108: no picture (failed)").wait_for()


def test_hostile_text_is_shown_as_text(open_page):
    page = open_page()
    page.get_by_label("Search case ids").fill(HOSTILE[1])
    expect(page.locator(".card")).to_have_count(1)
    assert _names(page) == [HOSTILE[1]]
    page.locator(".card .open").click()
    assert page.get_by_role("dialog").locator("h2").text_content() == HOSTILE[1]
    page.keyboard.press("Escape")
    page.get_by_label("Search case ids").fill("long-long")
    expect(page.locator(".card .name").first).to_contain_text("long-long")
    page.locator(".card .open").click()
    expect(page.get_by_role("dialog")).to_be_visible()


def test_plots_follow_what_is_chosen_and_have_a_table(open_page):
    page = open_page()
    figure = page.locator("#distribution")
    expect(figure.locator("rect.box")).to_have_count(3)
    for select, option, boxes in (("Grouped by", "nothing", 1), ("Label", "all labels", 2)):
        page.locator("#distribution-controls").get_by_label(select).select_option(label=option)
        expect(figure.locator("rect.box")).to_have_count(boxes)
    figure.get_by_text("The same as a table").click()
    rows = figure.locator("tbody tr")
    assert rows.locator("th").all_text_contents() == list(LABELS)
    rows.first.get_by_role("button").first.click()
    expect(page.get_by_role("dialog")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator("#agreement-plot .point")).to_have_count(96)
    page.locator("#agreement-plot .point").first.click(force=True)
    expect(page.get_by_role("dialog")).to_be_visible()


def test_the_methods_are_copied(open_page):
    page = open_page(permissions=["clipboard-read", "clipboard-write"])
    page.get_by_role("button", name="Copy this text").click()
    page.get_by_text("Copied.").wait_for()
    copied = page.evaluate("navigator.clipboard.readText()")
    assert copied == f"Scans were segmented.\n\nVolumes were {HOSTILE[2]} compared."


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_fits_its_window_and_text_is_readable(open_page, width, scheme, tmp_path):
    page = open_page(viewport={"width": width, "height": 844}, color_scheme=scheme)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert len(page.screenshot(path=tmp_path / "page.png")) > 10_000
    colours = page.evaluate(
        """() => {
            const texts = document.querySelectorAll('h1, p, td, th, button, figcaption, .faint, a, .absent');
            const back = (node) => {
                const colour = getComputedStyle(node).backgroundColor;
                return colour !== 'rgba(0, 0, 0, 0)' ? colour : back(node.parentElement);
            };
            const ink = (node) => getComputedStyle(node).color;
            return [...texts].map((node) => [ink(node), back(node), node.disabled === true]);
        }"""
    )
    assert len(colours) > 100
    for ink, back, disabled in {tuple(pair) for pair in colours}:
        assert disabled or _contrast(ink, back) >= 4.5, (ink, back)


def test_axe_finds_nothing(open_page):
    """axe-core is JavaScript: after npm install axe-core MEDSEG_AXE names its axe.min.js."""
    if "MEDSEG_AXE" not in os.environ:
        pytest.skip("MEDSEG_AXE does not name axe.min.js")
    page = open_page()
    page.evaluate(Path(os.environ["MEDSEG_AXE"]).read_text(encoding="utf-8"))
    states = [lambda: None, page.get_by_role("button", name="Table", exact=True).click]
    states.append(page.locator("#case-browser tbody .link").first.click)
    for change in states:
        change()
        found = page.evaluate("axe.run()")["violations"]
        assert [(rule["id"], rule["nodes"][0]["html"]) for rule in found] == []


def test_without_javascript_the_results_are_still_there(open_page, chromium, written):
    page = chromium.new_context(java_script_enabled=False).new_page()
    page.goto(written.as_uri())
    expect(page.get_by_role("heading", name="Failures and warnings")).to_be_visible()
    assert page.locator("#statistics td").first.text_content() == "0.01235"
    page.context.close()


def _contrast(first, second):
    """WCAG 2.2's contrast ratio of two colours written as rgb(...)."""

    def luminance(text):
        parts = [float(n) / 255 for n in text[text.index("(") + 1 : -1].split(",")[:3]]
        linear = [n / 12.92 if n <= 0.04045 else ((n + 0.055) / 1.055) ** 2.4 for n in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    light, dark = sorted((luminance(first), luminance(second)), reverse=True)
    return (light + 0.05) / (dark + 0.05)
