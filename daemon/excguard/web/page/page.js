// The live page. Everything is inserted as text, never as markup: names come from watched programs.
// The feed (live_feed.py) sends `state` with everything, then `update` with the changes.

const STEP_SECONDS = 5;
const STEPS = 120;
const MAX_ROWS = 200;
const SEVERITIES = "{{severities}}".split(" "); // most severe first

const number = new Intl.NumberFormat("en");
const element = (id) => document.getElementById(id);

/** Everything the feed has sent. Entries are replaced, never changed, so a copy of the maps is a snapshot. */
const model = { about: {}, health: null, targets: new Map(), counts: new Map(), hits: new Map(), history: new Map() };

/** What is drawn: the model, or while the page is paused a snapshot of it. */
let shown = model;

/** What the user has selected. `target` is a name: ids change when excguard restarts. */
const view = { search: "", severities: new Set(), target: null, flavor: null, open: new Set(), pausedAt: null };

/** The time to which what is drawn belongs. */
const now = () => view.pausedAt ?? Date.now();

/** The rows of the list, by the id of their hit. */
const rows = new Map();

// ---- building ----

/** make("p", {class: "x"}, "text", otherElement): attributes that are functions are event listeners; null ones are omitted. */
function make(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") node.addEventListener(name, value);
    else if (value !== null && value !== undefined && value !== false) node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

/** Sets text only where it differs, to avoid needless announcements and layout. */
function setText(where, text) {
  if (where.textContent !== text) where.textContent = text;
}

/** Makes `items` the children of a list, in that order, with as few moves as possible. */
function arrange(list, items) {
  let place = list.firstChild;
  for (const child of items) {
    if (child === place) place = place.nextSibling;
    else list.insertBefore(child, place);
  }
  while (place) {
    const next = place.nextSibling;
    place.remove();
    place = next;
  }
}

/** A name with any content: isolated from the text around it (bidirectional text) and limited in length. */
function nameOf(text) {
  const shown = text.length > 200 ? text.slice(0, 200) + "…" : text;
  return make("bdi", { title: text.length > 60 ? text.slice(0, 1000) : null }, shown);
}

const severityOf = (thing) => thing.severity ?? "unknown";
const ruleOf = (hit) => hit.flavor_name ?? (hit.counted && !hit.guard_type ? "many sites" : (hit.guard_type ?? "unknown guard") + (hit.flavor ? ` 0x${hit.flavor.toString(16)}` : ""));
/** The summary, without the name of the rule that is shown above it. */
const whatOf = (hit) => (hit.flavor_name && hit.summary?.startsWith(hit.flavor_name) ? hit.summary.slice(hit.flavor_name.length).replace(/^:? /, "") : hit.summary ?? "");
const targetName = (id, from = shown) => from.targets.get(id)?.name ?? "?";

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
  if (fresh) for (const part of [model.targets, model.counts, model.hits, model.history]) part.clear();
  if (message.about) model.about = message.about;
  if (message.health) model.health = message.health;
  for (const target of message.targets ?? []) model.targets.set(target.id, target);
  for (const [target, guardType, flavor, severity, hits, last] of message.counts ?? []) {
    model.counts.set(JSON.stringify([target, guardType, flavor, severity]), { target, guardType, flavor, severity, hits, last });
  }
  for (const [step, hits] of message.history ?? []) model.history.set(step, hits);
  const oldest = Math.floor(Date.now() / 1000 / STEP_SECONDS) - STEPS;
  for (const step of model.history.keys()) if (step < oldest) model.history.delete(step);
  const newHits = [];
  for (const hit of message.hits ?? []) {
    if (!fresh) newHits.push(hit);
    model.hits.set(hit.id, hit);
  }
  while (model.hits.size > MAX_ROWS) {
    model.hits.delete(model.hits.keys().next().value);
  }
  if (view.pausedAt !== null) return;
  if (newHits.length) announce(newHits);
  draw();
}

function connect() {
  const feed = new EventSource("events");
  feed.addEventListener("open", () => showLink("live", "Live"));
  feed.addEventListener("state", (event) => merge(JSON.parse(event.data), true));
  feed.addEventListener("update", (event) => merge(JSON.parse(event.data), false));
  feed.addEventListener("error", () => {
    showLink("lost", "Reconnecting");
    if (feed.readyState === EventSource.CLOSED) setTimeout(connect, 3000);
  });
}

function showLink(state, words) {
  element("link").dataset.state = state;
  setText(element("link-text"), view.pausedAt !== null && state === "live" ? "Paused" : words);
  draw();
}

// Screen readers announce new hits at most every five seconds, in one sentence.
let lastAnnounced = 0;
let unannounced = 0;
let announcing = null;
function announce(newHits) {
  unannounced += newHits.length;
  if (announcing) return;
  announcing = setTimeout(() => {
    const hit = newHits[newHits.length - 1];
    setText(element("announce"), `${unannounced === 1 ? "A hit" : `${unannounced} hits`}: ${ruleOf(hit)} in ${targetName(hit.target, model).slice(0, 100)}`);
    [unannounced, announcing, lastAnnounced] = [0, null, Date.now()];
  }, Math.max(300, lastAnnounced + 5000 - Date.now()));
}

// ---- drawing ----

let drawing = false;
function draw() {
  if (drawing) return;
  drawing = true;
  requestAnimationFrame(() => {
    drawing = false;
    drawNow();
  });
}

let drawnStart = null;

function drawNow() {
  const about = shown.about;
  if (about.started !== drawnStart) {
    // Another process of excguard: ids have another meaning now.
    drawnStart = about.started;
    view.open.clear();
    for (const row of rows.values()) row.item.remove();
    rows.clear();
  }
  setText(element("about"), about.version ? `${about.version} · ${about.release} · ${about.kernel === "simulated" ? "simulated kernel" : about.kernel}` : "");
  drawCounts();
  drawTargets();
  drawFlavors();
  drawHealth();
  drawHits();
}

function drawCounts() {
  const sums = Object.fromEntries(SEVERITIES.map((severity) => [severity, 0]));
  for (const count of shown.counts.values()) sums[count.severity] = (sums[count.severity] ?? 0) + count.hits;
  const total = Object.values(sums).reduce((a, b) => a + b, 0);
  element("total").dataset.count = total;
  setText(element("total"), number.format(total));
  for (const button of document.querySelectorAll(".severity")) {
    const severity = button.dataset.severity;
    const figure = button.querySelector(".figure");
    figure.dataset.count = sums[severity];
    setText(figure, number.format(sums[severity]));
    if (severity === "unknown") button.hidden = !sums.unknown;
  }
  const severityByFlavor = new Map();
  for (const count of shown.counts.values()) severityByFlavor.set(`${count.guardType} ${count.flavor}`, count.severity);
  const steps = recentSteps((counts) => {
    const bySeverity = {};
    for (const [flavor, hits] of Object.entries(counts)) {
      const severity = severityByFlavor.get(flavor) ?? "unknown";
      bySeverity[severity] = (bySeverity[severity] ?? 0) + hits;
    }
    return bySeverity;
  });
  const heights = steps.map((step) => Object.values(step ?? {}).reduce((a, b) => a + b, 0));
  drawBars(element("activity"), steps, heights, 600, 64);
  const peak = Math.max(...heights);
  setText(element("activity-peak"), peak ? `maximum ${number.format(Math.ceil(peak / STEP_SECONDS))} per second` : "");
  const total10 = heights.reduce((a, b) => a + b, 0);
  element("activity").setAttribute("aria-label", `Hits in the last ten minutes: ${number.format(total10)}, maximum ${number.format(peak)} in five seconds`);
}

/** One value for each step of the last ten minutes, oldest first. */
function recentSteps(value) {
  const last = Math.floor(now() / 1000 / STEP_SECONDS);
  return Array.from({ length: STEPS }, (_, index) => {
    const counts = shown.history.get(last - STEPS + 1 + index);
    return counts ? value(counts) : null;
  });
}

/** Stacked bars, one path for each severity. Heights are square roots, so that small counts stay visible beside large ones. */
function drawBars(svg, steps, heights, width, height) {
  const highest = Math.sqrt(Math.max(1, ...heights));
  const stepWidth = width / steps.length;
  const paths = {};
  steps.forEach((step, index) => {
    if (!step) return;
    let base = height;
    const total = Math.max(2, (Math.sqrt(heights[index]) / highest) * height);
    for (const severity of SEVERITIES) {
      if (!step[severity]) continue;
      const barHeight = (step[severity] / heights[index]) * total;
      base -= barHeight;
      paths[severity] = (paths[severity] ?? "") + `M${(index * stepWidth + 0.5).toFixed(1)} ${base.toFixed(1)}h${(stepWidth - 1).toFixed(1)}v${barHeight.toFixed(1)}h-${(stepWidth - 1).toFixed(1)}z`;
    }
  });
  const drawn = SEVERITIES.map((severity) => [severity, paths[severity] ?? ""]);
  if (svg.dataset.drawn === JSON.stringify(drawn)) return;
  svg.dataset.drawn = JSON.stringify(drawn);
  svg.replaceChildren(
    ...drawn.filter(([, path]) => path).map(([severity, path]) => {
      const node = document.createElementNS("http://www.w3.org/2000/svg", "path");
      node.setAttribute("class", severity);
      node.setAttribute("d", path);
      return node;
    }),
  );
}

function hitsOf(test) {
  let sum = 0;
  for (const count of shown.counts.values()) if (test(count)) sum += count.hits;
  return sum;
}

const cards = { targets: new Map(), flavors: new Map() };

/** The card of `key`, created once: a button that filters the list. */
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

/** What is seen of a target's hits: all, by what other than the handler, or not, with the reason and the fix. */
function seenOf(target) {
  const others = Object.entries(target.visibility ?? {}).filter(([, by]) => by !== "handler" && by !== "nothing");
  const unseen = target.unseen ?? [];
  const hidden = unseen.map(([severities, reason]) => `${severities} hits are not seen: ${reason}`);
  const hiddenWords = unseen.map(([severities]) => severities).join(" ");
  const indirect = others.filter(([severity]) => !hiddenWords.includes(severity)).map(([severity, by]) => `${severity} hits are seen in the ${by.replaceAll("_", " ")} only`);
  if (!Object.keys(target.visibility ?? {}).length) return "";
  if (!hidden.length && !indirect.length) return "all hits are seen";
  return [...hidden, ...indirect, ...(hidden.length && target.fix ? [`fix: ${target.fix}`] : [])].join("; ");
}

function drawTargets() {
  const items = [];
  const connected = element("link").dataset.state !== "lost";
  for (const target of shown.targets.values()) {
    const hits = hitsOf((count) => count.target === target.id);
    if (!target.configured && !hits) continue;
    const entry = card("targets", target.name,
      make("span", { class: "dot", "aria-hidden": "true" }),
      make("span", { class: "name" }, nameOf(target.name)),
      make("span", { class: "figure" }),
      make("span", { class: "more quiet" }),
      make("span", { class: "more seen" }));
    entry.button.className = !connected ? "unknown" : target.up ? "up" : "down";
    entry.button.setAttribute("aria-pressed", String(view.target === target.name));
    entry.part("figure").dataset.count = hits;
    setText(entry.part("figure"), number.format(hits));
    const exits = Object.entries(target.exits).map(([reason, count]) => `${reason.replaceAll("_", " ")} ${number.format(count)}`);
    const state = !target.configured ? "no longer watched"
      : !connected ? "state unknown: excguard does not answer"
      : `${target.up ? "running" : target.starts ? "not running" : "not started"}, started ${target.starts === 1 ? "once" : `${number.format(target.starts)} times`}`;
    setText(entry.part("more"), [state, ...(exits.length ? [`ended: ${exits.join(", ")}`] : [])].join("; "));
    setText(entry.part("seen"), target.configured ? seenOf(target) : "");
    entry.part("seen").classList.toggle("quiet", !target.unseen?.length);
    items.push(entry.item);
  }
  arrange(element("targets"), items);
}

function drawFlavors() {
  const sums = new Map();
  for (const count of shown.counts.values()) {
    if (view.target !== null && targetName(count.target) !== view.target) continue;
    const key = `${count.guardType} ${count.flavor}`;
    const sum = sums.get(key) ?? { ...count, hits: 0 };
    sum.hits += count.hits;
    sums.set(key, sum);
  }
  const items = [];
  for (const [key, sum] of [...sums].sort((a, b) => b[1].hits - a[1].hits || (a[0] < b[0] ? -1 : 1))) {
    const spark = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    spark.setAttribute("class", "spark");
    spark.setAttribute("viewBox", "0 0 240 24");
    spark.setAttribute("preserveAspectRatio", "none");
    spark.setAttribute("role", "img");
    const entry = card("flavors", key,
      make("span", { class: "sign", "aria-hidden": "true" }),
      make("span", { class: "name mono", title: `${sum.guardType} ${sum.flavor}` }, sum.flavor === "none" || sum.flavor === "unknown" ? `${sum.guardType} ${sum.flavor === "none" ? "" : "unknown"}`.trim() : sum.flavor),
      make("span", { class: "figure" }),
      spark);
    entry.button.dataset.severity = sum.severity;
    entry.button.setAttribute("aria-pressed", String(view.flavor === key));
    entry.part("figure").dataset.count = sum.hits;
    setText(entry.part("figure"), number.format(sum.hits));
    const steps = recentSteps((counts) => counts[key] ?? 0);
    const heights = Array.from({ length: STEPS / 2 }, (_, index) => (steps[2 * index] ?? 0) + (steps[2 * index + 1] ?? 0));
    const recent = heights.reduce((a, b) => a + b, 0);
    entry.part("spark").classList.toggle("still", !recent);
    drawBars(entry.part("spark"), heights.map((height) => (height ? { [sum.severity]: height } : null)), heights, 240, 24);
    entry.part("spark").setAttribute("aria-label", `${number.format(recent)} in the last ten minutes`);
    items.push(entry.item);
  }
  element("flavors-empty").hidden = items.length > 0;
  arrange(element("flavors"), items);
}

function drawHealth() {
  const health = shown.health;
  if (!health) return;
  const rejected = Object.entries(health.rejected).map(([reason, count]) => `${number.format(count)} ${reason.replaceAll("_", " ")}`);
  const facts = [
    ["Replies", number.format(health.replies), false],
    ["Mean reply time", health.replies ? `${number.format(health.reply_mean_us)} µs` : "–", false],
    ["Not logged yet", `${number.format(health.pending)} of ${number.format(health.capacity)}`, health.pending * 2 > health.capacity],
    ["Logged as a count", number.format(health.suppressed), false],
    ["Missing from the log", number.format(health.lost), health.lost > 0],
    ["Failed log writes", number.format(health.log_failures), health.log_failures > 0],
    ["Policy telemetry (not hits)", number.format(health.policy_telemetry), false],
    ["Rejected messages", rejected.join(", ") || "0", rejected.length > 0],
  ];
  const list = element("health");
  if (!list.children.length) for (const [name] of facts) list.append(make("dt", {}, name), make("dd", {}));
  facts.forEach(([, value, bad], index) => {
    const place = list.children[2 * index + 1];
    setText(place, value);
    place.classList.toggle("bad", bad);
  });
}

// ---- the list of hits ----

function textOf(hit) {
  return [ruleOf(hit), hit.guard_type, hit.kernel_name, severityOf(hit), targetName(hit.target), hit.pid, hit.summary, hit.advice, hit.code, hit.payload, hit.pc, hit.image, hit.symbol, hit.site_id, hit.source, ...(hit.aliases ?? [])]
    .join("\n").toLowerCase();
}

function matches(hit) {
  if (view.severities.size && !view.severities.has(severityOf(hit))) return false;
  if (view.target !== null && targetName(hit.target) !== view.target) return false;
  if (view.flavor !== null && `${hit.guard_type ?? "unknown"} ${hit.known === false ? "unknown" : hit.flavor_name ?? "none"}` !== view.flavor) return false;
  const text = view.search && textOf(hit);
  return view.search.split(/\s+/).every((word) => text.includes(word));
}

function drawHits() {
  const hits = [...shown.hits.values()].filter(matches).sort((a, b) => (a.last_timestamp < b.last_timestamp ? 1 : a.last_timestamp > b.last_timestamp ? -1 : b.id - a.id));
  for (const [id, row] of rows) {
    if (!shown.hits.has(id)) {
      row.item.remove();
      rows.delete(id);
      view.open.delete(id);
    }
  }
  const first = rows.size === 0;
  const items = hits.map((hit) => {
    let row = rows.get(hit.id);
    if (!row) {
      row = makeRow(hit, !first);
      rows.set(hit.id, row);
    }
    if (row.hit !== hit) fillRow(row, hit);
    return row.item;
  });
  // Moving elements loses the focus; keep it on its hit.
  const focused = document.activeElement;
  arrange(element("hits"), items);
  if (focused !== document.activeElement && focused?.isConnected) focused.focus({ preventScroll: true });
  updateTabStop();
  const filtered = view.search || view.severities.size || view.target !== null || view.flavor !== null;
  element("clear").hidden = !filtered;
  setText(element("shown"), filtered ? `${hits.length} of ${shown.hits.size}` : "");
  element("empty").hidden = hits.length > 0;
  setText(element("empty"), shown.hits.size
    ? "No hit matches. The list has the latest 200; the counts include all."
    : "No hits yet. Each guard exception in a watched program appears here as soon as it is raised.");
}

function makeRow(hit, isNew) {
  const row = { hit: null };
  row.rule = make("span", { class: "rule" });
  row.who = make("span", { class: "who" });
  row.facts = make("span", { class: "quiet" });
  row.badge = make("span", { class: "badge", hidden: true });
  row.time = make("time", { class: "when" });
  row.summary = make("span", { class: "summary line" });
  row.button = make("button", { type: "button", tabindex: "-1", "aria-expanded": "false", click: () => toggle(row) },
    make("span", { class: "sign", "aria-hidden": "true" }), make("span", { class: "line" }, row.rule, " ", row.who, " ", row.facts, " ", row.badge), row.time, row.summary);
  row.detail = make("div", { class: "detail", id: `detail-${hit.id}`, hidden: true });
  row.item = make("li", { class: isNew ? "hit new" : "hit" }, row.button, row.detail);
  row.button.setAttribute("aria-controls", row.detail.id);
  return row;
}

function fillRow(row, hit) {
  row.hit = hit;
  row.item.dataset.severity = severityOf(hit);
  setText(row.rule, ruleOf(hit));
  row.who.replaceChildren(nameOf(targetName(hit.target)));
  row.facts.replaceChildren([hit.pid ? `pid ${hit.pid}` : "", hit.inherited ? "(inherited)" : "", hit.source && hit.source !== "live" ? `from ${hit.source.replaceAll("_", " ")}` : "", hit.recovered ? "recovered" : ""].filter(Boolean).join(" "),
    make("span", { class: "visually-hidden" }, `, ${severityOf(hit)}`));
  row.badge.hidden = !hit.repeats;
  setText(row.badge, `${hit.counted ? "" : "+"}${number.format(hit.repeats)}${hit.counted ? " hits" : " more"}`);
  row.time.dateTime = hit.last_timestamp;
  row.time.title = hit.last_timestamp;
  setText(row.time, ago(now() - Date.parse(hit.last_timestamp)));
  setText(row.summary, whatOf(hit));
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
  setCurrent(row.button);
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
    ["process", hit.executable], ["image", hit.image], ["image UUID", hit.image_uuid], ["offset", hit.image_offset],
    ["function", hit.symbol && hit.symbol + (hit.symbol_offset ? ` + ${hit.symbol_offset}` : "")], ["site", hit.site_id], ["report", hit.report],
    ["source", hit.source], ["seq", hit.seq], ["first seen", hit.timestamp],
  ].filter(([, value]) => value !== null && value !== undefined && value !== "");
  const copy = make("button", { type: "button", click: () => navigator.clipboard?.writeText(JSON.stringify({ ...hit, target: targetName(hit.target) }, null, 2)).then(() => setText(copy, "Copied"), () => setText(copy, "Copy not allowed")) }, "Copy as JSON");
  row.detail.replaceChildren(...[
    part("What happened", "what", hit.summary),
    part("Fix", "fix", hit.advice),
    hit.causes?.length ? make("div", {}, make("h3", {}, "Common causes"), make("ul", { class: "causes" }, ...hit.causes.map((cause) => make("li", {}, cause)))) : null,
    hit.target_meaning ? part(`Target 0x${(hit.guard_target ?? 0).toString(16)}`, "what", hit.target_meaning) : null,
    hit.payload_fields?.length ? table(`Payload ${hit.payload}`, ["field", "value", "meaning", "source"],
      hit.payload_fields.map((field) => [make("code", {}, field.name), make("code", {}, String(field.value)), field.text, field.confidence])) : null,
    hit.readings?.length ? table("Meaning of this number on other releases", ["name", "releases", "severity"],
      hit.readings.map((reading) => [make("code", {}, reading.flavor_name), reading.releases, reading.severity ?? "unknown"])) : null,
    ...(hit.notes ?? []).map((note) => make("p", { class: "quiet" }, note)),
    make("dl", { class: "facts" }, ...facts.map(fact)),
    hit.frames?.length ? make("div", {}, make("h3", {}, "Stack"), make("ol", { class: "causes" }, ...hit.frames.map((frame) => make("li", {}, make("code", {}, frame))))) : null,
    make("div", {}, copy),
  ].filter(Boolean));
}

// ---- user actions ----

function filterBy(what, value) {
  view[what] = view[what] === value ? null : value;
  draw();
}

function filterBySeverity(severity) {
  if (!view.severities.delete(severity)) view.severities.add(severity);
  const button = document.querySelector(`.severity[data-severity="${severity}"]`);
  button.setAttribute("aria-pressed", String(view.severities.has(severity)));
  draw();
}

function showAll() {
  Object.assign(view, { search: "", target: null, flavor: null });
  view.severities.clear();
  element("search").value = "";
  for (const button of document.querySelectorAll(".severity")) button.setAttribute("aria-pressed", "false");
  draw();
}

/** One hit of the list is in the tab order (roving tabindex); arrows and j, k move from there. */
let current = null;
function updateTabStop() {
  const buttons = [...document.querySelectorAll(".hit > button")];
  if (!current?.isConnected) current = buttons[0] ?? null;
  for (const button of buttons) button.tabIndex = button === current ? 0 : -1;
}
function setCurrent(button) {
  current = button;
  updateTabStop();
}
function move(by) {
  const buttons = [...document.querySelectorAll(".hit > button")];
  if (!buttons.length) return;
  const at = document.activeElement === current ? buttons.indexOf(current) + by : by > 0 ? 0 : buttons.length - 1;
  setCurrent(buttons[Math.min(Math.max(at, 0), buttons.length - 1)]);
  current.focus();
}

/** Hold what is drawn, or go back to the model. Search and filters work on what is drawn. */
function pause() {
  const pausing = view.pausedAt === null;
  view.pausedAt = pausing ? Date.now() : null;
  shown = pausing ? { ...model, ...Object.fromEntries(["targets", "counts", "hits", "history"].map((part) => [part, new Map(model[part])])) } : model;
  element("pause").setAttribute("aria-pressed", String(pausing));
  setText(element("pause"), pausing ? "Resume" : "Pause");
  if (element("link").dataset.state === "live") showLink("live", "Live");
  draw();
}

const THEMES = { auto: ["◐", "system"], light: ["☀", "light"], dark: ["☾", "dark"] };
function applyTheme(theme) {
  const names = Object.keys(THEMES);
  const applied = names.includes(theme) ? theme : "auto";
  if (applied === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = applied;
  const button = element("theme");
  const [sign, words] = THEMES[applied];
  setText(button, sign);
  button.title = `Color scheme: ${words}`;
  button.setAttribute("aria-label", button.title);
  button.onclick = () => {
    const next = names[(names.indexOf(applied) + 1) % names.length];
    try {
      localStorage.setItem("excguard-theme", next);
    } catch { /* storage is disabled */ }
    applyTheme(next);
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
  button.addEventListener("click", () => filterBySeverity(button.dataset.severity));
}
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || element("keys").open) return;
  if (event.key === "Escape") showAll();
  if (event.target.matches("input")) return;
  const inList = event.target.matches(".hit > button, #hits, body");
  const action = { "/": () => element("search").focus(), j: () => move(1), k: () => move(-1), p: pause, "?": () => element("keys").showModal(),
    ...Object.fromEntries(SEVERITIES.map((severity, index) => [index + 1, () => filterBySeverity(severity)])),
    ...(inList ? { ArrowDown: () => move(1), ArrowUp: () => move(-1) } : {}) }[event.key];
  if (!action) return;
  event.preventDefault();
  action();
});

let remembered = "auto";
try {
  remembered = localStorage.getItem("excguard-theme") ?? "auto";
} catch { /* storage is disabled */ }
applyTheme(remembered);
connect();
setInterval(() => {
  if (document.hidden || view.pausedAt !== null) return;
  for (const row of rows.values()) if (row.hit) setText(row.time, ago(now() - Date.parse(row.hit.last_timestamp)));
  drawCounts();
  drawFlavors();
}, 1000);
