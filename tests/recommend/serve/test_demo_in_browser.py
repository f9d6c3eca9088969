"""The demo page in a real browser without a window: items picked, lists and why, light and dark, phone and desktop."""

import contextlib
import socket
import threading
import time

import pytest
import uvicorn

WAIT = 60


@contextlib.contextmanager
def serving(served, token=None):
    """The address of a server in a thread."""
    from recbole_ext.recommend.serve.app import Service
    from recbole_ext.settings.limits import Limits

    bound = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(Service(served, Limits(), token).app(), log_level="warning")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]})
    thread.start()
    try:
        yield f"http://127.0.0.1:{bound.getsockname()[1]}/"
    finally:
        server.should_exit = True
        thread.join(WAIT)


@pytest.fixture(scope="module")
def address(served):
    with serving(served) as found:
        yield found


@pytest.fixture
def page(browser, address, seen_in_browser):
    seen_in_browser(browser.capabilities["browserName"], browser.capabilities["browserVersion"])
    resize(browser, 1400)
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
    browser.get(address)
    until(browser, "document.querySelectorAll('#lists li').length")
    return browser


def resize(page, width):
    page.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600},
    )


def until(page, condition, *arguments):
    """Wait for what JavaScript says to become true; what it is then."""
    end = time.monotonic() + WAIT
    while not (found := page.execute_script(f"return {condition}", *arguments)):
        assert time.monotonic() < end, condition
        time.sleep(0.02)
    return found


def fresh(page):
    """Wait for the list of the session as it is."""
    until(page, "!document.querySelector('#lists.old') && !document.querySelector('#error').textContent")


def listed(page):
    return page.execute_script("return [...document.querySelectorAll('#lists li')].map(e => e.dataset.item)")


def session(page):
    return page.execute_script(
        "return [...document.querySelectorAll('#session li span')].map(e => e.textContent)"
    )


def pick(page, words, item):
    box = page.find_element("id", "words")
    box.clear()
    box.send_keys(words)
    # found and clicked in one step, as the search may go on
    until(
        page,
        "(e => e && (e.click(), true))(document.querySelector(`#found [data-item='${arguments[0]}']`))",
        item,
    )
    until(
        page,
        "[...document.querySelectorAll('#session li span')].some(e => e.textContent === arguments[0])",
        item,
    )
    fresh(page)


def best(recommender, items, k=10, **options):
    return [item for item, _ in recommender.lists([items], k, **options).of(0)]


def test_picked_items_make_the_list(page, asked_hrnn):
    assert page.title == "HRNNFeat on shop" and listed(page) == best(asked_hrnn, [])
    pick(page, "i1", "i1")
    pick(page, "c2", "i17")
    assert session(page) == ["i1", "i17"] and listed(page) == best(asked_hrnn, ["i1", "i17"])
    categories = page.execute_script(
        "return [...document.querySelectorAll('#lists .what')].map(e => e.textContent)"
    )
    assert categories == [asked_hrnn.category(item) for item in listed(page)]
    why = page.execute_script(
        "return [...document.querySelectorAll('#lists .why')].map(e => e.textContent).join()"
    )
    assert "same category as the last item" in why and "copied from the session" in why

    page.find_element("css selector", "#lists li button").click()
    until(page, "document.querySelectorAll('#session li').length === 3")
    fresh(page)
    page.find_element("css selector", "#session button").click()
    until(page, "document.querySelectorAll('#session li').length === 2")
    fresh(page)
    assert session(page)[0] == "i17" and listed(page) == best(asked_hrnn, session(page))
    page.find_element("id", "clear").click()
    until(page, "document.querySelectorAll('#session li').length === 0")
    fresh(page)
    assert listed(page) == best(asked_hrnn, []) and page.get_log("browser") == []


def test_keys_alone_do(page, asked_hrnn):
    from selenium.webdriver.common.keys import Keys

    box = page.find_element("id", "words")
    box.send_keys("i23")
    until(page, "document.querySelector('#found button')")
    box.send_keys(Keys.ENTER)
    until(page, "document.querySelectorAll('#session li').length === 1")
    fresh(page)
    assert listed(page) == best(asked_hrnn, ["i23"])
    box.send_keys(Keys.ARROW_DOWN)
    assert page.execute_script("return document.activeElement.dataset.item") == "i23"


def test_options_and_examples(page, asked_hrnn):
    page.find_element("css selector", "#examples button").click()
    until(page, "document.querySelectorAll('#session li').length")
    fresh(page)
    items = asked_hrnn.examples[0]
    assert session(page) == items
    page.find_element("id", "seen").click()
    page.execute_script("document.getElementById('k').value = 4")
    where = page.find_element("id", "where")
    where.send_keys("available == 1\t")
    until(page, "document.querySelectorAll('#lists li').length === 4")
    fresh(page)
    assert listed(page) == best(asked_hrnn, items, 4, exclude_seen=True, where="available == 1")
    where.send_keys(" and weight < 3\t")
    error = until(page, "document.querySelector('#error').textContent")
    assert "the items have no feature weight" in error
    assert len(listed(page)) == 4 and page.find_elements("css selector", "#lists.old")


def test_words_that_no_item_has(page):
    page.find_element("id", "words").send_keys("nosuchitem")
    assert until(page, "document.querySelector('#none').textContent") == "No item has these words."


def test_nothing_sticks_out_and_all_can_be_tapped(page):
    pick(page, "i1", "i1")
    for width in (1400, 800, 360):
        resize(page, width)
        assert page.execute_script("return document.documentElement.scrollWidth") <= width
        small = page.execute_script(
            "return [...document.querySelectorAll('button, input:not([type=checkbox])')].filter(e => e.offsetParent"
            " && e.getBoundingClientRect().height < 43).map(e => e.outerHTML)"
        )
        assert small == []
    labels = page.execute_script(
        "return [...document.querySelectorAll('input')].filter(e => e.offsetParent && !e.labels.length).length"
    )
    assert labels == 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_words_are_readable(page, scheme):
    """At least 4.5 to 1 between text and what is behind it (WCAG 2.2, 1.4.3)."""
    page.execute_cdp_cmd(
        "Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    )
    pick(page, "i1", "i1")
    found = page.execute_script(
        """
        const light = c => {
          const [r, g, b] = c.match(/[\\d.]+/g).slice(0, 3).map(v => { v /= 255;
            return v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; });
          return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
        const behind = e => { for (; e; e = e.parentElement) {
          const c = getComputedStyle(e).backgroundColor; if (!/, 0\\)$/.test(c)) return c; }
          return 'rgb(255, 255, 255)'; };
        return [...document.querySelectorAll('body *')]
          .filter(e => e.offsetParent && [...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim()))
          .map(e => { const a = light(getComputedStyle(e).color), b = light(behind(e));
            return [(Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05), e.outerHTML.slice(0, 80)]; })
          .sort((a, b) => a[0] - b[0])[0];
        """
    )
    assert found[0] >= 4.5, found
    paper = page.execute_script("return getComputedStyle(document.body).backgroundColor")
    assert paper == {"light": "rgb(255, 255, 255)", "dark": "rgb(21, 23, 26)"}[scheme]


def test_it_loads_nothing_else_and_lets_nothing_in(page, address):
    asked = page.execute_script("return performance.getEntriesByType('resource').map(e => e.name)")
    assert all(name.startswith((address, "data:")) for name in asked)
    page.execute_script(
        "const s = document.createElement('script'); s.textContent = 'window.intruder = true'; document.body.append(s)"
    )
    assert page.execute_script("return window.intruder") is None
    assert any("Content Security Policy" in entry["message"] for entry in page.get_log("browser"))


def test_a_token_is_asked_for(browser, served, seen_in_browser):
    seen_in_browser(browser.capabilities["browserName"], browser.capabilities["browserVersion"])
    with serving(served, token="secret") as address:
        browser.get(address)
        until(browser, "!document.querySelector('#door').hidden")
        box = browser.find_element("id", "token")
        box.send_keys("wrong\n")
        assert until(browser, "document.querySelector('#error').textContent") == "This is not its token."
        box.clear()
        box.send_keys("secret\n")
        until(browser, "document.querySelectorAll('#lists li').length")
        assert browser.execute_script("return document.querySelector('#door').hidden")
        browser.get("about:blank")


def test_the_docs_page_fits_and_logs_nothing(browser, address, seen_in_browser):
    seen_in_browser(browser.capabilities["browserName"], browser.capabilities["browserVersion"])
    browser.get(address + "docs")
    browser.get_log("browser")
    for width in (1400, 360):
        resize(browser, width)
        assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    assert "POST /recommend" in browser.find_element("tag name", "body").text
    assert browser.get_log("browser") == []
