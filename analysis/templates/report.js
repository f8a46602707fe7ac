"use strict";
// Tables are sorted by their heads and filtered by what is typed; without this they are plain tables.
for (const table of document.querySelectorAll("table")) {
  const body = table.tBodies[0], rows = [...body.rows], heads = [...table.tHead.rows[0].cells];
  if (rows.length < 2) continue;

  const key = (row, place) => {
    const cell = row.cells[place];
    return "order" in cell.dataset ? (cell.dataset.order === "" ? null : Number(cell.dataset.order)) : cell.textContent;
  };
  const compare = (a, b) => (typeof a === "number" ? a - b : a.localeCompare(b, "en", { numeric: true }));

  heads.forEach((head, place) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = head.textContent;
    head.replaceChildren(button);
    button.addEventListener("click", () => {
      const down = head.getAttribute("aria-sort") === "ascending";
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      const keyed = rows.map((row) => [key(row, place), row]);
      keyed.sort(([a], [b]) => (a === null || b === null ? (a === null) - (b === null) : down ? compare(b, a) : compare(a, b)));
      body.append(...keyed.map(([, row]) => row));
    });
  });

  if (rows.length < 5) continue;
  const line = document.createElement("p"), label = document.createElement("label");
  const input = document.createElement("input"), count = document.createElement("span");
  line.className = "filter";
  input.type = "search";
  count.setAttribute("role", "status");
  label.append("Filter: ", input);
  line.append(label, " ", count);
  table.closest(".wide").before(line);
  input.addEventListener("input", () => {
    const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
    for (const row of rows) {
      const text = [...row.cells].map((cell) => cell.textContent.toLowerCase()).join(" ");
      row.hidden = !words.every((word) => text.includes(word));
    }
    count.textContent = words.length ? `${rows.filter((row) => !row.hidden).length} of ${rows.length} rows` : "";
  });
}
addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((one) => (one.open = true)));
