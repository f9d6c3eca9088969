"""Features that name each item: titles, addresses and the like, which tell nothing beside the item's id."""

SHARE = 0.8  # so many different values, of the items that have one
FEWEST = 20  # items, of which it can be said


def names_items(values: int, items: int) -> bool:
    """Whether a column of single tokens has nearly as many different values as items that have one."""
    return items >= FEWEST and values > SHARE * items
