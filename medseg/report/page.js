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
function save(text, name, type) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}
document.querySelector("#naming button.save")?.addEventListener("click", (event) => {
  save(labelFile(event.target.closest("details")), "labels.yaml", "application/yaml");
});
// Ratings of scans: in the table, in the viewer, and on the disk as ratings.csv.
const ratings = new Map([...document.querySelectorAll(".rating")].map((cell) => [cell.dataset.scan, cell]));
function rate(scan, rating, note) {
  const cell = ratings.get(scan);
  if (!cell) return;
  cell.querySelector("select").value = rating;
  cell.closest("td").dataset.value = rating || "-";
  cell.dataset.note = note;
}
for (const [scan, cell] of ratings) {
  cell.querySelector("select").addEventListener("change", (event) => rate(scan, event.target.value, cell.dataset.note));
}
function ratingsFile() {
  const quoted = (text) => `"${(/^[=+\-@\t\r]/.test(text) ? `'${text}` : text).replaceAll('"', '""')}"`;
  const rows = [...ratings].map(([scan, cell]) => [scan, cell.querySelector("select").value, cell.dataset.note]);
  return `scan,rating,note\n${rows.filter((row) => row[1] || row[2]).map((row) => `${row.map(quoted).join(",")}\n`).join("")}`;
}
document.getElementById("save-ratings")?.addEventListener("click", () => save(ratingsFile(), "ratings.csv", "text/csv"));
for (const button of document.querySelectorAll("button.copy")) {
  button.addEventListener("click", async () => {
    const text = document.getElementById(button.dataset.of).innerText;
    try { await navigator.clipboard.writeText(text); } catch { getSelection().selectAllChildren(document.getElementById(button.dataset.of)); }
  });
}
for (const button of document.querySelectorAll("button.suggest")) {
  button.addEventListener("click", () => {
    document.getElementById("naming").open = true;
    document.querySelector(`#naming input[data-field="name"][data-number="${button.dataset.number}"]`).value = button.dataset.name;
    button.textContent = "taken: save labels.yaml below";
  });
}
