"""Numbers as shops write them: `12,99`, `€ 12.99`, `1.299,00 EUR`; read where the column leaves no doubt."""

from __future__ import annotations

import re
from dataclasses import dataclass

from recbole_ext.convert.engine import pl

SYMBOLS = "€$£¥₹₽₩₺₴₪₫฿₱"
CODES = (
    *(
        "EUR",
        "USD",
        "GBP",
        "JPY",
        "CNY",
        "RMB",
        "INR",
        "RUB",
        "KRW",
        "TRY",
        "UAH",
        "ILS",
        "VND",
        "THB",
        "PHP",
    ),
    *(
        "CHF",
        "SEK",
        "NOK",
        "DKK",
        "PLN",
        "CZK",
        "HUF",
        "RON",
        "BGN",
        "BRL",
        "MXN",
        "ARS",
        "CLP",
        "COP",
        "CAD",
    ),
    *(
        "AUD",
        "NZD",
        "SGD",
        "HKD",
        "TWD",
        "IDR",
        "MYR",
        "ZAR",
        "AED",
        "SAR",
        "EGP",
        "KZT",
        "kr",
        "zł",
        "Kč",
        "Ft",
    ),
)
CURRENCY = f"(?:[A-Z]{{0,2}}[{SYMBOLS}]|{'|'.join(CODES)}|R\\$|Rs[.]?|%)"
GAP = "[ \u00a0\u202f]"
POINT = r"[+-]?(?:[0-9]+|[0-9]{1,3}(?:,[0-9]{3})+)(?:[.][0-9]+)?(?:[eE][+-]?[0-9]+)?"  # 1,299.50
COMMA = rf"[+-]?(?:[0-9]+|[0-9]{{1,3}}(?:[.][0-9]{{3}})+|[0-9]{{1,3}}(?:{GAP}[0-9]{{3}})+)(?:,[0-9]+)?"  # 1.299,50
WORDS = (
    *(
        "price",
        "cost",
        "amount",
        "msrp",
        "rrp",
        "revenue",
        "rating",
        "stars",
        "score",
        "review",
        "count",
        "num",
    ),
    *("number", "qty", "quantity", "stock", "inventory", "weight", "width", "height", "depth", "discount"),
    *("popularity", "views", "sold", "sales", "margin", "pages", "duration", "clicks", "likes"),
)
NO_AMOUNTS = (
    "id",
    "code",
    "key",
    "band",
    "range",
    "class",
    "group",
    "type",
    "level",
    "bucket",
    "currency",
    "date",
)
SHARE = 0.9


@dataclass(frozen=True)
class Amounts:
    """The numbers of a column: numbers, (N,) texts with a decimal point, null where there is none.

    is_money: they have currencies, or decimal commas. example: how one is read, where not as it stands. doubt: why a
    column that looks like numbers is none.
    """

    numbers: pl.Series
    is_money: bool = False
    example: str = ""
    doubt: str = ""


def is_amount(name: str) -> bool:
    """Whether a column is called like one of amounts, whose whole numbers are no codes: price, review_count …"""
    words = [word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", name)]
    stems = {word.removesuffix("s") for word in words} | set(words)
    return not stems.isdisjoint(WORDS) and stems.isdisjoint(NO_AMOUNTS)


def read_amounts(texts: pl.Series) -> Amounts:
    """The numbers of a column of texts, null where missing: with a decimal point, or with a decimal comma if that
    fits more of them; one currency around them goes. A text that may be
    either (1,234) is none where no other one decides."""
    values = texts.str.strip_chars(" ")
    money = values.str.extract(f"^(?:{CURRENCY}{GAP}*)?(.*?)(?:{GAP}*{CURRENCY})?$", 1)
    around = values.filter(values != money)
    named = around.str.extract(f"({CURRENCY})", 1).unique() if len(around) else around
    point, comma = money.str.contains(f"^{POINT}$"), money.str.contains(f"^{COMMA}$")
    nothing = pl.Series(texts.name, [None] * len(texts), dtype=pl.String)
    if len(named) > 1 and (point.sum() or comma.sum()):
        shown = ", ".join(sorted(named.drop_nulls())[:4])
        return Amounts(
            nothing, doubt=f"several currencies ({shown}): write all in one to make numbers of them"
        )
    with_comma = money.str.contains(",", literal=True)
    by_comma = bool(with_comma.any()) and int(comma.sum() or 0) > int(point.sum() or 0)
    unclear = with_comma & point & comma
    if unclear.any() and not by_comma and int(comma.sum() or 0) == int(point.sum() or 0):
        shown = str(values.filter(unclear)[0])
        return Amounts(nothing, doubt=f"such as {shown!r}, thousands or decimals: write a decimal point")
    if by_comma:
        bare = money.str.replace_all(f"[.]|{GAP}", "").str.replace(",", ".", literal=True)
        numbers = bare.zip_with(comma.fill_null(False), nothing)
    else:
        numbers = money.str.replace_all(",", "", literal=True).zip_with(point.fill_null(False), nothing)
    changed = (numbers != values).fill_null(False)
    example = ""
    if changed.any():
        example = f"{values.filter(changed)[0]!r} is {numbers.filter(changed)[0]}"
    two = money.filter((with_comma & comma).fill_null(False)).str.contains(",[0-9]{2}$")
    decimals = by_comma and len(two) > 0 and bool(two.all())
    thousands = not by_comma and bool((with_comma & point).any())
    return Amounts(numbers, len(named) > 0 or decimals or thousands, example)
