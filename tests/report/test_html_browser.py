"""The page in a real headless Chromium: three widths, both themes, no complaint, no sideways scroll, no script."""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from costplan.plan.types import PlanSet

WIDTHS = (360, 768, 1280)
LONG = "an-instance-whose-name-never-ends-" * 6


@pytest.fixture
def written(planset: PlanSet, drawn: Callable[[PlanSet], str], tmp_path: Path) -> Path:
    """The page, with a name that is too long for any screen."""
    p = planset.plans[0]
    rental = replace(p.money.rental, price=replace(p.money.rental.price, instance=LONG))
    first = replace(p, money=replace(p.money, rental=rental))
    path = tmp_path / "plan.html"
    path.write_text(drawn(replace(planset, plans=(first, *planset.plans[1:]))), encoding="utf-8")
    return path


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
def test_it_fits_and_nothing_complains(browser: Any, written: Path, width: int, theme: str) -> None:
    browser.show(written, width, theme)
    assert browser.complaints() == []
    assert browser.ask("innerWidth") == width
    assert browser.ask("document.documentElement.scrollWidth") <= width
    wide = "[...document.querySelectorAll('svg,figure,table,dl,h1,.tiles')].filter(e => {const r = " \
           "e.getBoundingClientRect(); return r.left < -1 || r.right > innerWidth + 1}).length"
    assert browser.ask(wide) == 0
    assert browser.ask("performance.getEntriesByType('resource').length") == 0
    assert browser.ask("document.scripts.length") == 0
    paper = browser.ask("getComputedStyle(document.body).backgroundColor")
    assert paper == {"light": "rgb(255, 255, 255)", "dark": "rgb(20, 24, 29)"}[theme]


@pytest.mark.parametrize("width", WIDTHS)
def test_plots_are_drawn_and_their_text_can_be_read(browser: Any, written: Path, width: int) -> None:
    browser.show(written, width, "light")
    sizes = browser.ask("[...document.querySelectorAll('svg text')]"
                        ".map(t => parseFloat(getComputedStyle(t).fontSize) * t.getScreenCTM().a)")
    upright = [s for s in sizes if s > 1]  # a turned axis title has no width
    assert len(upright) > 60 and min(upright) >= 9
    boxes = browser.ask("[...document.querySelectorAll('svg')].map(s => [s.getBoundingClientRect().width, "
                        "s.getBoundingClientRect().height])")
    assert len(boxes) == 10 and all(w > 250 and h > 100 for w, h in boxes)
    outside = "[...document.querySelectorAll('svg text')].filter(t => {const r = t.getBoundingClientRect(), " \
              "s = t.ownerSVGElement.getBoundingClientRect(); return r.right > s.right + 4 || r.left < s.left - 4})" \
              ".map(t => t.textContent)"
    assert browser.ask(outside) == []


READ = """(() => {
  const rgb = c => c.match(/[\\d.]+/g).map(Number);
  const light = c => { const [r, g, b] = rgb(c).map(v => v / 255).map(v =>
    v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4); return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
  const behind = e => { for (; e; e = e.parentElement) { const c = getComputedStyle(e).backgroundColor;
    if (!c.endsWith(', 0)')) return c; } };
  const found = [];
  for (const e of document.querySelectorAll('body *')) {
    const own = [...e.childNodes].some(n => n.nodeType === 3 && n.data.trim());
    const style = getComputedStyle(e), drawn = e.namespaceURI.endsWith('svg');
    if (!own || !e.getClientRects().length || (drawn && style.stroke !== 'none')) continue;  // a stroke: the halo
    const [a, b] = [light(drawn ? style.fill : style.color), light(behind(e))].sort((x, y) => y - x);
    found.push([(a + 0.05) / (b + 0.05), e.textContent.trim().slice(0, 40)]);
  }
  return found;
})()"""


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_all_text_contrasts_as_drawn(browser: Any, written: Path, theme: str) -> None:
    browser.show(written, 768, theme)
    found = browser.ask(READ)
    assert len(found) > 200
    assert [f for f in found if f[0] < 4.5] == []


def test_on_dark_no_mark_keeps_a_colour_of_paper(browser: Any, written: Path) -> None:
    browser.show(written, 768, "dark")
    inks = browser.ask("[...new Set([...document.querySelectorAll('svg text')].map(t => getComputedStyle(t).fill))]")
    assert "rgb(232, 234, 237)" in inks
    assert not {"rgb(26, 29, 33)", "rgb(0, 0, 0)"} & set(inks)


def test_the_keyboard_reaches_links_and_numbers(browser: Any, written: Path) -> None:
    browser.show(written, 360, "light")
    reached = browser.ask("[...document.querySelectorAll('a,summary')].filter(e => {e.focus(); "
                          "return document.activeElement === e}).length")
    assert reached == browser.ask("document.querySelectorAll('a,summary').length") > 20
    assert browser.ask("getComputedStyle(document.querySelector('td')).display") == "flex"  # rows are cards here
    assert browser.ask("document.querySelector('tr').getAttribute('role')") == "row"  # and still rows to a reader


def test_the_policy_stops_what_should_not_be_there(browser: Any, written: Path, tmp_path: Path) -> None:
    """If all escaping failed, a script, a style attribute and a picture still would do nothing."""
    page = written.read_text(encoding="utf-8")
    evil = ("<script>document.title='taken'</script>"
            "<img src='https://example.invalid/x' onerror=\"document.title='taken'\">")
    path = tmp_path / "evil.html"
    path.write_text(page.replace("<header>", f"<header style='color:red'>{evil}", 1), encoding="utf-8")
    browser.show(path, 768, "light")
    assert browser.ask("document.title") != "taken"
    assert browser.ask("getComputedStyle(document.querySelector('header')).color") != "rgb(255, 0, 0)"
    said = " ".join(browser.complaints())
    assert "script" in said and "img-src" in said and "style" in said


def test_paper_is_white_and_whole(browser: Any, written: Path) -> None:
    browser.show(written, 768, "dark")
    printed = browser.driver.execute_cdp_cmd("Page.printToPDF", {"printBackground": True})["data"]
    assert base64.b64decode(printed).startswith(b"%PDF-")
    browser.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {
        "media": "print", "features": [{"name": "prefers-color-scheme", "value": "dark"}]})
    assert browser.ask("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert browser.ask("getComputedStyle(document.querySelector('nav')).display") == "none"
    assert browser.ask("document.documentElement.scrollWidth") <= 768
    browser.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})
