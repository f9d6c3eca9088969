"use strict";
// Tables sort on a click, or Enter, on a column's head. Cells bring what they sort by in data-sort (numbers) or as text;
// empty cells stay last in both directions. Without this script the page is whole, in the order it was written in.
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    const title = head.querySelector(".title");
    if (!title || !title.textContent.trim()) return;
    const button = document.createElement("button");
    button.type = "button";
    button.className = "title";
    button.textContent = title.textContent;
    title.replaceWith(button);
    button.addEventListener("click", () => sort(table, heads, column));
  });
}

function sort(table, heads, column) {
  const head = heads[column];
  const now = head.getAttribute("aria-sort");
  const first = head.classList.contains("n") && column > 0 ? "descending" : "ascending";
  const other = first === "ascending" ? "descending" : "ascending";
  const direction = now === first ? other : first;
  heads.forEach((each) => each.removeAttribute("aria-sort"));
  head.setAttribute("aria-sort", direction);
  const sign = direction === "ascending" ? 1 : -1;
  const rows = [...table.tBodies[0].rows].map((row) => ({ row, value: valueOf(row.cells[column]) }));
  rows.sort((a, b) => {
    if (a.value === null || b.value === null) return (a.value === null) - (b.value === null);
    if (typeof a.value === "number" && typeof b.value === "number") return sign * (a.value - b.value);
    if (typeof a.value !== typeof b.value) return typeof a.value === "number" ? -1 : 1;
    return sign * a.value.localeCompare(b.value, "en", { numeric: true });
  });
  table.tBodies[0].append(...rows.map((each) => each.row));
}

function valueOf(cell) {
  if ("sort" in cell.dataset) return Number(cell.dataset.sort);
  const text = cell.querySelector(".text").textContent.trim();
  return text === "" || text === "–" || text === "?" ? null : text;
}

// Paper cannot unfold: what is folded for brevity is printed, what is folded for length (class long) is not.
window.addEventListener("beforeprint", () => {
  for (const fold of document.querySelectorAll("details:not(.long):not([open])")) {
    fold.open = true;
    fold.dataset.printed = "";
  }
});
window.addEventListener("afterprint", () => {
  for (const fold of document.querySelectorAll("details[data-printed]")) {
    fold.open = false;
    delete fold.dataset.printed;
  }
});
