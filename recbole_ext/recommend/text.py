"""Lists as text for the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from recbole_ext.recommend.lists import Lister, Lists
from recbole_ext.wording import several


def lists_text(recommender: Lister, sessions: Sequence[Sequence[str]], lists: Lists) -> str:
    """Each session's items, and below its list: rank, item, category where there is one, score, evidence."""
    lines = [f"{recommender.model} of {recommender.run}, {several(len(recommender.items), 'item')}"]
    for place, session in enumerate(sessions):
        lines += ["", f"  after {', '.join(session) or 'nothing'}"]
        for rank, (item, score) in enumerate(lists.of(place), 1):
            about = recommender.category(item)
            said = "popular" if score != score else f"{score:.3f}"
            evidence = "".join(
                f"  {name} {values[place, rank - 1]:.3g}"
                for name, values in lists.evidence.items()
                if values[place, rank - 1]
            )
            lines.append(f"  {rank:>4}  {item:<12} {about:<14} {said:>9}{evidence}")
    return "\n".join(lines)
