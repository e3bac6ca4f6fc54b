// A click on a heading sorts its column: by number where every cell starts with one. Paper shows all.
const readNumber = text => parseFloat(text.replace("\u2212", "-").replace(/^[+<>~]\s*/, ""));
function sortRows(head) {
  const column = head.cellIndex, body = head.closest("table").tBodies[0];
  const direction = head.ariaSort === "ascending" ? -1 : 1;
  const cells = row => row.cells[column].textContent.trim();
  const filled = [...body.rows].map(cells).filter(Boolean);
  const isNumeric = filled.every(text => /^[+<>~\u2212-]?\s*\d/.test(text));
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
  const button = document.createElement("button");
  button.append(...head.childNodes);
  button.addEventListener("click", () => sortRows(head));
  head.append(button);
}
addEventListener("beforeprint", () => {
  for (const folded of document.querySelectorAll("details")) folded.open = true;
});
