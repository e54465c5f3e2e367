// The live page. Everything that is shown is set as text, never as markup: names come from watched programs.
// The feed (sinks/live.py) sends `state` with everything there is, then `update` with what has changed.

const STEP_SECONDS = 5;
const STEPS = 120;
const MOST_ROWS = 200;
const SEVERITIES = ["fatal", "optional", "soft", "unknown"];

const number = new Intl.NumberFormat("en");
const element = (id) => document.getElementById(id);

/** Everything that is known. */
const known = { about: {}, health: null, targets: new Map(), counts: new Map(), hits: new Map(), history: new Map() };

/** What the reader has asked for. */
const view = { search: "", severities: new Set(), target: null, flavor: null, open: new Set(), paused: false };

/** Rows that are on the page, by the id of their hit. */
const rows = new Map();

// ---- building ----

/** make("p", {class: "x"}, "text", otherElement): attributes that are functions are listeners, null ones are left out. */
function make(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") made.addEventListener(name, value);
    else if (value !== null && value !== undefined && value !== false) made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

/** Sets text only where it differs, so that nothing is read out or laid out again for nothing. */
function say(where, text) {
  if (where.textContent !== text) where.textContent = text;
}

/** Makes the children of a list be those of `wanted` (key -> element), in that order, with as few moves as can be. */
function arrange(list, wanted) {
  let place = list.firstChild;
  for (const child of wanted) {
    if (child === place) place = place.nextSibling;
    else list.insertBefore(child, place);
  }
  while (place) {
    const next = place.nextSibling;
    place.remove();
    place = next;
  }
}

/** A name that may be anything, kept from turning the text around it (bidirectional text) and from flooding the page. */
function nameOf(text) {
  const shown = text.length > 200 ? text.slice(0, 200) + "…" : text;
  return make("bdi", { title: text.length > 60 ? text.slice(0, 1000) : null }, shown);
}

const severityOf = (thing) => thing.severity ?? "unknown";
const ruleOf = (hit) => hit.flavor_name ?? (hit.counted && !hit.guard_type ? "many sites" : (hit.guard_type ?? "unknown guard") + (hit.flavor ? ` 0x${hit.flavor.toString(16)}` : ""));
/** What happened, without the rule that stands above it. */
const whatOf = (hit) => (hit.flavor_name && hit.summary?.startsWith(hit.flavor_name) ? hit.summary.slice(hit.flavor_name.length).replace(/^:? /, "") : hit.summary ?? "");
const targetName = (id) => known.targets.get(id)?.name ?? "?";

function ago(milliseconds) {
  const seconds = Math.max(0, Math.round(milliseconds / 1000));
  if (seconds < 2) return "now";
  if (seconds < 60) return `${seconds} s ago`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ago`;
  if (seconds < 86400) return `${Math.floor(seconds / 3600)} h ago`;
  return `${Math.floor(seconds / 86400)} d ago`;
}

// ---- the feed ----

function merge(message, fresh) {
  if (fresh) {
    for (const part of [known.targets, known.counts, known.hits, known.history]) part.clear();
    for (const row of rows.values()) row.item.remove();
    rows.clear();
  }
  if (message.about) known.about = message.about;
  if (message.health) known.health = message.health;
  for (const target of message.targets ?? []) known.targets.set(target.id, target);
  for (const [target, guardType, flavor, severity, hits, last] of message.counts ?? []) {
    known.counts.set(JSON.stringify([target, guardType, flavor, severity]), { target, guardType, flavor, severity, hits, last });
  }
  for (const [step, came] of message.history ?? []) known.history.set(step, came);
  const oldest = Math.floor(Date.now() / 1000 / STEP_SECONDS) - STEPS;
  for (const step of known.history.keys()) if (step < oldest) known.history.delete(step);
  const news = [];
  for (const hit of message.hits ?? []) {
    if (!fresh) news.push(hit);
    known.hits.set(hit.id, hit);
  }
  while (known.hits.size > MOST_ROWS) {
    const gone = known.hits.keys().next().value;
    known.hits.delete(gone);
    view.open.delete(gone);
  }
  if (news.length) announce(news);
  draw();
}

function connect() {
  const feed = new EventSource("events");
  feed.addEventListener("open", () => linkIs("live", "Live"));
  feed.addEventListener("state", (event) => merge(JSON.parse(event.data), true));
  feed.addEventListener("update", (event) => merge(JSON.parse(event.data), false));
  feed.addEventListener("error", () => {
    linkIs("lost", "Reconnecting");
    if (feed.readyState === EventSource.CLOSED) setTimeout(connect, 3000);
  });
}

function linkIs(state, words) {
  element("link").dataset.state = state;
  say(element("link-text"), view.paused && state === "live" ? "Paused" : words);
}

// Screen readers hear of new hits now and then, in one sentence, not of each in a storm.
let heard = 0;
let unheard = 0;
let speaking = null;
function announce(news) {
  unheard += news.length;
  if (speaking) return;
  speaking = setTimeout(() => {
    const hit = news[news.length - 1];
    say(element("announce"), `${unheard === 1 ? "A hit" : `${unheard} hits`}: ${ruleOf(hit)} in ${targetName(hit.target).slice(0, 100)}`);
    [unheard, speaking, heard] = [0, null, Date.now()];
  }, Math.max(300, heard + 5000 - Date.now()));
}

// ---- drawing ----

let drawing = false;
function draw() {
  if (drawing || view.paused) return;
  drawing = true;
  requestAnimationFrame(() => {
    drawing = false;
    drawNow();
  });
}

function drawNow() {
  const about = known.about;
  say(element("about"), about.version ? `${about.version} · ${about.release} · ${about.kernel === "simulated" ? "simulated kernel" : about.kernel}` : "");
  drawCounts();
  drawTargets();
  drawFlavors();
  drawHealth();
  drawHits();
}

function drawCounts() {
  const sums = Object.fromEntries(SEVERITIES.map((severity) => [severity, 0]));
  for (const count of known.counts.values()) sums[count.severity] = (sums[count.severity] ?? 0) + count.hits;
  const total = Object.values(sums).reduce((a, b) => a + b, 0);
  element("total").dataset.count = total;
  say(element("total"), number.format(total));
  for (const button of document.querySelectorAll(".severity")) {
    const severity = button.dataset.severity;
    const figure = button.querySelector(".figure");
    figure.dataset.count = sums[severity];
    say(figure, number.format(sums[severity]));
    if (severity === "unknown") button.hidden = !sums.unknown;
  }
  const severityByFlavor = new Map();
  for (const count of known.counts.values()) severityByFlavor.set(`${count.guardType} ${count.flavor}`, count.severity);
  const steps = recentSteps((came) => {
    const bySeverity = {};
    for (const [flavor, hits] of Object.entries(came)) {
      const severity = severityByFlavor.get(flavor) ?? "unknown";
      bySeverity[severity] = (bySeverity[severity] ?? 0) + hits;
    }
    return bySeverity;
  });
  const heights = steps.map((step) => Object.values(step ?? {}).reduce((a, b) => a + b, 0));
  drawBars(element("activity"), steps, heights, 600, 64);
  const peak = Math.max(...heights);
  say(element("activity-peak"), peak ? `at most ${number.format(Math.ceil(peak / STEP_SECONDS))} a second` : "");
  const inAll = heights.reduce((a, b) => a + b, 0);
  element("activity").setAttribute("aria-label", `Hits of the last ten minutes: ${number.format(inAll)}, at most ${number.format(peak)} in five seconds`);
}

/** One value for each step of the last ten minutes, oldest first. */
function recentSteps(value) {
  const now = Math.floor(Date.now() / 1000 / STEP_SECONDS);
  return Array.from({ length: STEPS }, (_, index) => {
    const came = known.history.get(now - STEPS + 1 + index);
    return came ? value(came) : null;
  });
}

/** Stacked bars, one path for each severity. Heights grow with the square root, so that few show beside many. */
function drawBars(svg, steps, heights, width, height) {
  const most = Math.sqrt(Math.max(1, ...heights));
  const wide = width / steps.length;
  const paths = {};
  steps.forEach((step, index) => {
    if (!step) return;
    let base = height;
    const all = Math.max(2, (Math.sqrt(heights[index]) / most) * height);
    for (const severity of SEVERITIES) {
      if (!step[severity]) continue;
      const tall = (step[severity] / heights[index]) * all;
      base -= tall;
      paths[severity] = (paths[severity] ?? "") + `M${(index * wide + 0.5).toFixed(1)} ${base.toFixed(1)}h${(wide - 1).toFixed(1)}v${tall.toFixed(1)}h-${(wide - 1).toFixed(1)}z`;
    }
  });
  const drawn = SEVERITIES.map((severity) => [severity, paths[severity] ?? ""]);
  if (svg.dataset.drawn === JSON.stringify(drawn)) return;
  svg.dataset.drawn = JSON.stringify(drawn);
  svg.replaceChildren(
    ...drawn.filter(([, path]) => path).map(([severity, path]) => {
      const made = document.createElementNS("http://www.w3.org/2000/svg", "path");
      made.setAttribute("class", severity);
      made.setAttribute("d", path);
      return made;
    }),
  );
}

function hitsOf(test) {
  let sum = 0;
  for (const count of known.counts.values()) if (test(count)) sum += count.hits;
  return sum;
}

const cards = { targets: new Map(), flavors: new Map() };

/** The card of `key`, made once: a button that filters by what it shows. */
function card(kind, key, ...inside) {
  let found = cards[kind].get(key);
  if (!found) {
    const which = kind === "targets" ? "target" : "flavor";
    const button = make("button", { type: "button", click: () => filterBy(which, key) }, ...inside);
    found = { item: make("li", {}, button), button, part: (name) => button.querySelector(`.${name}`) };
    cards[kind].set(key, found);
  }
  return found;
}

function drawTargets() {
  const wanted = [];
  for (const target of known.targets.values()) {
    const hits = hitsOf((count) => count.target === target.id);
    if (!target.configured && !hits) continue;
    const made = card("targets", target.id,
      make("span", { class: "dot", "aria-hidden": "true" }),
      make("span", { class: "name" }, nameOf(target.name)),
      make("span", { class: "figure" }),
      make("span", { class: "more quiet" }));
    made.button.className = target.up ? "up" : "down";
    made.button.setAttribute("aria-pressed", String(view.target === target.id));
    made.part("figure").dataset.count = hits;
    say(made.part("figure"), number.format(hits));
    const ends = Object.entries(target.exits).map(([reason, count]) => `${reason.replaceAll("_", " ")} ${number.format(count)}`);
    const life = !target.configured ? "not watched any more"
      : `${target.up ? "running" : target.starts ? "not running" : "not started"}, started ${target.starts === 1 ? "once" : `${number.format(target.starts)} times`}`;
    say(made.part("more"), [life, ...(ends.length ? [`ended: ${ends.join(", ")}`] : [])].join("; "));
    wanted.push(made.item);
  }
  arrange(element("targets"), wanted);
}

function drawFlavors() {
  const sums = new Map();
  for (const count of known.counts.values()) {
    if (view.target !== null && count.target !== view.target) continue;
    const key = `${count.guardType} ${count.flavor}`;
    const sum = sums.get(key) ?? { ...count, hits: 0 };
    sum.hits += count.hits;
    sums.set(key, sum);
  }
  const wanted = [];
  for (const [key, sum] of [...sums].sort((a, b) => b[1].hits - a[1].hits || (a[0] < b[0] ? -1 : 1))) {
    const spark = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    spark.setAttribute("class", "spark");
    spark.setAttribute("viewBox", "0 0 240 24");
    spark.setAttribute("preserveAspectRatio", "none");
    spark.setAttribute("role", "img");
    const made = card("flavors", key,
      make("span", { class: "sign", "aria-hidden": "true" }),
      make("span", { class: "name mono", title: `${sum.guardType} ${sum.flavor}` }, sum.flavor === "none" || sum.flavor === "unknown" ? `${sum.guardType} ${sum.flavor === "none" ? "" : "unknown"}`.trim() : sum.flavor),
      make("span", { class: "figure" }),
      spark);
    made.button.dataset.severity = sum.severity;
    made.button.setAttribute("aria-pressed", String(view.flavor === key));
    made.part("figure").dataset.count = sum.hits;
    say(made.part("figure"), number.format(sum.hits));
    const fine = recentSteps((came) => came[key] ?? 0);
    const heights = Array.from({ length: STEPS / 2 }, (_, index) => (fine[2 * index] ?? 0) + (fine[2 * index + 1] ?? 0));
    const recent = heights.reduce((a, b) => a + b, 0);
    made.part("spark").classList.toggle("still", !recent);
    drawBars(made.part("spark"), heights.map((height) => (height ? { [sum.severity]: height } : null)), heights, 240, 24);
    made.part("spark").setAttribute("aria-label", `${number.format(recent)} in the last ten minutes`);
    wanted.push(made.item);
  }
  element("flavors-empty").hidden = wanted.length > 0;
  arrange(element("flavors"), wanted);
}

function drawHealth() {
  const health = known.health;
  if (!health) return;
  const rejected = Object.entries(health.rejected).map(([reason, count]) => `${number.format(count)} ${reason.replaceAll("_", " ")}`);
  const facts = [
    ["Answers", number.format(health.replies), false],
    ["Mean time to answer", health.replies ? `${number.format(health.reply_mean_us)} µs` : "–", false],
    ["Waiting for the log", `${number.format(health.pending)} of ${number.format(health.capacity)}`, health.pending * 2 > health.capacity],
    ["Summed up in the log", number.format(health.suppressed), false],
    ["Missing from the log", number.format(health.lost), health.lost > 0],
    ["Failed log writes", number.format(health.log_failures), health.log_failures > 0],
    ["Refused messages", rejected.join(", ") || "0", rejected.length > 0],
  ];
  const list = element("health");
  if (!list.children.length) for (const [name] of facts) list.append(make("dt", {}, name), make("dd", {}));
  facts.forEach(([, value, bad], index) => {
    const place = list.children[2 * index + 1];
    say(place, value);
    place.classList.toggle("bad", bad);
  });
}

// ---- the list of hits ----

function textOf(hit) {
  return [ruleOf(hit), hit.guard_type, hit.kernel_name, severityOf(hit), targetName(hit.target), hit.pid, hit.summary, hit.advice, hit.code, hit.payload, hit.pc, hit.source, ...(hit.aliases ?? [])]
    .join("\n").toLowerCase();
}

function wants(hit) {
  if (view.severities.size && !view.severities.has(severityOf(hit))) return false;
  if (view.target !== null && hit.target !== view.target) return false;
  if (view.flavor !== null && `${hit.guard_type ?? "unknown"} ${hit.known === false ? "unknown" : hit.flavor_name ?? "none"}` !== view.flavor) return false;
  const text = view.search && textOf(hit);
  return view.search.split(/\s+/).every((word) => text.includes(word));
}

function drawHits() {
  const wanted = [...known.hits.values()].filter(wants).sort((a, b) => (a.last_timestamp < b.last_timestamp ? 1 : a.last_timestamp > b.last_timestamp ? -1 : b.id - a.id));
  for (const [id, row] of rows) {
    if (!known.hits.has(id)) {
      row.item.remove();
      rows.delete(id);
    }
  }
  const first = rows.size === 0;
  const items = wanted.map((hit) => {
    let row = rows.get(hit.id);
    if (!row) {
      row = makeRow(hit, !first);
      rows.set(hit.id, row);
    }
    if (row.hit !== hit) fillRow(row, hit);
    return row.item;
  });
  // The list moves under somebody who reads it with the keyboard, but the focus stays on its hit.
  const focused = document.activeElement;
  arrange(element("hits"), items);
  if (focused !== document.activeElement && focused?.isConnected) focused.focus({ preventScroll: true });
  roam();
  const filtered = view.search || view.severities.size || view.target !== null || view.flavor !== null;
  element("clear").hidden = !filtered;
  say(element("shown"), filtered ? `${wanted.length} of ${known.hits.size}` : "");
  element("empty").hidden = wanted.length > 0;
  say(element("empty"), known.hits.size
    ? "No hit fits. The list has the latest 200; the counts have all of them."
    : "Nothing yet. Every rule of the kernel that a watched program breaks shows here the moment it happens.");
}

function makeRow(hit, isNew) {
  const row = { hit: null };
  row.rule = make("span", { class: "rule" });
  row.who = make("span", { class: "who" });
  row.badge = make("span", { class: "badge", hidden: true });
  row.time = make("time", { class: "when" });
  row.summary = make("span", { class: "summary line" });
  row.button = make("button", { type: "button", tabindex: "-1", "aria-expanded": "false", click: () => toggle(row) },
    make("span", { class: "sign", "aria-hidden": "true" }), make("span", { class: "line" }, row.rule, row.who, row.badge), row.time, row.summary);
  row.detail = make("div", { class: "detail", id: `detail-${hit.id}`, hidden: true });
  row.item = make("li", { class: isNew ? "hit new" : "hit" }, row.button, row.detail);
  row.button.setAttribute("aria-controls", row.detail.id);
  return row;
}

function fillRow(row, hit) {
  row.hit = hit;
  row.item.dataset.severity = severityOf(hit);
  say(row.rule, ruleOf(hit));
  row.who.replaceChildren(nameOf(targetName(hit.target)), ...(hit.pid ? [` pid ${hit.pid}`] : []),
    ...(hit.inherited ? [" (inherited)"] : []), ...(hit.source && hit.source !== "live" ? [` from ${hit.source.replaceAll("_", " ")}`] : []), ...(hit.recovered ? [" recovered"] : []),
    make("span", { class: "unseen" }, `, ${severityOf(hit)}`));
  row.badge.hidden = !hit.repeats;
  say(row.badge, `${hit.counted ? "" : "+"}${number.format(hit.repeats)}${hit.counted ? " hits" : " like it"}`);
  row.time.dateTime = hit.last_timestamp;
  row.time.title = hit.last_timestamp;
  say(row.time, ago(Date.now() - Date.parse(hit.last_timestamp)));
  say(row.summary, whatOf(hit));
  if (view.open.has(hit.id)) openRow(row);
}

function toggle(row) {
  if (view.open.delete(row.hit.id)) {
    row.detail.hidden = true;
    row.button.setAttribute("aria-expanded", "false");
  } else {
    view.open.add(row.hit.id);
    openRow(row);
  }
  point(row.button);
}

function openRow(row) {
  const hit = row.hit;
  row.button.setAttribute("aria-expanded", "true");
  row.detail.hidden = false;
  const fact = ([name, value]) => make("div", {}, make("dt", {}, name), make("dd", {}, make("code", {}, String(value))));
  const table = (caption, heads, lines) => make("div", {}, make("h3", {}, caption),
    make("table", {}, make("thead", {}, make("tr", {}, ...heads.map((head) => make("th", { scope: "col" }, head)))),
      make("tbody", {}, ...lines.map((cells) => make("tr", {}, ...cells.map((cell) => make("td", {}, cell)))))));
  const part = (title, className, text) => text ? make("div", { class: className }, make("h3", {}, title), make("p", {}, text)) : null;
  const facts = [
    ["guard", [hit.guard_type, hit.kernel_name].filter(Boolean).join(" ")], ["severity", severityOf(hit)], ["code", hit.code], ["subcode", hit.subcode],
    ["target", hit.guard_target === undefined ? null : `0x${hit.guard_target.toString(16)}`], ["pid", hit.pid], ["thread", hit.thread_id],
    ["pc", hit.pc], ["lr", hit.lr], ["sp", hit.sp], ["behavior", hit.behavior], ["reply", hit.reply], ["release", hit.release], ["kernel", hit.kernel],
    ["source", hit.source], ["seq", hit.seq], ["first seen", hit.timestamp],
  ].filter(([, value]) => value !== null && value !== undefined && value !== "");
  const copy = make("button", { type: "button", click: () => navigator.clipboard?.writeText(JSON.stringify({ ...hit, target: targetName(hit.target) }, null, 2)).then(() => say(copy, "Copied"), () => say(copy, "Not allowed to copy")) }, "Copy as JSON");
  row.detail.replaceChildren(...[
    part("What happened", "what", hit.summary),
    part("How to mend it", "mend", hit.advice),
    hit.causes?.length ? make("div", {}, make("h3", {}, "Usual causes"), make("ul", { class: "causes" }, ...hit.causes.map((cause) => make("li", {}, cause)))) : null,
    hit.target_meaning ? part(`Target 0x${(hit.guard_target ?? 0).toString(16)}`, "what", hit.target_meaning) : null,
    hit.payload_fields?.length ? table(`Payload ${hit.payload}`, ["field", "value", "meaning", "known from"],
      hit.payload_fields.map((field) => [make("code", {}, field.name), make("code", {}, String(field.value)), field.text, field.confidence])) : null,
    hit.readings?.length ? table("On other releases this number means", ["name", "releases", "severity"],
      hit.readings.map((reading) => [make("code", {}, reading.flavor_name), reading.releases, reading.severity ?? "unknown"])) : null,
    ...(hit.notes ?? []).map((note) => make("p", { class: "quiet" }, note)),
    make("dl", { class: "facts" }, ...facts.map(fact)),
    make("div", {}, copy),
  ].filter(Boolean));
}

// ---- the reader's doings ----

function filterBy(what, value) {
  view[what] = view[what] === value ? null : value;
  draw();
}

function showAll() {
  Object.assign(view, { search: "", target: null, flavor: null });
  view.severities.clear();
  element("search").value = "";
  for (const button of document.querySelectorAll(".severity")) button.setAttribute("aria-pressed", "false");
  draw();
}

/** One hit of the list is where Tab goes; arrows and j, k move on from there. */
let current = null;
function roam() {
  const buttons = [...document.querySelectorAll(".hit > button")];
  if (!current?.isConnected) current = buttons[0] ?? null;
  for (const button of buttons) button.tabIndex = button === current ? 0 : -1;
}
function point(button) {
  current = button;
  roam();
}
function move(by) {
  const buttons = [...document.querySelectorAll(".hit > button")];
  if (!buttons.length) return;
  const at = document.activeElement === current ? buttons.indexOf(current) + by : by > 0 ? 0 : buttons.length - 1;
  point(buttons[Math.min(Math.max(at, 0), buttons.length - 1)]);
  current.focus();
}

function pause() {
  view.paused = !view.paused;
  element("pause").setAttribute("aria-pressed", String(view.paused));
  say(element("pause"), view.paused ? "Go on" : "Pause");
  if (element("link").dataset.state === "live") say(element("link-text"), view.paused ? "Paused" : "Live");
  draw();
}

const THEMES = { auto: ["◐", "as the system has them"], light: ["☀", "light"], dark: ["☾", "dark"] };
function wear(theme) {
  const names = Object.keys(THEMES);
  const worn = names.includes(theme) ? theme : "auto";
  if (worn === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = worn;
  const button = element("theme");
  const [sign, words] = THEMES[worn];
  say(button, sign);
  button.title = `Colours: ${words}`;
  button.setAttribute("aria-label", button.title);
  button.onclick = () => {
    const next = names[(names.indexOf(worn) + 1) % names.length];
    try {
      localStorage.setItem("excguard-theme", next);
    } catch { /* nowhere to remember it */ }
    wear(next);
  };
}

element("search").addEventListener("input", (event) => {
  view.search = event.target.value.trim().toLowerCase();
  draw();
});
element("clear").addEventListener("click", showAll);
element("pause").addEventListener("click", pause);
element("help").addEventListener("click", () => element("keys").showModal());
for (const button of document.querySelectorAll(".severity")) {
  button.addEventListener("click", () => {
    const severity = button.dataset.severity;
    if (!view.severities.delete(severity)) view.severities.add(severity);
    button.setAttribute("aria-pressed", String(view.severities.has(severity)));
    draw();
  });
}
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || element("keys").open) return;
  if (event.key === "Escape") showAll();
  if (event.target.matches("input")) return;
  const inList = event.target.matches(".hit > button, #hits, body");
  const does = { "/": () => element("search").focus(), j: () => move(1), k: () => move(-1), p: pause, "?": () => element("keys").showModal(),
    ...(inList ? { ArrowDown: () => move(1), ArrowUp: () => move(-1) } : {}) }[event.key];
  if (!does) return;
  event.preventDefault();
  does();
});

let remembered = "auto";
try {
  remembered = localStorage.getItem("excguard-theme") ?? "auto";
} catch { /* nothing remembered */ }
wear(remembered);
connect();
setInterval(() => {
  if (document.hidden || view.paused) return;
  for (const row of rows.values()) if (row.hit) say(row.time, ago(Date.now() - Date.parse(row.hit.last_timestamp)));
  drawCounts();
  drawFlavors();
}, 1000);
