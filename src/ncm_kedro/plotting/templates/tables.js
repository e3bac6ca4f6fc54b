// Words read from the left, short cells stay on one line. A click on a heading sorts its column: by
// number where every cell starts with one. Paper shows all.
const SHORT = 26;
const readNumber = text => parseFloat(text.replace("\u2212", "-").replace(/^[+<>~]\s*/, ""));
const isNumber = text => /^[+<>~\u2212-]?\s*\d[\d.]*(e[+\u2212-]?\d+)?(?!\w)/.test(text);
function dressColumn(table, column) {
  const cells = [...table.tBodies[0].rows].map(row => row.cells[column]).filter(Boolean);
  const texts = cells.map(cell => cell.textContent.trim()).filter(Boolean);
  const words = !texts.every(isNumber), long = texts.some(text => text.length > SHORT);
  for (const cell of [table.tHead.rows[0].cells[column], ...cells]) {
    cell.classList.toggle("words", words);
    cell.classList.toggle("long", long);
    cell.classList.toggle("short", cell.tagName === "TD" && !long);
  }
}
function sortRows(head) {
  const column = head.cellIndex, body = head.closest("table").tBodies[0];
  const direction = head.ariaSort === "ascending" ? -1 : 1;
  const cells = row => row.cells[column].textContent.trim();
  const isNumeric = [...body.rows].map(cells).filter(Boolean).every(isNumber);
  const rank = text => isNumeric ? readNumber(text) : text.toLowerCase();
  const compare = (one, other) => one < other ? -direction : one > other ? direction : 0;
  const rows = [...body.rows].sort((one, other) => {
    const [left, right] = [cells(one), cells(other)];
    return !left || !right ? !left - !right : compare(rank(left), rank(right));
  });
  for (const other of head.parentElement.cells) other.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", direction > 0 ? "ascending" : "descending");
  body.append(...rows);
}
for (const head of document.querySelectorAll("table thead th")) {
  dressColumn(head.closest("table"), head.cellIndex);
  const button = document.createElement("button");
  button.append(...head.childNodes);
  button.addEventListener("click", () => sortRows(head));
  head.append(button);
}
addEventListener("beforeprint", () => {
  for (const folded of document.querySelectorAll("details")) folded.open = true;
});
