"""The page in a real browser without a window and without a network: what it shows, sorts, prints and logs."""

import base64
import re

import pytest


@pytest.fixture
def page(browser, example_folder, seen_in_browser):
    seen_in_browser(browser.capabilities["browserName"], browser.capabilities["browserVersion"])
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})
    resize(browser, 1400)
    browser.get((example_folder / "index.html").as_uri())
    return browser


def resize(page, width):
    page.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False},
    )


def column(page, number):
    """The texts of a column of the first ranking table."""
    return page.execute_script(
        "return [...document.querySelector('table.ranking').tBodies[0].rows]"
        ".map(row => row.cells[arguments[0]].querySelector('.text').textContent)",
        number,
    )


def head(page, title):
    """(number, element) of the first ranking table's column of that title."""
    table = page.find_element("css selector", "table.ranking")
    for number, element in enumerate(table.find_elements("css selector", "thead th")):
        if element.find_element("css selector", ".title").text.split("\n")[0].strip(" ▲▼") == title:
            return number, element
    raise AssertionError(f"no column {title}")


def click(page, element):
    """A click of the mouse in the middle of an element's button, scrolled into the window first."""
    button = element.find_element("css selector", "button")
    page.execute_script("arguments[0].scrollIntoView({block: 'center', inline: 'center'})", button)
    button.click()


def test_the_page_logs_nothing_and_asks_for_nothing(page):
    assert page.title == "Neighbours, networks and item features on session logs"
    assert page.get_log("browser") == []
    asked = page.execute_script("return performance.getEntriesByType('resource').map(e => e.name)")
    assert all(address.startswith("data:") for address in asked)  # pictures that it holds itself


def test_hostile_labels_ran_no_script(page, hostile_label):
    assert page.execute_script("return document.querySelectorAll('main b, [onmouseover]').length") == 0
    names = column(page, 1)
    assert hostile_label in names


def test_the_security_policy_lets_no_other_script_run(page):
    page.execute_script(
        "const s = document.createElement('script'); s.textContent = 'window.intruder = true'; document.body.append(s)"
    )
    assert page.execute_script("return window.intruder") is None
    assert any("Content Security Policy" in entry["message"] for entry in page.get_log("browser"))


def test_every_picture_is_there(page):
    sizes = page.execute_script(
        "return [...document.querySelectorAll('figure img')].map(e => [e.complete, e.naturalWidth,"
        " e.getBoundingClientRect().width, e.getBoundingClientRect().height])"
    )
    assert len(sizes) == 13
    assert all(
        whole and drawn > 500 and width > 500 and height > 100 for whole, drawn, width, height in sizes
    )


def test_a_click_sorts_by_number_both_ways_and_says_so(page):
    place, by_place = head(page, "#")
    assert by_place.get_attribute("aria-sort") == "ascending"  # the order it comes in
    assert column(page, place) == list("123456")
    number, training = head(page, "training")
    assert column(page, number) == ["6.9 min", "11 min", "3.1 s", "5.0 min", "8.8 min", "0.3 s"]
    click(page, training)
    assert training.get_attribute("aria-sort") == "descending"
    assert by_place.get_attribute("aria-sort") is None
    assert column(page, number) == [
        "11 min",
        "8.8 min",
        "6.9 min",
        "5.0 min",
        "3.1 s",
        "0.3 s",
    ]  # seconds, not texts
    click(page, training)
    assert training.get_attribute("aria-sort") == "ascending"
    assert column(page, number) == ["0.3 s", "3.1 s", "5.0 min", "6.9 min", "8.8 min", "11 min"]
    click(page, by_place)
    assert column(page, place) == list("123456")


def test_differences_sort_by_sign_and_missing_values_stay_last(page):
    number, difference = head(page, "to baseline")
    click(page, difference)
    assert column(page, number) == [
        "+.0119",
        "–",
        "−.0006",
        "−.0243",
        "−.0260",
        "−.2191",
    ]  # the baseline itself is 0
    number, parameters = head(page, "parameters")
    click(page, parameters)
    assert column(page, number) == ["4.81 M", "3.01 M", "2.90 M", "2.89 M", "1", "–"]
    click(page, parameters)
    assert column(page, number) == ["1", "2.89 M", "2.90 M", "3.01 M", "4.81 M", "–"]


def test_tables_sort_by_keyboard_and_by_name(page):
    number, name = head(page, "model")
    button = name.find_element("css selector", "button")
    page.execute_script("arguments[0].focus()", button)
    button.send_keys("\ue007")  # Enter
    assert name.get_attribute("aria-sort") == "ascending"
    assert column(page, number)[1:] == ["HRNNFeat", "NARM", "Pop", "SASRec", "VSTAN"]


def test_a_table_of_words_and_numbers_sorts_whole(page):
    """Every sortable table keeps its rows whatever column is clicked."""
    before, after = page.execute_script(
        """
        const texts = table => [...table.tBodies[0].rows].map(row => row.textContent).sort().join('|');
        const tables = [...document.querySelectorAll('table.sortable')];
        const before = tables.map(texts);
        for (const button of document.querySelectorAll('thead button')) { button.click(); button.click(); }
        return [before, tables.map(texts)];
        """
    )
    assert len(before) > 10
    assert before == after
    assert page.get_log("browser") == []


@pytest.mark.parametrize("width", [400, 768, 1400])
def test_nothing_is_wider_than_the_window(page, width):
    resize(page, width)
    page.execute_script("document.querySelectorAll('details').forEach(fold => fold.open = true)")
    assert page.execute_script("return [innerWidth, document.documentElement.scrollWidth]") == [width, width]
    beside = page.execute_script(
        "return [...document.querySelectorAll('p, h1, h2, h3, pre, .scroll, .answer')]"
        ".filter(e => e.getBoundingClientRect().right > innerWidth).map(e => e.textContent.slice(0, 40))"
    )
    assert beside == []


@pytest.mark.parametrize("width", [420, 1400])
def test_pictures_shrink_to_the_window_and_do_not_scroll(page, width):
    resize(page, width)
    page.execute_script("document.querySelectorAll('details').forEach(fold => fold.open = true)")
    shown = page.execute_script(
        """
        return [...document.querySelectorAll('figure img')].map(image => {
            let box = image.parentElement;
            while (box.tagName != 'BODY' && box.scrollWidth <= box.clientWidth) box = box.parentElement;
            const {left, right, width, height} = image.getBoundingClientRect();
            const shape = height / width * image.naturalWidth / image.naturalHeight;
            return [box.tagName, left >= 0 && right <= innerWidth, Math.round(100 * shape)];
        })
        """
    )
    assert len(shown) > 5 and all(one == ["BODY", True, 100] for one in shown)


@pytest.mark.parametrize("width", [360, 420, 1000, 1400])
def test_labels_in_pictures_are_large_enough_to_read(page, width):

    resize(page, width)
    page.execute_script("document.querySelectorAll('details').forEach(fold => fold.open = true)")
    shown = page.execute_async_script(
        "const images = [...document.querySelectorAll('figure img')], done = arguments[0];"
        "Promise.all(images.map(e => e.decode())).then(() =>"  # the other picture of the two, once it is there
        " done(images.map(e => [e.currentSrc, e.getBoundingClientRect().width])))"
    )
    assert len(shown) == 13
    for source, pixels in shown:
        svg = base64.b64decode(source.partition("base64,")[2]).decode()
        points = float(re.search(r'viewBox="0 0 ([\d.]+)', svg)[1])
        sizes = [float(size) for size in re.findall(r"font-size: ([\d.]+)px", svg)]
        assert sizes and min(sizes) * pixels / points > 8
        assert (points < 400) == (width < 960)


def test_it_prints_with_folded_tables_open_and_folds_them_again(page):
    answer = page.execute_cdp_cmd("Page.printToPDF", {"preferCSSPageSize": True, "printBackground": True})
    pdf = base64.b64decode(answer["data"])
    assert pdf.startswith(b"%PDF")
    assert len(re.findall(rb"/Type\s*/Page\b", pdf)) > 5
    assert page.execute_script("return document.querySelectorAll('details[open]').length") == 0
    opened = page.execute_script(
        "window.dispatchEvent(new Event('beforeprint'));"
        "return [...document.querySelectorAll('details')].map(fold => [fold.open, fold.className])"
    )
    assert len(opened) > 10
    assert all(is_open == (name != "long") for is_open, name in opened)
