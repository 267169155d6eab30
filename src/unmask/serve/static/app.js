"use strict";
// The page of `unmask serve`. Whatever comes from outside becomes text, never markup.

const PAGE = 20; // jobs on a page of the list
const AT_ONCE = 2; // uploads
const BUSY = 1000, IDLE = 10000; // milliseconds between two looks

const EVIDENCE = {
  strong: ["Strong evidence of manipulation", "Few real videos score as high, and altered copies of this one do, too. Look at the suspicious stretches."],
  moderate: ["Moderate evidence of manipulation", "It scores as few real videos do, or parts of it stand out. Look at the suspicious stretches."],
  weak: ["Weak or no evidence of manipulation", "Absence of evidence is not evidence of absence: kinds of manipulation that the model does not know end here, too."],
  inconclusive: ["Inconclusive", "The model cannot tell. This is no sign that the video is real."],
  failed: ["Not analysed", "Nothing can be said about this video."],
};
const STAGES = {
  opening: "Opening", scoring: "Judging the faces", copies: "Judging altered copies", reporting: "Writing the report",
};

const state = { about: null, search: "", page: 0, chosen: new Set(), rows: new Map(), before: new Map(), view: "", uploads: [] };
const $ = (id) => document.getElementById(id);

/** An element: make("p", {className: "quiet"}, "text", otherElement, null). */
function make(tag, properties = {}, ...children) {
  const node = document.createElement(tag);
  Object.assign(node, properties);
  node.append(...children.filter((child) => child !== null && child !== ""));
  return node;
}

function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/** Let a list hold just these nodes, in this order; what stays in its place keeps the focus. */
function place(list, nodes) {
  nodes.forEach((node, index) => {
    if (list.children[index] !== node) list.insertBefore(node, list.children[index] ?? null);
  });
  while (list.children.length > nodes.length) list.lastElementChild.remove();
}

function say(text) {
  $("said").textContent = text;
}

function complain(text) {
  setText($("trouble"), text);
  $("trouble").hidden = !text;
}

// --- the server ------------------------------------------------------------------------------

class Refused extends Error {
  constructor(status, why) {
    super(why);
    this.status = status;
  }
}

function reasonIn(text, status) {
  try {
    const { detail } = JSON.parse(text);
    if (typeof detail === "string") return detail;
  } catch { /* not from us */ }
  return `the server answered ${status}`;
}

async function ask(path, options = {}) {
  const answer = await fetch(path, options);
  const text = await answer.text();
  if (answer.status === 401) askForToken();
  if (!answer.ok) throw new Refused(answer.status, reasonIn(text, answer.status));
  return text ? JSON.parse(text) : null;
}

function askForToken() {
  for (const id of ["home", "view"]) $(id).hidden = true;
  $("login").hidden = false;
  $("token").focus();
}

async function logIn(event) {
  event.preventDefault();
  try {
    await ask("api/session", { method: "POST", headers: { Authorization: `Bearer ${$("token").value}` } });
    $("login").hidden = true;
    $("token").value = "";
    complain("");
    start();
  } catch (error) {
    complain(error.message);
  }
}

// --- words -----------------------------------------------------------------------------------

function bytes(count) {
  const units = ["bytes", "KB", "MB", "GB", "TB"];
  const power = Math.min(units.length - 1, Math.floor(Math.log2(Math.max(1, count)) / 10));
  return `${Math.round((10 * count) / 1024 ** power) / 10} ${units[power]}`;
}

function duration(seconds) {
  const whole = Math.max(0, Math.round(seconds));
  if (whole < 90) return `${whole} s`;
  if (whole < 5400) return `${Math.round(whole / 60)} min`;
  return whole < 172800 ? `${Math.round(whole / 3600)} h` : `${Math.round(whole / 86400)} days`;
}

const when = (seconds) => new Date(1000 * seconds).toLocaleString([], { dateStyle: "medium", timeStyle: "short" });
const active = (job) => job.status === "queued" || job.status === "running";
const kindOf = (job) => (job.status === "failed" ? "failed" : job.evidence);
const headline = (job) => EVIDENCE[kindOf(job)][0];

function stateOf(job) {
  if (job.status === "queued") return job.attempts ? "Waiting to be tried again" : "Waiting";
  const { stage, frames, fps, left, evidence } = job.progress ?? { stage: "opening", frames: 0 };
  const parts = [STAGES[stage]];
  if (evidence) parts.push(`so far: ${EVIDENCE[evidence][0]}`);
  if (frames) parts.push(`${frames} frames`);
  if (stage === "scoring" && fps) parts.push(`${fps.toFixed(1)} frames/s`);
  if (stage === "scoring" && left !== null) parts.push(`about ${duration(left)} left`);
  return parts.join(" · ");
}

function showProgress(bar, job) {
  bar.hidden = job.status !== "running";
  const { time, duration: whole } = job.progress ?? {};
  if (job.status === "running" && whole) bar.value = Math.min(1, time / whole);
  else bar.removeAttribute("value");
  bar.setAttribute("aria-label", `Progress of ${job.name}`);
}

// --- uploads ---------------------------------------------------------------------------------

/** Queue files for upload, each with a row that shows how far it is. */
function addFiles(files) {
  for (const file of files) {
    const upload = { file, waiting: true, request: null };
    upload.text = make("p", { className: "quiet" }, "Waiting");
    upload.bar = make("progress", { max: 1, value: 0 });
    upload.bar.setAttribute("aria-label", `Upload of ${file.name}`);
    upload.retry = make("button", { className: "plain", hidden: true, onclick: () => again(upload) }, "Try again");
    const remove = make("button", { className: "plain", onclick: () => drop(upload) }, "Remove");
    remove.setAttribute("aria-label", `Remove the upload of ${file.name}`);
    const what = make("div", { className: "what" }, make("p", {}, file.name), upload.text, upload.bar);
    upload.row = make("li", {}, what, make("div", { className: "acts" }, upload.retry, remove));
    state.uploads.push(upload);
    $("uploads").append(upload.row);
    const limit = state.about.max_upload;
    if (file.size > limit) stop(upload, `larger than ${bytes(limit)}`, false);
  }
  uploadNext();
}

function uploadNext() {
  const waiting = state.uploads.filter((upload) => upload.waiting);
  const running = state.uploads.filter((upload) => upload.request).length;
  for (const upload of waiting.slice(0, AT_ONCE - running)) send(upload);
}

function send(upload) {
  const request = new XMLHttpRequest(); // fetch does not tell how far an upload is
  upload.waiting = false;
  upload.request = request;
  upload.retry.hidden = true;
  upload.bar.hidden = false;
  request.open("POST", `api/jobs?name=${encodeURIComponent(upload.file.name.slice(-200))}`);
  request.setRequestHeader("Content-Type", "application/octet-stream");
  request.upload.onprogress = (event) => {
    upload.bar.value = event.loaded / (event.total || 1);
    setText(upload.text, `Uploading · ${bytes(event.loaded)} of ${bytes(event.total)}`);
  };
  request.onload = () => {
    if (request.status === 202) {
      say(`${upload.file.name}: uploaded`);
      drop(upload);
      refresh();
    } else if (request.status === 429) {
      const seconds = Number(request.getResponseHeader("Retry-After")) || 10;
      stop(upload, "", true);
      setText(upload.text, "The server is busy; it will be tried again");
      setTimeout(() => again(upload), 1000 * seconds);
    } else {
      if (request.status === 401) askForToken();
      stop(upload, reasonIn(request.responseText, request.status), request.status >= 500 || request.status === 401);
    }
  };
  request.onerror = () => stop(upload, "the connection broke off", true);
  request.send(upload.file);
}

function stop(upload, why, mayRetry) {
  upload.waiting = false;
  upload.request = null;
  upload.bar.value = 0;
  upload.bar.hidden = true;
  upload.retry.hidden = !mayRetry;
  if (why) {
    setText(upload.text, `Not uploaded: ${why}`);
    say(`${upload.file.name}: not uploaded, ${why}`);
  }
  uploadNext();
}

function again(upload) {
  if (upload.request || !state.uploads.includes(upload)) return;
  upload.waiting = true;
  setText(upload.text, "Waiting");
  uploadNext();
}

function drop(upload) {
  state.uploads = state.uploads.filter((other) => other !== upload);
  const request = upload.request;
  upload.request = null;
  if (request) request.abort();
  upload.row.remove();
  uploadNext();
}

async function submitPath(event) {
  event.preventDefault();
  try {
    const body = JSON.stringify({ path: $("path").value });
    await ask("api/jobs", { method: "POST", headers: { "Content-Type": "application/json" }, body });
    $("path").value = "";
    complain("");
    refresh();
  } catch (error) {
    complain(error.message);
  }
}

// --- the list --------------------------------------------------------------------------------

async function showList() {
  const query = new URLSearchParams({ search: state.search, limit: PAGE, offset: PAGE * state.page });
  const { jobs, total } = await ask(`api/jobs?${query}`);
  if (!jobs.length && state.page > 0) {
    state.page = Math.max(0, Math.ceil(total / PAGE) - 1);
    return showList();
  }
  const rows = new Map(jobs.map((job) => [job.id, state.rows.get(job.id) ?? makeRow(job)]));
  state.rows = rows;
  for (const job of jobs) updateRow(rows.get(job.id), job);
  announce(jobs);
  place($("jobs"), [...rows.values()].map((row) => row.node));
  $("none").hidden = jobs.length > 0;
  setText($("none"), state.search ? "No video has a name like that." : "None yet.");
  const first = PAGE * state.page + 1, last = PAGE * state.page + jobs.length;
  setText($("where"), total > PAGE ? `${first} to ${last} of ${total}` : "");
  $("newer").hidden = state.page === 0;
  $("older").hidden = last >= total;
  for (const form of ["csv", "json"]) {
    $(`as-${form}`).href = `api/export?${new URLSearchParams({ format: form, search: state.search })}`;
  }
  return jobs.some(active);
}

function makeRow(job) {
  const row = { evidence: make("span", { className: "evidence" }), detail: make("span", { className: "quiet" }) };
  row.bar = make("progress", { max: 1 });
  row.box = make("input", { type: "checkbox", onchange: () => choose(job.id, row.box.checked) });
  row.box.setAttribute("aria-label", `Compare ${job.name}`);
  row.label = make("label", {}, row.box, "Compare");
  row.remove = make("button", { className: "plain", onclick: () => remove(job) });
  row.remove.setAttribute("aria-label", `Delete ${job.name}`);
  const link = make("a", { href: `#job/${job.id}` }, job.name);
  const what = make("div", { className: "what" }, make("p", {}, link), make("p", {}, row.evidence, " ", row.detail), row.bar);
  row.node = make("li", {}, what, make("div", { className: "acts" }, row.label, row.remove));
  return row;
}

function updateRow(row, job) {
  const ended = !active(job);
  row.evidence.className = ended ? `evidence ${kindOf(job)}` : "";
  setText(row.evidence, ended ? headline(job) : stateOf(job));
  const score = job.confidence === null ? "" : `score ${job.confidence.toFixed(2)}`;
  const reason = job.status === "failed" ? job.reason : score;
  setText(row.detail, [reason, when(job.created)].filter(Boolean).join(" · "));
  showProgress(row.bar, job);
  row.label.hidden = job.status !== "done";
  row.box.checked = state.chosen.has(job.id);
  setText(row.remove, ended ? "Delete" : "Cancel");
}

/** Say aloud which jobs have ended that were seen running. */
function announce(jobs) {
  const news = jobs.filter((job) => state.before.get(job.id) && !active(job));
  if (news.length) say(news.map((job) => `${job.name}: ${headline(job)}`).join("; "));
  for (const job of jobs) state.before.set(job.id, active(job));
}

function choose(id, chosen) {
  if (chosen) state.chosen.add(id);
  else state.chosen.delete(id);
  $("do-compare").disabled = state.chosen.size !== 2;
  setText($("do-compare"), state.chosen.size > 2 ? "Compare two: choose only two" : "Compare two");
}

async function remove(job) {
  const question = active(job) ? `Cancel and delete ${job.name}?` : `Delete ${job.name}, its video and its result?`;
  if (!window.confirm(question)) return;
  try {
    await ask(`api/jobs/${job.id}`, { method: "DELETE" });
  } catch (error) {
    if (error.status !== 404) return complain(error.message);
  }
  choose(job.id, false);
  say(`${job.name}: deleted`);
  if (state.view) location.hash = "";
  else {
    await refresh();
    $("history-title").focus();
  }
}

// --- a result, and two -----------------------------------------------------------------------

async function showJob(id) {
  const job = await ask(`api/jobs/${id}`);
  const result = job.status === "done" ? await ask(`api/jobs/${id}/result`) : null;
  if (state.view !== `job/${id}`) return false;
  announce([job]);
  setTitle(job.name);
  const phase = active(job) ? "active" : job.status;
  if ($("view").dataset.state !== phase) {
    const waits = [make("p", { id: "now" }), make("progress", { id: "bar", max: 1 })];
    const card = make("article", { className: "card" }, ...(active(job) ? waits : findings(job, result, 640)));
    card.append(make("p", { className: "line" }, ...actions(job)));
    showView(card);
    $("view").dataset.state = phase;
  }
  if (active(job)) {
    setText($("now"), stateOf(job));
    showProgress($("bar"), job);
  }
  return active(job);
}

function showView(...nodes) {
  $("view").replaceChildren(make("p", {}, make("a", { href: "#" }, "All videos")), ...nodes);
}

function actions(job) {
  const open = { href: `api/jobs/${job.id}/report`, target: "_blank", rel: "noopener", className: "button" };
  const save = { href: `api/jobs/${job.id}/result`, download: "result.json", className: "button plain" };
  const done = job.status === "done" ? [make("a", open, "Full report"), make("a", save, "Result as JSON")] : [];
  return [...done, make("button", { className: "plain", onclick: () => remove(job) }, active(job) ? "Cancel" : "Delete")];
}

/** What was found in a video: words first, then where, then numbers. */
function findings(job, result, width) {
  const [words, meaning] = EVIDENCE[kindOf(job)];
  const nodes = [make("p", { className: `evidence ${kindOf(job)}` }, words), make("p", {}, meaning)];
  if (job.reason) nodes.push(make("p", { className: "note" }, job.reason));
  if (result === null) return nodes;
  if (result.timeline.length > 1) {
    const lines = result.tracks.length > 1 ? "Person 1 is the solid line, others are broken ones. " : "";
    const legend = `${lines}The thin dashes mark the threshold of a suspicious stretch.`;
    nodes.push(make("h3", {}, "Score over time"), curve(result, width), make("p", { className: "quiet" }, legend));
  }
  nodes.push(make("h3", {}, "Suspicious stretches"), stretches(result.segments, result.tracks.length));
  nodes.push(make("h3", {}, "In numbers"), numbers(job, result));
  return nodes;
}

function stretches(segments, people) {
  if (!segments.length) return make("p", {}, "None stands out.");
  const titles = ["from", "to", "mean score", ...(people > 1 ? ["person"] : [])];
  const head = make("tr", {}, ...titles.map((title) => make("th", { scope: "col" }, title)));
  const rows = segments.map((part) => {
    const cells = [part.start_time, part.end_time, part.confidence.toFixed(2), ...(people > 1 ? [part.track + 1] : [])];
    return make("tr", {}, ...cells.map((cell) => make("td", {}, String(cell))));
  });
  return make("table", {}, make("thead", {}, head), make("tbody", {}, ...rows));
}

function numbers(job, result) {
  const list = make("dl");
  const add = (name, text) => list.append(make("dt", {}, name), make("dd", {}, text));
  add("Probability of manipulation", job.confidence.toFixed(3));
  add("People", String(result.tracks.length));
  add("Judged", `${Math.round(100 * result.coverage)} % of the sampled frames`);
  add("Model", `${job.model}, ${job.model_sha256.slice(0, 12)}`);
  add("SHA-256 of the file", job.sha256);
  add("Handed in", when(job.created));
  return list;
}

/** The score of every person over time, as a picture of at most so many pixels. */
function curve({ timeline, tracks, segments, thresholds }, atMost) {
  const width = Math.min(atMost, document.body.clientWidth - 66);
  const [height, left, right, top, bottom] = [180, 30, 10, 10, 22];
  const end = Math.max(...timeline.map((face) => face.time), 0.1);
  const x = (time) => (left + ((width - left - right) * time) / end).toFixed(1);
  const y = (score) => (top + (height - top - bottom) * (1 - score)).toFixed(1);
  const picture = draw("svg", { viewBox: `0 0 ${width} ${height}`, role: "img" });
  picture.setAttribute("aria-label", `Score over ${duration(end)}; the stretches below say where it is high`);
  for (const part of segments) {
    picture.append(draw("rect", { class: "stretch", x: x(part.start), y: top, width: Math.max(2, x(part.end) - x(part.start)), height: height - top - bottom }));
  }
  for (const score of [0, 1]) {
    picture.append(draw("line", { class: "frame", x1: left, x2: width - right, y1: y(score), y2: y(score) }));
    picture.append(draw("text", { x: 12, y: Number(y(score)) + 4 }, String(score)));
  }
  const limit = thresholds?.segment_threshold;
  if (limit !== undefined) picture.append(draw("line", { class: "threshold", x1: left, x2: width - right, y1: y(limit), y2: y(limit) }));
  tracks.forEach((track, index) => {
    const points = timeline.filter((face) => face.track === track.id).map((face) => `${x(face.time)},${y(face.score)}`);
    picture.append(draw("polyline", { class: `curve ${["", "two"][index] ?? "more"}`, points: points.join(" ") }));
  });
  picture.append(draw("text", { x: left, y: height - 6 }, "0 s"));
  picture.append(draw("text", { x: width - right, y: height - 6, "text-anchor": "end" }, `${end.toFixed(1)} s`));
  return picture;
}

function draw(tag, attributes, text = "") {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.textContent = text;
  return node;
}

async function showTwo(ids) {
  const pairs = await Promise.all(ids.map(async (id) => [await ask(`api/jobs/${id}`), await ask(`api/jobs/${id}/result`)]));
  if (state.view !== `compare/${ids.join("/")}`) return false;
  setTitle("Two results side by side");
  const cards = pairs.map(([job, result]) =>
    make("article", { className: "card" }, make("h2", {}, job.name), ...findings(job, result, 400), make("p", { className: "line" }, ...actions(job))));
  const said = make("p", { className: "note", id: "comparison" }, comparison(pairs[0][0], pairs[1][0]));
  showView(said, make("div", { className: "columns" }, ...cards));
  return false;
}

/** Whether two results agree, and what that means. */
function comparison(one, two) {
  const side = ({ evidence }) => (evidence === "strong" || evidence === "moderate" ? "fake" : evidence);
  const agree = side(one) === side(two);
  const words = [...new Set([one, two].map((job) => `“${headline(job)}”`))].join(" and ");
  if (one.model_sha256 === two.model_sha256) {
    if (one.sha256 === two.sha256) return `The same file, judged twice by the same model: ${words}.`;
    return `Two files, one model, and ${agree ? "the same answer" : "different answers"}: ${words}.`;
  }
  if (one.sha256 !== two.sha256) return "Different files and different models: these results say nothing about each other.";
  return agree
    ? `The same file, and the two models agree: ${words}. They may still share a mistake.`
    : `The same file, and the models disagree: ${words}. While they do, take it as inconclusive.`;
}

// --- which view, and when --------------------------------------------------------------------

function setTitle(text) {
  setText($("title"), text);
  document.title = text === "Is this video manipulated?" ? "unmask" : `${text} - unmask`;
}

function route() {
  state.view = location.hash.slice(1);
  $("home").hidden = state.view !== "";
  $("view").hidden = state.view === "";
  $("view").replaceChildren();
  $("view").dataset.state = "";
  setTitle(state.view ? "…" : "Is this video manipulated?");
  complain("");
  window.scrollTo(0, 0);
  $("title").focus();
  refresh();
}

function show() {
  const [kind, ...ids] = state.view.split("/");
  if (ids.every((id) => /^[0-9a-f]{32}$/.test(id))) {
    if (kind === "job" && ids.length === 1) return showJob(ids[0]);
    if (kind === "compare" && ids.length === 2) return showTwo(ids);
  }
  return showList();
}

let timer = 0, turn = 0, cut = false;

/** Look at once, and then again and again. A poll, and no stream of events for each job: a browser
 * allows six connections to a server, and a poll goes on when the server has been restarted. */
async function refresh() {
  const mine = ++turn;
  clearTimeout(timer);
  let busy = true;
  try {
    busy = await show();
    if (cut) complain("");
    cut = false;
  } catch (error) {
    if (error.status === 401) return;
    cut = error.status === undefined;
    if (error.status === 404) setTitle("No such video");
    else complain(cut ? "The server does not answer. Trying again…" : error.message);
    busy = cut;
  }
  if (mine === turn) timer = setTimeout(refresh, busy ? BUSY : IDLE);
}

async function start() {
  try {
    state.about = await ask("api/about");
  } catch (error) {
    if (error.status === 401) return;
    complain("The server does not answer. Trying again…");
    setTimeout(start, BUSY);
    return;
  }
  complain("");
  const { version, model, max_upload: limit, keep } = state.about;
  setText($("about"), `version ${version}${model ? `, model ${model}` : ""}`);
  setText($("limits"), `Up to ${bytes(limit)} each. Videos stay on this server and are deleted after ${duration(keep)}.`);
  $("local").hidden = !state.about.local_paths;
  route();
}

function listen() {
  $("login").addEventListener("submit", logIn);
  $("local").addEventListener("submit", submitPath);
  $("files").addEventListener("change", () => {
    addFiles($("files").files);
    $("files").value = "";
  });
  // All of the page is a target: a browser would leave it and play what is dropped beside one.
  for (const kind of ["dragover", "drop", "dragleave"]) {
    document.addEventListener(kind, (event) => {
      event.preventDefault();
      $("drop").classList.toggle("over", kind === "dragover");
      if (kind === "drop" && !$("home").hidden) addFiles(event.dataTransfer.files);
    });
  }
  let typing = 0;
  $("search").addEventListener("input", () => {
    clearTimeout(typing);
    typing = setTimeout(() => {
      Object.assign(state, { search: $("search").value, page: 0 });
      refresh();
    }, 200);
  });
  for (const [id, step] of [["newer", -1], ["older", 1]]) {
    $(id).addEventListener("click", () => {
      state.page += step;
      $("history-title").focus();
      refresh();
    });
  }
  $("do-compare").addEventListener("click", () => {
    location.hash = `compare/${[...state.chosen].join("/")}`;
  });
  window.addEventListener("hashchange", () => state.about && route());
}

listen();
start();
