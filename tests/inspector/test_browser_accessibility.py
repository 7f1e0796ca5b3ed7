"""The page in a real browser by keyboard, to a screen reader, on a phone, and in the dark.

The tests share one application, so each has groups of its own, and looks for these.
"""

import re
from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import expect
from tests.browsers import SOON

from .windows import Application, Window

pytestmark = [pytest.mark.browser, pytest.mark.timeout(120)]


POINTS = """(wanted) => document.querySelector("#plot-messages").dataset.points >= wanted"""


def test_a_plot_tells_its_numbers_to_a_keyboard_and_a_screen_reader(
    window: Callable[..., Window],
) -> None:
    page = window().open()
    page.page.wait_for_function(POINTS, arg=3, timeout=SOON)
    chart = page.page.get_by_role("img", name=re.compile("^Messages per second, now: Sent "))
    chart.focus()
    page.page.keyboard.press("Home")
    told = page.page.get_by_role("img", name=re.compile(r"^Messages per second, \d+ seconds ago"))
    expect(told).to_be_visible()
    page.page.keyboard.press("Escape")
    expect(chart).to_be_visible()


def test_a_group_is_found_and_chosen_with_the_keyboard_alone(
    window: Callable[..., Window], app: Application
) -> None:
    for name in ("key.alpha", "key.beta", "key.gamma"):
        app.join(name, 1)
    page = window().open()
    expect(page.button("key.beta")).to_be_visible(timeout=SOON)
    page.page.keyboard.press("Tab")
    expect(page.page.get_by_role("link", name="Skip to the numbers")).to_be_focused()
    page.page.keyboard.press("Enter")
    search = page.page.get_by_label("Find groups by a part of the name")
    for _ in range(20):  # past the plots
        page.page.keyboard.press("Tab")
        if search.evaluate("input => input === document.activeElement"):
            break
    page.page.keyboard.type("y.gamm")
    page.sees_groups("key.gamma 1")
    page.page.keyboard.press("Tab")
    page.page.keyboard.press("Tab")
    expect(page.button("key.gamma")).to_be_focused()
    page.page.keyboard.press("Enter")
    expect(page.page.locator("#tail-title")).to_have_text("Messages of key.gamma")
    search.fill("nothing")
    expect(page.page.locator("#groups-note")).to_have_text(
        "No group has this in its name.", timeout=SOON
    )


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_a_phone_and_its_text_can_be_read(
    scheme: str, window: Callable[..., Window], app: Application
) -> None:
    group = f"{scheme}.a-group-with-a-rather-long-name." + "x" * 60
    app.join(group, 3)
    page = window(viewport={"width": 360, "height": 740}, color_scheme=scheme).open()
    page.sees_light("#health", "good")
    page.follow(group)
    page.has_no_sideways_scroll()
    faint = page.page.evaluate(
        """() => {
            const parse = (color) => color.match(/[\\d.]+/g).slice(0, 3).map(Number);
            const light = (color) => {
                const [r, g, b] = parse(color).map((c) => (c /= 255) <= 0.03928
                    ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
                return 0.2126 * r + 0.7152 * g + 0.0722 * b;
            };
            const ground = (element) => {
                for (; element; element = element.parentElement) {
                    const color = getComputedStyle(element).backgroundColor;
                    if (!/, 0\\)|transparent/.test(color) && !color.includes("/")) return color;
                }
            };
            const faint = [];
            for (const element of document.querySelectorAll("body *")) {
                const own = [...element.childNodes].some((n) => n.nodeType === 3 && n.data.trim());
                if (!own || !element.checkVisibility() || element.closest("svg, .label")) continue;
                const [a, b] = [getComputedStyle(element).color, ground(element)].map(light);
                const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
                if (contrast < 4.5) faint.push([element.outerHTML.slice(0, 80), contrast]);
            }
            return faint;
        }"""
    )
    assert faint == []


def test_everything_that_can_be_used_has_a_name(window: Callable[..., Window], app: Any) -> None:
    app.join("named", 1)
    page = window().open()
    page.follow("named")
    nameless = page.page.evaluate(
        """() => [...document.querySelectorAll("button, input, a, section, nav, [tabindex='0']")]
            .filter((e) => e.checkVisibility())
            .filter((e) => !(e.ariaLabel || e.textContent.trim() || e.labels?.length
                || e.getAttribute("aria-labelledby")))
            .map((e) => e.outerHTML)"""
    )
    assert nameless == []
    levels = page.page.evaluate(
        "[...document.querySelectorAll('h1, h2, h3')].map((h) => h.tagName).join(' ')"
    )
    assert re.fullmatch("H1( H2)+", levels)
