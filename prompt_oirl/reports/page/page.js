"use strict";
// Everything from the log is put on the page as text, never as markup.
const data = JSON.parse(document.getElementById("data").textContent);
const PER_PAGE = 25;
const byId = (id) => document.getElementById(id);
const rows = data.questions.map(([text, pick, best, scores, right, counts], number) => ({
  number, text, pick, best, scores, right, counts,
  words: (text + "\n" + data.prompts[pick].name).toLowerCase(),
}));
const state = { search: "", filter: "all", sort: "number", down: false, page: 0, open: new Set() };
const outcome = (row, prompt) => row.right[prompt];

const FILTERS = {
  all: () => true,
  moved: (row) => row.pick !== row.best,
  won: (row) => outcome(row, row.pick) !== null && outcome(row, row.best) !== null && outcome(row, row.pick) > outcome(row, row.best),
  lost: (row) => outcome(row, row.pick) !== null && outcome(row, row.best) !== null && outcome(row, row.pick) < outcome(row, row.best),
  wrong: (row) => outcome(row, row.pick) !== null && outcome(row, row.pick) < 0.5,
  unknown: (row) => outcome(row, row.pick) === null,
};
const KEYS = {
  number: (row) => row.number,
  text: (row) => row.text,
  pick: (row) => data.prompts[row.pick].name,
  score: (row) => row.scores[row.pick],
  right: (row) => outcome(row, row.pick),
};

function element(tag, text, className) {
  const made = document.createElement(tag);
  if (text !== undefined) made.textContent = text;
  if (className) made.className = className;
  return made;
}

function verdict(value) {
  if (value === null) return element("span", "not logged", "unknown");
  if (value === 1) return element("span", "\u2713 right", "yes");
  if (value === 0) return element("span", "\u2717 wrong", "no");
  return element("span", Math.round(100 * value) + " %", value > 0.5 ? "yes" : "no");
}

function compare(a, b) {
  if (a === b) return 0;
  if (a === null) return 1;
  if (b === null) return -1;
  return typeof a === "string" ? a.localeCompare(b) : a - b;
}

function chosenRows() {
  const words = state.search.toLowerCase().split(/\s+/).filter(Boolean);
  const keep = FILTERS[state.filter], key = KEYS[state.sort], sign = state.down ? -1 : 1;
  const found = rows.filter((row) => keep(row) && words.every((word) => row.words.includes(word)));
  // Rows without a value stay last in both directions.
  return found.sort((a, b) => {
    const x = key(a), y = key(b);
    return (x === null || y === null ? compare(x, y) : sign * compare(x, y)) || a.number - b.number;
  });
}

function detail(row) {
  const cell = element("td");
  cell.colSpan = 5;
  const text = element("div", row.text, "all");
  text.dir = "auto";
  text.tabIndex = 0;
  cell.append(text);
  const table = element("table");
  const head = element("tr");
  for (const name of ["Prompt", "Predicted", "In the log"]) {
    const th = element("th", name);
    th.scope = "col";
    head.append(th);
  }
  table.append(element("thead"), element("tbody"));
  table.tHead.append(head);
  const order = data.prompts.map((_, j) => j).sort((a, b) => row.scores[b] - row.scores[a] || a - b);
  for (const j of order) {
    const line = element("tr", undefined, j === row.pick ? "chosen" : "");
    const name = element("td");
    const label = element("bdi", data.prompts[j].name);
    name.append(label, j === row.pick ? " (chosen)" : "", j === row.best ? " (best overall)" : "");
    const known = element("td");
    known.append(verdict(row.right[j]));
    if (row.counts[j] > 1) known.append(" of " + row.counts[j] + " answers");
    line.append(name, element("td", (100 * row.scores[j]).toFixed(1) + " %"), known);
    table.tBodies[0].append(line);
  }
  cell.append(table);
  const line = element("tr", undefined, "detail");
  line.id = "detail-" + row.number;
  line.append(cell);
  return line;
}

function show() {
  const found = chosenRows();
  const pages = Math.max(1, Math.ceil(found.length / PER_PAGE));
  state.page = Math.min(Math.max(state.page, 0), pages - 1);
  const body = byId("rows");
  body.replaceChildren();
  for (const row of found.slice(state.page * PER_PAGE, (state.page + 1) * PER_PAGE)) {
    const line = element("tr");
    const text = element("td");
    const button = element("button", undefined, "question");
    const clamp = element("span", row.text.slice(0, 400), "clamp");
    clamp.dir = "auto";
    button.type = "button";
    button.append(clamp);
    button.setAttribute("aria-expanded", String(state.open.has(row.number)));
    button.addEventListener("click", () => {
      const wasOpen = state.open.delete(row.number);
      if (wasOpen) {
        byId("detail-" + row.number).remove();
      } else {
        state.open.add(row.number);
        line.after(detail(row));
      }
      button.setAttribute("aria-expanded", String(!wasOpen));
    });
    text.append(button);
    const prompt = element("td");
    prompt.append(element("bdi", data.prompts[row.pick].short));
    const right = element("td");
    right.append(verdict(outcome(row, row.pick)));
    line.append(element("td", String(row.number + 1)), text, prompt, element("td", (100 * row.scores[row.pick]).toFixed(1) + " %"), right);
    body.append(line);
    if (state.open.has(row.number)) body.append(detail(row));
  }
  byId("count").textContent = found.length.toLocaleString("en") + " of " + rows.length.toLocaleString("en") + " questions";
  byId("pages").textContent = pages.toLocaleString("en");
  byId("page").value = state.page + 1;
  byId("page").max = pages;
  byId("first").disabled = byId("previous").disabled = state.page === 0;
  byId("next").disabled = byId("last").disabled = state.page === pages - 1;
  byId("sort").value = state.sort;
  byId("direction").textContent = state.down ? "descending" : "ascending";
  byId("direction").setAttribute("aria-pressed", String(state.down));
  for (const th of document.querySelectorAll(".list > thead th")) {
    const mine = th.firstElementChild.dataset.sort === state.sort;
    if (mine) th.setAttribute("aria-sort", state.down ? "descending" : "ascending");
    else th.removeAttribute("aria-sort");
  }
}

function change(what) {
  Object.assign(state, { page: 0 }, what);
  show();
}

byId("search").addEventListener("input", (event) => change({ search: event.target.value }));
byId("filter").addEventListener("change", (event) => change({ filter: event.target.value }));
byId("sort").addEventListener("change", (event) => change({ sort: event.target.value }));
byId("direction").addEventListener("click", () => change({ down: !state.down }));
for (const button of document.querySelectorAll("[data-sort]")) {
  button.addEventListener("click", () => change({ sort: button.dataset.sort, down: state.sort === button.dataset.sort && !state.down }));
}
byId("page").addEventListener("change", (event) => change({ page: (parseInt(event.target.value, 10) || 1) - 1 }));
byId("first").addEventListener("click", () => change({ page: 0 }));
byId("previous").addEventListener("click", () => change({ page: state.page - 1 }));
byId("next").addEventListener("click", () => change({ page: state.page + 1 }));
byId("last").addEventListener("click", () => change({ page: Infinity }));
show();
