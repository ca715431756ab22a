"use strict";
// Sorts a table by the data-value of its cells; cells without a value stay last.
function sortBy(header) {
  const table = header.closest("table");
  const column = [...header.parentElement.children].indexOf(header);
  const descending = header.getAttribute("aria-sort") === "ascending";
  const isNumber = header.dataset.kind === "number";
  const rows = [...table.tBodies[0].rows].map((row) => [row.cells[column].dataset.value ?? "", row]);
  const compare = (a, b) => {
    if (a === "" || b === "") return (a === "") - (b === "");
    const order = isNumber ? Number(a) - Number(b) : a.localeCompare(b, undefined, { numeric: true });
    return descending ? -order : order;
  };
  rows.sort((a, b) => compare(a[0], b[0]));
  table.tBodies[0].append(...rows.map((row) => row[1]));
  for (const other of header.parentElement.children) other.removeAttribute("aria-sort");
  header.setAttribute("aria-sort", descending ? "descending" : "ascending");
}
for (const button of document.querySelectorAll("th button")) {
  button.addEventListener("click", () => sortBy(button.closest("th")));
}
