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
// Saves names and colours as the labels.yaml that `medseg label MODEL --from` reads; JSON strings are YAML strings.
function labelFile(form) {
  const lines = ["# Labels of a model: medseg label MODEL --from labels.yaml", "labels:"];
  for (const name of form.querySelectorAll('input[data-field="name"]')) {
    const color = form.querySelector(`input[data-field="color"][data-number="${name.dataset.number}"]`).value;
    const parts = [1, 3, 5].map((start) => parseInt(color.slice(start, start + 2), 16));
    const text = name.value.trim() || `label ${name.dataset.number}`;
    lines.push(`  ${name.dataset.number}:`, `    name: ${JSON.stringify(text)}`, `    color: [${parts.join(", ")}]`);
  }
  return `${lines.join("\n")}\n`;
}
document.querySelector("#naming button")?.addEventListener("click", (event) => {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([labelFile(event.target.closest("details"))], { type: "application/yaml" }));
  link.download = "labels.yaml";
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
});
