"use strict";
// The episode browser. Every text reaches the page as a text node, so none is ever read as markup.

const MATHML = "http://www.w3.org/1998/Math/MathML", SVG = "http://www.w3.org/2000/svg";
const FOLDED = 1200, FOLDED_LINES = 14;
const PROSE = 70; // characters, from which on what is done is a sentence and no command
const MANY = 300; // steps, from which on those out of sight are neither made nor laid out
const SIGNS = { won: "\u2713", lost: "\u2717", surprise: "!", invalid: "\u00d7" };
const at = (id) => document.getElementById(id);
let names = [], entries = [], found = [], current = null, step = 0;

// ---------------------------------------------------------------- making elements

function make(tag, className = "", ...content) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  made.append(...content);
  return made;
}

function draw(tag, attributes, ...content) {
  const made = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...content);
  return made;
}

function makeFormula([tag, attributes, text, ...children]) {
  const made = document.createElementNS(MATHML, tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(text, ...children.map(makeFormula));
  return made;
}

// A text is a string, or a list of strings and formulas.
const partsOf = (text) => (typeof text === "string" ? [text] : text);
const plain = (text) => partsOf(text).map((part) => part.tex ?? part).join("");

function typeset(text) {
  return partsOf(text).map((part) => {
    if (!part.tex) return part;
    const made = make("span", "formula", makeFormula(part.tree));
    made.title = part.tex;
    return made;
  });
}

function foldedText(text, className) {
  const whole = plain(text), lines = whole.split("\n");
  const short = lines.slice(0, FOLDED_LINES).join("\n").slice(0, FOLDED);
  if (short.length + 80 >= whole.length) return make("pre", className, ...typeset(text));
  const more = make("button", "more", `show all ${whole.length.toLocaleString("en")} characters`);
  more.type = "button";
  const made = make("pre", className, `${short} \u2026\n`, more);
  more.addEventListener("click", () => { made.replaceChildren(...typeset(text)); highlight(); });
  return made;
}

function number(value, sign = false) {
  if (value === null) return "";
  const shown = Math.abs(value) >= 100 ? value.toPrecision(4) : value.toFixed(2);
  return ((sign && value >= 0 ? "+" : "") + shown).replace("-", "\u2212");
}

const chance = (value) => (value !== null && value < 0.005 ? "<0.01" : number(value));

const outcomeClass = (side) => (side.won === null ? "" : side.won ? "won" : "lost");
const outcomeSign = (side) => (side.won === null ? number(side.return) : side.won ? SIGNS.won : SIGNS.lost);
const beside = () => matchMedia("(min-width: 56rem)").matches; // list and episode stand beside each other
const odd = (side) => side.won !== null && side.return !== Number(side.won); // a return that its outcome does not say
const letter = (place) => (names.length > 1 ? [make("b", `run ${"AB"[place]}`, "AB"[place]), " "] : []);
const rowsOf = (entry) => Math.max(...sidesOf(entry).map(([side]) => side.steps.length)) + 1; // the end is one
const sidesOf = (entry) => entry.sides.map((side, place) => [side, place]).filter(([side]) => side);

// ---------------------------------------------------------------- finding episodes

function textOf(entry) {
  const texts = [entry.task, entry.game, entry.kind, ...sidesOf(entry).flatMap(([side]) => [side.agent, side.outcome])];
  const steps = Array.from({ length: rowsOf(entry) }, (_, index) => textOfStep(entry, index));
  return [...texts.map((text) => plain(text).toLowerCase()), ...steps].join("\n");
}

const textOfStep = (entry, index) => sidesOf(entry).flatMap(([side]) => {
  const turn = side.steps[index];
  return turn ? [turn.observation, turn.thought, turn.action] : index === side.steps.length ? [side.end] : [];
}).map(plain).join("\n").toLowerCase();
const sought = () => at("search").value.trim().toLowerCase();

const both = (entry) => (entry.sides[0] && entry.sides[1] ? entry.sides : [{}, {}]);
const OUTCOMES = {
  won: ["won", (entry) => entry.sides[0]?.won === true],
  lost: ["not won", (entry) => entry.sides[0]?.won === false],
};
const OUTCOMES_OF_TWO = {
  differ: ["different outcomes", (entry) => both(entry)[0].won !== both(entry)[1].won ||
    both(entry)[0].return !== both(entry)[1].return],
  left: ["won by A alone", (entry) => both(entry)[0].won === true && both(entry)[1].won === false],
  right: ["won by B alone", (entry) => both(entry)[1].won === true && both(entry)[0].won === false],
  both: ["won by both", (entry) => both(entry).every((side) => side.won === true)],
  neither: ["won by neither", (entry) => both(entry).every((side) => side.won === false)],
};
const surprise = (entry) => Math.max(...sidesOf(entry).map(([side]) => Math.abs(side.surprise ?? 0)));
const length = (entry) => sidesOf(entry)[0][0].steps.length;
const returned = (entry) => sidesOf(entry)[0][0].return ?? 0;
const ORDERS = {
  number: (one, other) => one.number - other.number,
  surprise: (one, other) => surprise(other) - surprise(one),
  longest: (one, other) => length(other) - length(one),
  shortest: (one, other) => length(one) - length(other),
  lowest: (one, other) => returned(one) - returned(other),
  highest: (one, other) => returned(other) - returned(one),
};
const outcomes = () => (names.length > 1 ? OUTCOMES_OF_TWO : OUTCOMES);
const hasMark = (entry, mark) => sidesOf(entry).some(([side]) => side.steps.some((turn) => turn.marks.includes(mark)));

function find() {
  const wanted = sought(), [outcome, kind, mark] = ["outcome", "kind", "mark"].map((id) => at(id).value);
  const least = Number(at("least").value), most = Number(at("most").value || Infinity);
  found = entries.filter((entry) =>
    (!outcome || outcomes()[outcome][1](entry)) && (!kind || entry.kind === kind) &&
    (!mark || hasMark(entry, mark)) && length(entry) >= least && length(entry) <= most &&
    (!wanted || (entry.text ??= textOf(entry)).includes(wanted)));
  found.sort(ORDERS[at("order").value]);
  at("count").textContent = `${found.length} of ${entries.length}`;
  at("list").replaceChildren(...found.map(listItem));
  markChosen();
  highlight();
}

function listItem(entry) {
  const badges = sidesOf(entry).map(([side, place]) =>
    make("span", `outcome ${outcomeClass(side)}`, ...letter(place), outcomeSign(side)));
  const facts = [`#${entry.number}`, entry.kind,
    `${sidesOf(entry).map(([side]) => side.steps.length).join(" and ")} steps`];
  const largest = surprise(entry);
  if (largest > 0) facts.push(`V moved ${number(largest)}`);
  const button = make("button", "", make("span", "badges", ...badges), make("span", "name", ...typeset(entry.task)),
    make("small", "", facts.filter(Boolean).join(" \u00b7 ")));
  button.type = "button";
  button.addEventListener("click", () => open(entry));
  return make("li", "", button);
}

function markChosen() {
  found.forEach((entry, place) => {
    const item = at("list").children[place];
    item.firstChild.setAttribute("aria-current", String(entry === current));
    if (entry === current) item.scrollIntoView({ block: "nearest" });
  });
}

// ---------------------------------------------------------------- looking at one

function rangeOf(entry) { // of V, which is taken to span at least 0 to 1
  const known = sidesOf(entry).flatMap(([side]) => side.steps.map((turn) => turn.value)).filter((value) => value !== null);
  return [known.reduce((low, value) => Math.min(low, value), 0), known.reduce((high, value) => Math.max(high, value), 1), known.length];
}

function open(entry, to = null, why = "") {
  current = entry;
  to ??= Math.max(findStep(0, 1), 0);
  at("episode").hidden = false;
  at("why").textContent = why;
  at("task").replaceChildren(...typeset(entry.task));
  at("about").replaceChildren(...sidesOf(entry).map(([side, place]) => make("p", "",
    ...letter(place), make("span", outcomeClass(side), side.outcome), odd(side) ? ` \u00b7 return ${number(side.return)}` : "",
    side.agent ? ` \u00b7 ${side.agent}` : "", side.cost ? ` \u00b7 ${side.cost}` : "", side.ended ? ` \u00b7 ended early: ${side.ended}` : "")),
  make("p", "dim", [entry.kind, entry.game].filter(Boolean).join(" \u00b7 ")), make("p", "", saving(entry)));
  const rows = rowsOf(entry), range = rangeOf(entry);
  at("steps").classList.toggle("two", sidesOf(entry).length > 1);
  at("steps").classList.toggle("many", rows > MANY);
  at("heads").replaceChildren(...sidesOf(entry).map(([, place]) => make("span", "", ...letter(place), names[place])));
  at("heads").hidden = sidesOf(entry).length < 2;
  at("steps").replaceChildren(...Array.from({ length: rows }, (_, row) => stepRow(entry, row, range)));
  approaching.disconnect();
  for (const row of at("steps").children) {
    if (rows > MANY) approaching.observe(row);
    else row.fill();
  }
  markChosen();
  drawCurve();
  if (beside()) go(to);
  else if (why) go(to, false); // a page that is only just open begins at its top
  else { go(to, to > 0); if (!to) at("episode").scrollIntoView(); }
}

function saving(entry) { // all that the page has of an episode, as a file
  const link = make("a", "", "save as JSON");
  link.href = "#";
  link.addEventListener("click", (event) => {
    event.preventDefault();
    const { text, ...told } = entry, file = make("a");
    file.href = URL.createObjectURL(new Blob([JSON.stringify({ names, ...told }, null, 1)], { type: "application/json" }));
    file.download = `episode-${entry.number}.json`;
    file.click();
    URL.revokeObjectURL(file.href);
  });
  return link;
}

const approaching = new IntersectionObserver((seen) => {
  for (const one of seen) if (one.isIntersecting) one.target.fill();
  highlight();
}, { rootMargin: "100%" });

function stepRow(entry, row, range) {
  const parting = entry.difference ?? Infinity; // up to there two runs have seen and done the same
  const place = make("a", "place", String(row + 1));
  place.href = `#${entry.number}.${row + 1}`;
  place.title = "a link to this step";
  const item = make("li", row === parting ? "difference" : row < parting ? "same" : "", place);
  item.addEventListener("click", () => go(row, false));
  item.fill = () => { fillRow(item, entry, row, range); item.fill = () => {}; };
  return item;
}

function fillRow(item, entry, row, range) {
  for (const [side, place] of sidesOf(entry)) {
    const view = row < side.steps.length ? turnView(side.steps[row], range) : row === side.steps.length ? endView(side) : [];
    if (row === side.steps.length && sidesOf(entry).length === 1) item.firstChild.textContent = "end";
    item.append(make("div", "turn", ...(view.length ? [...letter(place), ...view] : [])));
  }
}

function turnView(turn, range) {
  const parts = [];
  if (plain(turn.observation)) parts.push(foldedText(turn.observation, "observation"));
  if (plain(turn.thought)) {
    const words = plain(turn.thought).split(/\s+/).length;
    parts.push(details(`thought, ${words} word${words === 1 ? "" : "s"}`, "thought",
      () => [make("div", "", ...typeset(turn.thought))]));
  }
  const prose = plain(turn.action).length > PROSE ? " prose" : "";
  parts.push(make("div", `action${prose}`, ...typeset(turn.action)), facts(turn, range));
  if (turn.candidates.length > 1)
    parts.push(details(`${turn.candidates.length} candidates${turn.why ? `: ${turn.why}` : ""}`, "candidates",
      () => [candidateTable(turn)]));
  return parts;
}

function details(title, className, fill) {
  const made = make("details", className, make("summary", "", title));
  made.fill = () => { if (made.children.length === 1) made.append(...fill()); };
  made.addEventListener("toggle", () => { made.fill(); highlight(); });
  return made;
}

function facts(turn, [low, high]) {
  const made = make("div", "values");
  const tell = (name, value, className = "", what = "") => {
    made.append(make("span", className, make("i", "", name), ` ${value}`));
    made.lastChild.title = what;
  };
  if (turn.value !== null) {
    const bar = make("meter");
    Object.assign(bar, { min: low, max: high, value: turn.value });
    bar.setAttribute("aria-hidden", "true");
    tell("V", `${number(turn.value)} `, "value", "what the critic expects the rest of the episode to bring, after this action");
    made.lastChild.append(bar);
  }
  if (turn.advantage !== null)
    tell("advantage", number(turn.advantage, true), turn.advantage < 0 ? "lost" : "won",
      "what this action changed in V");
  if (turn.reward) tell("reward", number(turn.reward, true), "reward");
  if (turn.probability !== null) tell("prob.", chance(turn.probability), "", "of this reply under the policy, without temperature");
  for (const mark of turn.marks)
    made.append(make("span", `mark ${mark}`, mark === "invalid" && turn.status && turn.status !== "ok"
      ? turn.status.replaceAll("_", " ") : mark));
  return made;
}

function endView(side) {
  const text = plain(side.end) ? [foldedText(side.end, "observation")] : [];
  return [...text, make("div", `ending ${outcomeClass(side)}`, `${side.won === null ? "" : outcomeSign(side)} ${side.outcome}`)];
}

function candidateTable(turn) {
  const table = make("table"), head = table.insertRow();
  for (const [name, className] of [["candidate", ""], ["prob.", "n"], ["V", "n"]]) head.append(make("th", className, name));
  for (const one of turn.candidates) {
    const row = table.insertRow(), often = one.times > 1 ? ` (${one.times} times)` : "";
    row.className = one.chosen ? "chosen" : "";
    row.append(make("td", "", one.chosen ? "> " : "", ...typeset(one.action), often),
      make("td", "n", chance(one.probability)), make("td", "n", number(one.value)));
  }
  return table;
}

function go(to, scroll = true) {
  const rows = at("steps").children;
  rows[step]?.removeAttribute("aria-current");
  step = Math.max(0, Math.min(to, rows.length - 1));
  rows[step].setAttribute("aria-current", "step");
  rows[step].fill();
  highlight();
  if (scroll) {
    rows[step].scrollIntoView({ block: "center" });
    if (rows.length > MANY) requestAnimationFrame(() => rows[step]?.scrollIntoView({ block: "center" }));
  }
  moveCursor();
  history.replaceState(null, "", `#${current.number}.${step + 1}`);
}

// ---------------------------------------------------------------- V along the episode

const EDGE = 46, TOP = 9, TALL = 71, UNDER = 16;
let placeOf = () => 0;

function drawCurve() {
  const sides = sidesOf(current), steps = Math.max(...sides.map(([side]) => side.steps.length), 1);
  const [low, high, known] = rangeOf(current);
  const marked = sides.some(([side]) => side.steps.some((turn) => turn.marks.length));
  at("curve").hidden = !known && !marked;
  if (at("curve").hidden) return;
  const tall = known ? TALL : 4;
  const width = Math.max(at("episode").clientWidth - 40, 200), bottom = TOP + tall,
    height = bottom + 8 + UNDER * sides.length;
  placeOf = (index) => EDGE + (width - EDGE - 8) * (index + 0.5) / steps;
  const heightOf = (value) => TOP + tall * (high - value) / (high - low);
  const picture = draw("svg", { viewBox: `0 0 ${width} ${height}`, width, height, role: "img",
    "aria-label": "V along the episode" });
  if (known) for (const value of [low, high]) picture.append(
    draw("line", { class: "grid", x1: EDGE, x2: width, y1: heightOf(value), y2: heightOf(value) }),
    draw("text", { x: EDGE - 6, y: heightOf(value) + 4, "text-anchor": "end" }, String(Number(value.toPrecision(3))).replace("-", "\u2212")));
  picture.append(draw("line", { id: "cursor", y1: 0, y2: height }));
  sides.forEach(([side, place], row) => {
    const points = side.steps.map((turn, index) => [index, turn.value]).filter(([, value]) => value !== null)
      .map(([index, value]) => `${placeOf(index).toFixed(1)},${heightOf(value).toFixed(1)}`);
    picture.append(draw("polyline", { class: `curve ${"AB"[place]}`, points: points.join(" ") }));
    if (points.length === 1) picture.append(draw("circle", { class: "dot", cx: placeOf(0), cy: points[0].split(",")[1], r: 3 }));
    if (sides.length > 1) picture.append(draw("text", { x: EDGE - 6, y: bottom + 18 + UNDER * row, "text-anchor": "end" }, "AB"[place]));
    side.steps.forEach((turn, index) => turn.marks.forEach((mark, nth, all) => picture.append(draw("text",
      { class: `mark ${mark}`, x: placeOf(index) + 9 * nth - 4.5 * (all.length - 1), y: bottom + 18 + UNDER * row, "text-anchor": "middle" }, SIGNS[mark]))));
  });
  picture.addEventListener("click", (event) => {
    const x = event.clientX - picture.getBoundingClientRect().left;
    go(Math.floor((x - EDGE) / (width - EDGE - 8) * steps));
  });
  at("curve").replaceChildren(picture, make("figcaption", "", ...conclude(sides, known > 0)));
  moveCursor();
}

function conclude(sides, valued) {
  const told = sides.map(([side, place]) => {
    const gains = side.steps.map((turn) => Math.abs(turn.advantage ?? 0)), largest = Math.max(...gains, 0);
    const index = gains.indexOf(largest);
    return largest ? [...letter(place), `V changed most at step ${index + 1}: ${number(side.steps[index].advantage, true)}. `] : [];
  });
  const there = Object.keys(SIGNS).filter((mark) => sides.some(([side]) => side.steps.some((turn) => turn.marks.includes(mark))));
  const legend = there.map((mark) => `${SIGNS[mark]} ${mark}`).join("  ");
  return [make("strong", "", ...told.flat()), valued ? "Line: V, what the rest is expected to bring. " : "No critic looked at it: there is no V. ", legend];
}

function moveCursor() {
  const cursor = at("cursor");
  if (!cursor) return;
  const last = Math.max(...sidesOf(current).map(([side]) => side.steps.length)) - 1, x = placeOf(Math.min(step, Math.max(last, 0)));
  cursor.setAttribute("x1", x);
  cursor.setAttribute("x2", x);
}

// ---------------------------------------------------------------- hands

function neighbour(by) {
  const place = found.indexOf(current);
  const next = found[place < 0 ? 0 : Math.max(0, Math.min(place + by, found.length - 1))];
  if (next && next !== current) open(next);
}

function findStep(from, by) { // the next step with what is searched for; -1 where there is none
  const wanted = sought();
  for (let index = from; wanted && index >= 0 && index < rowsOf(current); index += by)
    if (textOfStep(current, index).includes(wanted)) return index;
  return -1;
}

function again(by) {
  const index = findStep(step + by, by);
  if (index >= 0) go(index);
}

function highlight() { // what is searched for, in what is there of the episode
  if (!window.Highlight) return;
  const wanted = sought(), ranges = [];
  const walker = document.createTreeWalker(at("steps"), NodeFilter.SHOW_TEXT);
  while (wanted && walker.nextNode()) {
    const text = walker.currentNode.data.toLowerCase();
    for (let start = text.indexOf(wanted); start >= 0; start = text.indexOf(wanted, start + wanted.length))
      ranges.push(new StaticRange({ startContainer: walker.currentNode, startOffset: start,
        endContainer: walker.currentNode, endOffset: start + wanted.length }));
  }
  CSS.highlights.set("sought", new Highlight(...ranges));
}

function seek(mark, by) {
  const marked = (index) => sidesOf(current).some(([side]) => side.steps[index]?.marks.includes(mark));
  for (let index = step + by; index >= 0 && index < at("steps").children.length; index += by)
    if (marked(index)) return go(index);
}

function unfold(className) {
  for (const row of at("steps").children) row.fill();
  const all = [...at("steps").querySelectorAll(`details.${className}`)], open = all.some((one) => !one.open);
  for (const one of all) { one.fill(); one.open = open; }
}

const KEYS = {
  ArrowRight: () => go(step + 1), ArrowLeft: () => go(step - 1), l: () => go(step + 1), h: () => go(step - 1),
  PageDown: () => go(step + 10), PageUp: () => go(step - 10), Home: () => go(0), End: () => go(Infinity),
  "]": () => neighbour(1), "[": () => neighbour(-1), s: () => seek("surprise", 1), S: () => seek("surprise", -1),
  x: () => seek("invalid", 1), X: () => seek("invalid", -1), w: () => seek("won", 1), W: () => seek("won", -1),
  n: () => again(1), N: () => again(-1),
  d: () => { if (current.difference !== null) go(current.difference); },
  t: () => unfold("thought"), c: () => unfold("candidates"),
};

function pressed(event) {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const typing = event.target.tagName === "INPUT", choosing = event.target.tagName === "SELECT";
  if (event.key === "/" && !typing) { showTab("episodes"); at("search").focus(); }
  else if (event.key === "Escape" && typing) at("episode").focus({ preventScroll: true });
  else if (event.key === "Enter" && event.target === at("search")) {
    if (found.length) { open(found[0]); at("episode").focus({ preventScroll: true }); } // n is a key again
  }
  else if (typing || choosing || !current || !KEYS[event.key]) return;
  else KEYS[event.key]();
  event.preventDefault();
}

function showTab(name) {
  for (const section of document.querySelectorAll("main > section")) section.hidden = section.id !== name;
  for (const button of at("tabs").children) button.setAttribute("aria-current", String(button.dataset.tab === name));
}

function followLink() {
  const [asked, to] = location.hash.slice(1).split(".").map(Number);
  const linked = entries.find((entry) => entry.number === asked);
  if (!linked) return false;
  showTab("episodes");
  if (linked === current) go((to || 1) - 1);
  else open(linked, (to || 1) - 1);
  return true;
}

async function start() {
  if (!window.DecompressionStream) {
    at("count").textContent = "This browser is too old to unpack the episodes: one of 2023 or later does.";
    return;
  }
  const letters = atob(at("data").textContent), packed = new Uint8Array(letters.length);
  for (let place = 0; place < letters.length; place++) packed[place] = letters.charCodeAt(place);
  const unpacked = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  const data = await new Response(unpacked).json();
  names = data.names;
  entries = data.entries;
  at("tabs").hidden = false;
  document.documentElement.classList.add("live");
  for (const button of at("tabs").children) button.addEventListener("click", () => showTab(button.dataset.tab));
  showTab("episodes");
  for (const [value, [name]] of Object.entries(outcomes())) at("outcome").append(new Option(name, value));
  at("outcome").hidden = names.length < 2 && entries.every((entry) => entry.sides[0].won === null);
  const kinds = [...new Set(entries.map((entry) => entry.kind))].filter(Boolean).sort();
  for (const kind of kinds) at("kind").append(new Option(kind));
  at("kind").hidden = kinds.length < 2;
  for (const id of ["search", "least", "most"]) at(id).addEventListener("input", find);
  for (const id of ["outcome", "kind", "mark", "order"]) at(id).addEventListener("change", find);
  document.addEventListener("keydown", pressed);
  addEventListener("hashchange", followLink);
  addEventListener("resize", () => { if (current) drawCurve(); });
  find();
  const { opening } = data;
  if (!followLink() && opening)
    open(entries.find((entry) => entry.number === opening.number), opening.step, opening.why);
}

const ready = start();
