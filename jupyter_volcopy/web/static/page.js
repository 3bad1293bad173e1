// The page of the Hub service. Everything that comes from containers or users becomes a text node.
/* global archive */
"use strict";

const meta = (name) => document.querySelector(`meta[name="${name}"]`).content;
const api = meta("volcopy-base") + "api/";
const at = (id) => document.getElementById(id);
const collator = new Intl.Collator(undefined, { numeric: true });

const MOST_ROWS = 500; // drawn at once; more by a button
const AT_ONCE = 3; // forecasts that are asked for side by side
const MOST_QUERY = 12000; // characters that every proxy on the way takes

function make(tag, text, attributes = {}) {
  const node = document.createElement(tag);
  if (text !== undefined && text !== null) node.textContent = text;
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  return node;
}

function size(bytes) {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let value = bytes;
  let unit = 0;
  while (value >= 1000 && unit < units.length - 1) { value /= 1000; unit += 1; }
  return `${unit ? value.toFixed(1) : value} ${units[unit]}`;
}

const counted = (number, one, many = `${one}s`) => `${number} ${number === 1 ? one : many}`;

function say(text, bad = false) {
  const node = at("message");
  node.textContent = text;
  node.className = bad ? "bad" : "";
}

const pause = (seconds) => new Promise((done) => setTimeout(done, 1000 * seconds));

async function call(method, path, options = {}) {
  const headers = { "X-XSRFToken": meta("volcopy-xsrf"), ...(options.headers || {}) };
  const answer = await fetch(api + path, { method, headers, body: options.body, credentials: "same-origin" });
  if (answer.status === 429 && method === "GET") { // too many a second: later
    await pause(Number(answer.headers.get("Retry-After")) || 1);
    return call(method, path, options);
  }
  if (answer.status === 401) {
    location.reload();
    throw new Error("You are logged out.");
  }
  const text = await answer.text();
  let value = null;
  try {
    value = text ? JSON.parse(text) : null;
  } catch {
    throw new Error(`The service answers ${answer.status}, not in JSON.`);
  }
  if (!answer.ok) {
    const hint = value && value.hint ? ` (${value.hint})` : "";
    throw new Error(value ? value.message + hint : `The service answers ${answer.status}.`);
  }
  return value;
}

const json = (method, path, value) =>
  call(method, path, { body: JSON.stringify(value), headers: { "Content-Type": "application/json" } });

async function guarded(work) {
  try {
    await work();
  } catch (error) {
    say(error.message, true);
  }
}

// --- the list: one row for each container, and for each user without one

let rows = []; // { one, node, text, forecast }
let order = { key: "label", down: false };
let most = MOST_ROWS;
let rescuing = false;
let opened = null; // the row whose details are shown
const chosen = new Set(); // labels
const forecasts = new Map(); // by the container's id: bytes, or what went wrong

const WORTH = {
  label: (one) => one.label || "\uffff",
  name: (one) => one.name || "\uffff",
  state: (one) => one.state,
  groups: (one) => one.groups.join(", "),
  layer: (one) => (one.layer === undefined || one.layer === null ? -1 : one.layer),
  lost: (one) => (typeof forecasts.get(one.id) === "number" ? forecasts.get(one.id) : -1),
};

function build(one) {
  const node = make("tr");
  const choice = make("td", null, { class: "admin" });
  if (one.label && one.id) {
    const box = make("input", null, { type: "checkbox", "aria-label": `Choose ${one.label}` });
    box.checked = chosen.has(one.label);
    box.addEventListener("change", () => {
      if (box.checked) chosen.add(one.label);
      else chosen.delete(one.label);
      count();
    });
    choice.append(box);
  }
  const details = make("td");
  const row = { one, node, text: [one.label, one.name, one.state, one.image, ...one.groups].join(" ").toLowerCase() };
  if (one.id) {
    const button = make("button", "Details", { type: "button", "aria-label": `Details of ${one.name}` });
    button.addEventListener("click", () => guarded(() => open(row, button)));
    details.append(button);
  }
  const layer = one.layer === undefined || one.layer === null ? "" : size(one.layer);
  row.lost = make("td", "", { class: "number" });
  node.append(
    choice,
    make("th", one.label || "nobody's", { scope: "row" }),
    make("td", one.name, { class: "name" }),
    make("td", one.state, { class: "state" }),
    make("td", one.groups.join(", "), { class: "groups" }),
    make("td", layer, { class: "number" }),
    row.lost,
    details,
  );
  told(row);
  return row;
}

function told(row) {
  const known = forecasts.get(row.one.id);
  const text = known === undefined ? "" : typeof known === "number" ? (known ? size(known) : "nothing") : known;
  row.lost.textContent = text;
}

function shown() {
  const words = at("find").value.toLowerCase().split(/\s+/).filter(Boolean);
  const state = at("state").value;
  return rows.filter(({ one, text }) => (!state || STATES[state](one)) && words.every((word) => text.includes(word)));
}

const STATES = {
  running: (one) => one.state === "running",
  stopped: (one) => one.id && one.state !== "running",
  none: (one) => !one.id,
};

function draw() {
  const worth = WORTH[order.key];
  const sign = order.down ? -1 : 1;
  rows.sort((a, b) => {
    const [x, y] = [worth(a.one), worth(b.one)];
    const found = typeof x === "number" ? x - y : collator.compare(x, y);
    return sign * found || collator.compare(WORTH.label(a.one), WORTH.label(b.one));
  });
  const found = shown();
  at("rows").replaceChildren(...found.slice(0, most).map((row) => row.node));
  at("more").hidden = found.length <= most;
  at("more").textContent = `Show all ${found.length}`;
  for (const head of document.querySelectorAll("th[data-key]")) {
    if (head.dataset.key === order.key) head.setAttribute("aria-sort", order.down ? "descending" : "ascending");
    else head.removeAttribute("aria-sort");
  }
  count();
}

function count() {
  const found = shown();
  const picked = chosen.size ? `, ${chosen.size} chosen` : "";
  at("count").textContent = `${found.length} of ${rows.length} shown${picked}`;
  const can = found.filter(({ one }) => one.label && one.id);
  const have = can.filter(({ one }) => chosen.has(one.label)).length;
  at("all").checked = can.length > 0 && have === can.length;
  at("all").indeterminate = have > 0 && have < can.length;
}

function summary() {
  const containers = rows.filter(({ one }) => one.id);
  const users = new Set(rows.map(({ one }) => one.user).filter(Boolean));
  const running = containers.filter(({ one }) => one.state === "running");
  const measured = containers.filter(({ one }) => typeof one.layer === "number");
  at("sum-users").textContent = users.size;
  at("sum-containers").textContent = containers.length;
  at("sum-running").textContent = running.length;
  at("sum-layer").textContent = measured.length
    ? size(measured.reduce((sum, { one }) => sum + one.layer, 0))
    : "not measured";
}

async function load(sizes = false) {
  const found = await call("GET", `people${sizes ? "?sizes=1" : ""}`);
  rescuing = found.rescue;
  at("rescue-part").hidden = !rescuing;
  const kept = new Map(rows.map(({ one }) => [one.id, one.layer]));
  const without = found.without.map((one) => ({ ...one, id: null, name: "", label: one.user, state: "no container", image: "" }));
  rows = [...found.people, ...without].map((one) =>
    build(one.id && one.layer === undefined ? { ...one, layer: kept.get(one.id) } : one),
  );
  const there = new Set(found.people.map((one) => one.label));
  for (const label of chosen) if (!there.has(label)) chosen.delete(label);
  summary();
  draw();
}

async function measure() {
  at("measure").disabled = true;
  say("The engine measures ...");
  try {
    await load(true);
    order = { key: "layer", down: true };
    draw();
    say(`${at("sum-layer").textContent} lie outside volumes in ${counted(rows.filter(({ one }) => one.id).length, "container")}.`);
  } finally {
    at("measure").disabled = false;
  }
}

// Forecasts read each container: a few side by side, for those that are shown, until stopped.
let forecasting = false;

async function forecastAll() {
  if (forecasting) {
    forecasting = false;
    return;
  }
  const todo = shown().filter(({ one }) => one.id);
  if (!todo.length) throw new Error("There is no container to look at.");
  forecasting = true;
  at("forecast").textContent = "Stop";
  at("progress").hidden = false;
  at("progress").max = todo.length;
  let next = 0;
  let done = 0;
  let total = 0;
  let failed = 0;
  const work = async () => {
    while (forecasting && next < todo.length) {
      const row = todo[next];
      next += 1;
      try {
        total += await forecastOf(row);
      } catch (error) {
        failed += 1;
        forecasts.set(row.one.id, error.message);
      }
      told(row);
      done += 1;
      at("progress").value = done;
      at("total").textContent = `${done} of ${todo.length}: ${size(total)} would be lost`;
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, work));
  forecasting = false;
  at("forecast").textContent = "Forecast of all that are shown";
  at("progress").hidden = true;
  const missed = failed ? `; ${failed} could not be looked at` : "";
  say(`${size(total)} would be lost if the ${counted(done, "container")} looked at were removed now${missed}.`, failed > 0);
  if (order.key === "lost") draw();
}

async function forecastOf(row) {
  const found = await call("GET", `containers/${row.one.id}/forecast?how=spawner`);
  const bytes = found.lost.reduce((sum, item) => sum + (item.bytes || 0), 0);
  forecasts.set(row.one.id, bytes);
  row.items = found.lost;
  told(row);
  return bytes;
}

async function open(row, button) {
  opened = { row, button };
  const { one } = row;
  at("details-title").textContent = `Details of ${one.label || one.name}`;
  at("details").hidden = false;
  at("rescue-one").hidden = !(rescuing && one.label);
  at("mounts").replaceChildren(make("li", "looking ..."));
  at("lost").replaceChildren(make("li", "looking ..."));
  at("details-title").focus();
  const still = () => opened && opened.row === row;
  const mounts = await call("GET", `containers/${one.id}/mounts`);
  if (!still()) return;
  const list = mounts.mounts.map((item) =>
    make("li", `${item.target}: ${item.kind}${item.read_only ? ", read-only" : ""}, ${item.survives ? "kept" : "lost"}`),
  );
  at("mounts").replaceChildren(...(list.length ? list : [make("li", "nothing")]));
  await forecastOf(row);
  if (!still()) return;
  const items = row.items
    .slice(0, 200)
    .map((item) => make("li", `${item.path || item.volume} ${size(item.bytes || 0)}: ${item.why}`));
  if (row.items.length > 200) items.push(make("li", `and ${row.items.length - 200} more`));
  at("lost").replaceChildren(...(items.length ? items : [make("li", "nothing")]));
}

function close() {
  at("details").hidden = true;
  const button = opened && opened.button;
  opened = null;
  if (button && button.isConnected) button.focus();
  else at("find").focus();
}

// --- what administrators do

// Whole groups by their names, so that a request about hundreds stays short.
function short(labels) {
  const can = rows.map(({ one }) => one).filter((one) => one.label && one.id);
  if (can.every((one) => labels.has(one.label))) return ["all"];
  const left = new Set(labels);
  const words = [];
  const groups = [...new Set(can.flatMap((one) => one.groups))];
  for (const group of groups) {
    const members = can.filter((one) => one.groups.includes(group));
    if (members.length > 1 && members.every((one) => labels.has(one.label)) && members.some((one) => left.has(one.label))) {
      words.push(`group:${group}`);
      for (const one of members) left.delete(one.label);
    }
  }
  return [...words, ...left];
}

function whom(id) {
  const typed = at(id).value.split(/[\s,]+/).filter(Boolean);
  const words = typed.length ? typed : chosen.size ? short(chosen) : [];
  if (!words.length) throw new Error("Choose somebody in the list, or say whose.");
  return words;
}

async function handOut() {
  const words = whom("handout-to");
  const folder = [...at("handout-folder").files];
  const loose = [...at("handout-files").files];
  if (!folder.length && !loose.length) throw new Error("Choose a folder or files to hand out.");
  const files = folder.map((file) => [file.webkitRelativePath.split("/").slice(1).join("/"), file]);
  files.push(...loose.map((file) => [file.name, file]));
  const name = at("handout-name").value.trim() || (folder.length ? folder[0].webkitRelativePath.split("/")[0] : "");
  if (!name || name.includes("/")) throw new Error("Say the name of the folder there.");
  const query = new URLSearchParams(words.map((word) => ["to", word]));
  if (query.toString().length > MOST_QUERY) throw new Error("So many can only be named by group, or as all.");
  query.set("name", name);
  query.set("into", at("handout-into").value.trim());
  query.set("overwrite", at("handout-overwrite").checked ? "1" : "0");
  await call("PUT", `handouts?${query}`, { body: archive(name, files) });
  say("Handing out has begun; see Transfers.");
  await follow();
}

async function collect() {
  await json("POST", "collections", { path: at("collect-path").value.trim(), from: whom("collect-from") });
  say("Collecting has begun; see Transfers.");
  await follow();
}

async function rescue(words) {
  await json("POST", "rescues", { to: words });
  say("Rescuing has begun; see Transfers.");
  await follow();
}

// --- transfers: the list without reports, each report once, when it is over

const items = new Map(); // by id: { node, text }
const reports = new Map();
const over = (one) => one.state !== "queued" && one.state !== "running";
// The rescue of one container says what of it; that of many says only how.
const many = (one) => one.options.handout || one.options.collect || (one.options.rescue && one.options.caches === undefined);

function transferItem(one) {
  const item = make("li");
  const { progress } = one;
  const report = reports.get(one.id);
  let done = `${counted(progress.entries, "entry", "entries")}, ${size(progress.bytes)}`;
  if (many(one)) done = `${progress.entries}${progress.entries_total ? ` of ${progress.entries_total}` : ""} containers`;
  if (report && report.counts) done = Object.entries(report.counts).map(([word, number]) => `${number} ${word}`).join(", ");
  item.append(make("span", `${one.owner}: ${one.sources.join(", ")} → ${one.destination}: `));
  const kind = one.state === "failed" ? "bad" : one.state === "done" ? "good" : "";
  item.append(make("strong", one.cancelling ? "cancelling" : one.state, { class: kind }), make("span", `, ${done}`));
  if (!over(one) && !one.cancelling) {
    const button = make("button", "Cancel", { type: "button", "aria-label": `Cancel ${one.sources.join(", ")}` });
    button.addEventListener("click", () => guarded(async () => {
      await call("DELETE", `transfers/${one.id}`);
      await follow();
    }));
    item.append(" ", button);
  } else if (over(one) && one.options.collect && one.state !== "cancelled") {
    item.append(" ", make("a", "Download", { href: `${api}collections/${one.id}`, download: "submissions.tar", "aria-label": `Download what was collected from ${one.sources.join(", ")}` }));
  }
  if (one.error) item.append(make("div", one.error.message, { class: "bad" }));
  if (report && report.outcomes) item.append(each(report.outcomes));
  return item;
}

// What failed and what was kept comes first; it is drawn when somebody looks.
function each(outcomes) {
  const node = make("details");
  node.append(make("summary", `each of the ${outcomes.length}`));
  node.addEventListener("toggle", () => {
    if (node.children.length > 1) return;
    const rank = (outcome) => ["failed", "kept", "done", "same"].indexOf(outcome.state);
    const list = make("ul");
    for (const outcome of [...outcomes].sort((a, b) => rank(a) - rank(b))) {
      const hash = outcome.sha256 || (outcome.files.find((file) => file.action !== "kept") || {}).sha256;
      const text = outcome.error ? outcome.error.message : outcome.state + (hash ? `, ${hash.slice(0, 12)}` : "");
      list.append(make("li", `${outcome.label}: ${text} (${outcome.time})`));
    }
    node.append(list);
  });
  return node;
}

let timer = 0;

async function follow() {
  clearTimeout(timer);
  const found = (await call("GET", "transfers?brief=1")).transfers.reverse().slice(0, 50);
  for (const one of found) {
    if (over(one) && many(one) && !reports.has(one.id)) {
      reports.set(one.id, (await call("GET", `transfers/${one.id}`)).report);
    }
    const text = JSON.stringify([one, reports.has(one.id)]);
    const known = items.get(one.id);
    if (!known) items.set(one.id, { node: transferItem(one), text });
    else if (known.text !== text) {
      // Where it stands: whoever uses its button or reads its details keeps their place.
      const node = transferItem(one);
      const held = known.node.contains(document.activeElement);
      known.node.replaceWith(node);
      items.set(one.id, { node, text });
      if (held) (node.querySelector("button, a, summary") || at("transfers-title")).focus();
    }
  }
  const there = new Set(found.map((one) => one.id));
  for (const id of items.keys()) if (!there.has(id)) items.delete(id);
  for (const id of reports.keys()) if (!there.has(id)) reports.delete(id);
  const nodes = found.map((one) => items.get(one.id).node);
  const now = [...at("transfers").children];
  if (!nodes.length) at("transfers").replaceChildren(make("li", "none"));
  else if (now.length !== nodes.length || now.some((node, number) => node !== nodes[number])) {
    at("transfers").replaceChildren(...nodes);
  }
  timer = setTimeout(() => guarded(follow), found.every(over) ? 10000 : 1000);
}

async function audit() {
  const found = (await call("GET", "audit?limit=200")).audit;
  at("audit").replaceChildren(
    ...found.map(({ time, event, user, ...facts }) => {
      const rest = Object.entries(facts).filter(([, value]) => value !== null && value !== "");
      const words = rest.map(([key, value]) => `${key}: ${typeof value === "object" ? JSON.stringify(value) : value}`);
      return make("li", `${time} ${event} ${user || ""} ${words.join(", ")}`);
    }),
  );
}

async function begin() {
  const status = await call("GET", "status");
  document.body.classList.toggle("is-admin", status.user.admin);
  await load();
  await follow();
}

const on = (id, event, work) => at(id).addEventListener(event, (e) => guarded(() => work(e)));
for (const id of ["find", "state"]) {
  at(id).addEventListener("input", () => {
    most = MOST_ROWS;
    draw();
  });
}
at("all").addEventListener("change", () => {
  for (const { one, node } of shown()) {
    if (!one.label || !one.id) continue;
    if (at("all").checked) chosen.add(one.label);
    else chosen.delete(one.label);
    node.querySelector("input").checked = at("all").checked;
  }
  count();
});
for (const head of document.querySelectorAll("th[data-key]")) {
  head.firstElementChild.addEventListener("click", () => {
    const { key } = head.dataset;
    order = { key, down: order.key === key ? !order.down : key === "layer" || key === "lost" };
    draw();
  });
}
at("more").addEventListener("click", () => {
  most = Infinity;
  draw();
});
at("close").addEventListener("click", close);
at("details").addEventListener("keydown", (event) => {
  if (event.key === "Escape") close();
});
on("refresh", "click", () => load());
on("measure", "click", measure);
on("forecast", "click", forecastAll);
on("rescue-one", "click", () => rescue([opened.row.one.label]));
on("audit-load", "click", audit);
for (const [id, work] of [["handout", handOut], ["collect", collect], ["rescue", () => rescue(whom("rescue-to"))]]) {
  at(id).addEventListener("submit", (event) => {
    event.preventDefault();
    guarded(work);
  });
}
guarded(begin);
