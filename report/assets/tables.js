// Lets a reader sort every table.sortable: a button in each column's head, once up, once down.
(function () {
  "use strict";
  if (window.medmmTables) return; // every table names this script; it runs once
  window.medmmTables = true;

  // What a cell is sorted by: data-sort, else its text; as a number where it begins with one. Empty cells come last.
  function key(cell) {
    const text = ("sort" in cell.dataset ? cell.dataset.sort : cell.textContent).trim();
    const number = parseFloat(text.replace(/,/g, "").replace("−", "-"));
    return { text: text, number: number, empty: text === "" || text === "nan" };
  }

  function compare(a, b, sign) {
    if (a.empty || b.empty) return a.empty - b.empty;
    if (!isNaN(a.number) && !isNaN(b.number)) return sign * (a.number - b.number);
    return sign * a.text.localeCompare(b.text);
  }

  function sort(table, column, button) {
    const head = button.closest("th");
    const up = head.getAttribute("aria-sort") !== "ascending";
    table.querySelectorAll("thead th").forEach(function (other) { other.removeAttribute("aria-sort"); });
    head.setAttribute("aria-sort", up ? "ascending" : "descending");
    const body = table.tBodies[0];
    const rows = Array.from(body.rows).map(function (row) { return { row: row, key: key(row.cells[column]) }; });
    rows.sort(function (a, b) { return compare(a.key, b.key, up ? 1 : -1); });
    rows.forEach(function (one) { body.append(one.row); });
  }

  function prepare() {
    document.querySelectorAll("table.sortable").forEach(function (table) {
      table.querySelectorAll("thead th").forEach(function (head, column) {
        if (!head.textContent.trim()) return; // a button without a name would say nothing
        const button = document.createElement("button");
        button.type = "button";
        button.append(...head.childNodes);
        button.addEventListener("click", function () { sort(table, column, button); });
        head.append(button);
      });
    });
  }

  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", prepare);
  else prepare();
})();
