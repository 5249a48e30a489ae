
"use strict";
// The episode browser. Every text reaches the page through textContent, so none is ever read as markup.

const LISTED = 200;
const episodes = JSON.parse(document.getElementById("episodes").textContent);
const [search, outcome, kind, count, list, article, slider] =
  ["search", "outcome", "kind", "count", "list", "episode", "slider"].map((id) => document.getElementById(id));
let found = [], current = null, step = 0, timer = null;

function element(tag, text = "", className = "") {
  const made = document.createElement(tag);
  made.textContent = text;
  made.className = className;
  return made;
}

function say(id, text) { document.getElementById(id).textContent = text; }

const number = (value, sign = "") =>
  value === null ? "-" : (sign && value >= 0 ? sign : "") + value.toFixed(3);

// ---------------------------------------------------------------- finding episodes

function textOf(episode) {
  const texts = [episode.task, episode.game, episode.agent, episode.outcome, episode.end];
  for (const turn of episode.steps) texts.push(turn.observation, turn.thought, turn.action);
  return texts.join("\n").toLowerCase();
}

function find() {
  const wanted = search.value.trim().toLowerCase();
  found = episodes.filter((episode) =>
    (!outcome.value || (episode.won !== null && episode.won === (outcome.value === "won"))) &&
    (!kind.value || episode.kind === kind.value) &&
    (episode.text ??= textOf(episode)).includes(wanted));
  count.textContent = `${found.length} of ${episodes.length}`;
  list.replaceChildren(...found.slice(0, LISTED).map(listItem));
  if (found.length > LISTED) list.append(element("li", `${found.length - LISTED} more: search to narrow down`, "more"));
  mark();
}

function outcomeClass(episode) {
  return episode.won === null ? "" : episode.won ? "won" : "lost";
}

function listItem(episode) {
  const item = element("li"), button = element("button", episode.task);
  const how = element("small", `${episode.number}. ${episode.outcome}`, outcomeClass(episode));
  button.type = "button";
  button.append(how);
  button.addEventListener("click", () => open(episode));
  item.append(button);
  return item;
}

function mark() {
  found.slice(0, LISTED).forEach((episode, index) =>
    list.children[index].firstChild.setAttribute("aria-current", String(episode === current)));
}

// ---------------------------------------------------------------- looking at one

function open(episode, at = 0) {
  current = episode;
  article.hidden = false;
  say("task", episode.task);
  say("about", [episode.kind, episode.game, episode.agent, episode.outcome].filter(Boolean).join(" \u00b7 "));
  slider.max = episode.steps.length;
  drawValues();
  mark();
  go(at);
  const top = article.getBoundingClientRect().top;
  if (top < 0 || top > innerHeight / 2) article.scrollIntoView();
  article.focus({ preventScroll: true });
}

function go(to) {
  const last = current.steps.length;
  step = Math.max(0, Math.min(to, last));
  slider.value = step;
  say("place", step < last ? `step ${step + 1}/${last}` : "end");
  const cursor = document.getElementById("cursor"), x = place(Math.min(step, last - 1));
  cursor.setAttribute("x1", x);
  cursor.setAttribute("x2", x);
  document.getElementById("step").replaceChildren(...(step < last ? turnView(current.steps[step]) : endView()));
  location.replace(`#${current.number}.${step + 1}`);
  if (step === last) pause();
}

function turnView(turn) {
  const facts = element("p", "", "facts");
  facts.append(element("span", `reward ${turn.reward ?? "-"}`));
  if (turn.status) facts.append(element("span", turn.status, turn.status === "ok" ? "won" : "lost"));
  if (turn.value !== null) facts.append(element("span", `V ${number(turn.value)}`));
  if (turn.advantage !== null)
    facts.append(element("span", `advantage ${number(turn.advantage, "+")}`, turn.advantage < 0 ? "lost" : "won"));
  const parts = [element("pre", turn.observation)];
  if (turn.thought) parts.push(element("div", turn.thought, "thought"));
  parts.push(element("div", `> ${turn.action}`, "action"), facts);
  return turn.candidates.length ? [...parts, candidateTable(turn)] : parts;
}

function endView() {
  return [element("pre", current.end), element("div", current.outcome, outcomeClass(current))];
}

function candidateTable(turn) {
  const table = element("table"), head = table.insertRow();
  for (const [name, className] of [["candidate", ""], ["prob.", "n"], ["V", "n"], ["", ""]])
    head.append(element("th", name, className));
  for (const one of turn.candidates) {
    const row = table.insertRow(), often = one.times > 1 ? ` (${one.times} times)` : "";
    row.className = one.chosen ? "chosen" : "";
    row.append(element("td", (one.chosen ? "> " : "") + one.action + often), element("td", number(one.probability), "n"),
      element("td", number(one.value), "n"), element("td", one.chosen ? turn.why : ""));
  }
  return table;
}

const place = (index) => 600 * (index + 0.5) / Math.max(1, current.steps.length);

function drawValues() {
  const known = current.steps.map((turn, index) => [index, turn.value]).filter(([, value]) => value !== null);
  const values = known.map(([, value]) => value), low = Math.min(0, ...values), high = Math.max(1, ...values);
  const points = known.map(([index, value]) => `${place(index)},${56 - 52 * (value - low) / (high - low)}`);
  document.getElementById("curve").setAttribute("points", points.join(" "));
  document.getElementById("values").toggleAttribute("hidden", known.length === 0);
}

function neighbour(by) {
  const index = found.indexOf(current);
  const next = found[index < 0 ? 0 : Math.max(0, Math.min(index + by, found.length - 1))];
  if (next) open(next);
}

function pause() {
  clearInterval(timer);
  timer = null;
}

function play() {
  if (timer) pause();
  else timer = setInterval(() => go(step + 1), 700);
}

// ---------------------------------------------------------------- hands

const keys = {
  ArrowRight: () => go(step + 1), ArrowLeft: () => go(step - 1), PageDown: () => go(step + 10),
  PageUp: () => go(step - 10), Home: () => go(0), End: () => go(current.steps.length),
  "]": () => neighbour(1), "[": () => neighbour(-1), " ": play,
};

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const typing = event.target === search, choosing = event.target.tagName === "SELECT";
  if (event.key === "/" && !typing) search.focus();
  else if (event.key === "Escape" && typing) article.focus();
  else if (event.key === "Enter" && typing) { if (found.length) open(found[0]); }
  else if (typing || choosing || !current || !keys[event.key]) return;
  else if (event.key === " " && event.target.tagName === "BUTTON") return;
  else keys[event.key]();
  event.preventDefault();
});
search.addEventListener("input", find);
outcome.addEventListener("change", find);
kind.addEventListener("change", find);
slider.addEventListener("input", () => go(Number(slider.value)));
document.getElementById("back").addEventListener("click", () => go(step - 1));
document.getElementById("forward").addEventListener("click", () => go(step + 1));
document.getElementById("values").addEventListener("click", (event) =>
  go(Math.floor(current.steps.length * event.offsetX / event.currentTarget.clientWidth)));

for (const name of [...new Set(episodes.map((episode) => episode.kind))].filter(Boolean).sort()) {
  kind.append(element("option", name));
}
find();
const [asked, at] = location.hash.slice(1).split(".").map(Number);
const linked = episodes.find((episode) => episode.number === asked);
if (linked) open(linked, (at || 1) - 1);
