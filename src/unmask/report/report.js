"use strict";
// A report's page: curves under the player, each moving the other. No library but uPlot; every
// text from the document is set as text, never as markup.

const report = JSON.parse(document.getElementById("document").textContent);
const prediction = report.prediction;
const video = document.getElementById("video");
const fps = (report.container && report.container.fps) || 25;
const lastFace = prediction.timeline.reduce((last, face) => Math.max(last, face.time), 0);
const seconds = Math.max((report.container && report.container.duration) || 0, lastFace + report.step);
const byStart = [...prediction.segments].sort((a, b) => a.start - b.start);
const charts = [];
let now = 0;

// Curves

function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

// Times and scores of a person, with a hole wherever a sample has none.
function curve(track) {
  const times = [];
  const scores = [];
  for (const face of prediction.timeline) {
    if (face.track !== track) continue;
    const before = times[times.length - 1];
    if (times.length && face.time - before > 1.5 * report.step) {
      times.push((before + face.time) / 2);
      scores.push(null);
    }
    times.push(face.time);
    scores.push(face.score);
  }
  return [times, scores];
}

// Numbers of the scores without a neighbour, which no line would show.
function alone(scores) {
  const isScore = (score) => score !== null && score !== undefined;
  const numbers = [...scores.keys()].filter((n) => isScore(scores[n]));
  return numbers.filter((n) => !isScore(scores[n - 1]) && !isScore(scores[n + 1]));
}

function clock(time) {
  const whole = Math.floor(time);
  const part = (number) => String(number).padStart(2, "0");
  const minutes = Math.floor(whole / 60) % 60;
  const hours = Math.floor(whole / 3600);
  return (hours ? hours + ":" + part(minutes) : minutes) + ":" + part(whole % 60);
}

function line(u, y, style, dash) {
  const at = u.valToPos(y, "y", true);
  u.ctx.strokeStyle = style;
  u.ctx.setLineDash(dash.map((length) => length * devicePixelRatio));
  u.ctx.beginPath();
  u.ctx.moveTo(u.bbox.left, at);
  u.ctx.lineTo(u.bbox.left + u.bbox.width, at);
  u.ctx.stroke();
}

function drawUnder(u) {
  const limits = prediction.thresholds;
  u.ctx.save();
  u.ctx.lineWidth = devicePixelRatio;
  u.ctx.strokeStyle = colour("--soft");
  u.ctx.globalAlpha = 0.6;
  for (const cut of report.cuts) {
    const at = u.valToPos(cut, "x", true);
    u.ctx.beginPath();
    u.ctx.moveTo(at, u.bbox.top);
    u.ctx.lineTo(at, u.bbox.top + u.bbox.height);
    u.ctx.stroke();
  }
  u.ctx.globalAlpha = 1;
  line(u, limits.real_below, colour("--soft"), [1.5, 3]);
  line(u, limits.fake_above, colour("--soft"), [1.5, 3]);
  line(u, limits.segment_threshold, colour("--mark"), [4, 3]);
  u.ctx.restore();
}

// Segments: a bar along the bottom, and a veil up to the top.
function drawOver(u, track) {
  u.ctx.save();
  u.ctx.fillStyle = colour("--mark");
  for (const segment of prediction.segments) {
    if (segment.track !== track) continue;
    const left = u.valToPos(segment.start, "x", true);
    const width = Math.max(2 * devicePixelRatio, u.valToPos(segment.end, "x", true) - left);
    const height = 7 * devicePixelRatio;
    u.ctx.globalAlpha = 0.16;
    u.ctx.fillRect(left, u.bbox.top, width, u.bbox.height);
    u.ctx.globalAlpha = 1;
    u.ctx.fillRect(left, u.bbox.top + u.bbox.height - height, width, height);
  }
  u.ctx.restore();
}

function axis(more) {
  return {
    stroke: () => colour("--soft"),
    grid: { stroke: () => colour("--line"), width: 0.5 },
    ticks: { stroke: () => colour("--line"), width: 0.5 },
    font: "12px system-ui, sans-serif",
    ...more,
  };
}

function makeChart(lane, number) {
  const place = lane.querySelector(".chart");
  const track = Number(lane.dataset.track);
  const data = curve(track);
  const chart = new uPlot(
    {
      width: place.clientWidth,
      height: 128,
      padding: [8, 20, 0, 0],
      legend: { show: false },
      cursor: { drag: { x: false, y: false }, y: false, points: { size: 7 }, sync: { key: "time" } },
      scales: { x: { time: false, range: [0, seconds] }, y: { range: [-0.04, 1.04] } },
      axes: [
        axis({ size: 26, values: (u, ticks) => ticks.map(clock), incrs: [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1800, 3600] }),
        axis({ size: 36, values: (u, ticks) => ticks.map((tick) => tick.toFixed(1)), splits: [0, 0.5, 1] }),
      ],
      series: [
        {},
        {
          stroke: () => colour("--curve-" + (number % 4)),
          width: 2,
          spanGaps: false,
          points: {
            show: true,
            size: 4,
            width: 0,
            fill: () => colour("--curve-" + (number % 4)),
            filter: (u) => (data[0].length * 5 < u.width ? null : alone(data[1])),
          },
        },
      ],
      hooks: { drawAxes: [drawUnder], draw: [(u) => drawOver(u, track)] },
    },
    data,
    place,
  );
  const head = document.createElement("div");
  head.className = "playhead";
  head.hidden = !video;
  chart.over.append(head);
  followPointer(chart);
  charts.push({ chart, head, place });
}

function showLanes() {
  let number = 0;
  for (const lane of document.querySelectorAll(".lane")) {
    if (!lane.hidden && !lane.querySelector(".uplot")) makeChart(lane, number);
    number += 1;
  }
  showNow();
}

function redraw(width) {
  for (const { chart, place } of charts) {
    chart.setSize({ width: width || place.clientWidth, height: 128 });
    chart.redraw(false);
  }
  showNow();
}

// Time

function seek(time) {
  if (!video) return;
  now = Math.min(Math.max(0, time), Number.isFinite(video.duration) ? video.duration : seconds);
  video.currentTime = now;
  showNow();
}

function showNow() {
  for (const { chart, head } of charts) head.style.left = chart.valToPos(now, "x") + "px";
  for (const button of document.querySelectorAll(".segments button")) {
    const inside = now >= Number(button.dataset.start) && now < Number(button.dataset.end);
    button.setAttribute("aria-current", String(inside));
  }
}

function followPointer(chart) {
  const go = (event) => {
    const left = event.clientX - chart.over.getBoundingClientRect().left;
    seek(chart.posToVal(left, "x"));
  };
  chart.over.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    chart.over.setPointerCapture(event.pointerId);
    go(event);
  });
  chart.over.addEventListener("pointermove", (event) => {
    if (chart.over.hasPointerCapture(event.pointerId)) go(event);
  });
}

function followVideo() {
  const tell = (time) => {
    now = time;
    showNow();
  };
  if (video.requestVideoFrameCallback) {
    const each = (when, frame) => {
      tell(frame.mediaTime);
      video.requestVideoFrameCallback(each);
    };
    video.requestVideoFrameCallback(each);
  } else {
    video.addEventListener("timeupdate", () => tell(video.currentTime));
  }
  video.addEventListener("error", () => {
    document.getElementById("trouble").hidden = false;
    video.hidden = true;
  });
  if (video.error || video.networkState === HTMLMediaElement.NETWORK_NO_SOURCE) {
    video.dispatchEvent(new Event("error"));
  }
}

// Keys

function step(frames) {
  video.pause();
  const frame = Math.floor(video.currentTime * fps + 1e-3);
  seek((frame + frames) / fps + 1e-4); // just inside the frame, not on its edge
}

function jump(forward) {
  const there = video.currentTime;
  const found = forward
    ? byStart.find((segment) => segment.start > there + 1e-3)
    : byStart.findLast((segment) => segment.start < there - 1e-3);
  if (found) seek(found.start);
}

function toggle() {
  if (video.paused) video.play().catch(() => {}); // a pause may come before it begins
  else video.pause();
}

function onKey(event) {
  const help = document.getElementById("help");
  if (event.ctrlKey || event.metaKey || event.altKey || help.open) return;
  if (event.target.closest("pre")) return;
  if (event.key === " " && event.target.closest("button, a, summary, input")) return;
  const frames = event.shiftKey ? 10 : 1;
  const actions = {
    " ": toggle,
    ArrowLeft: () => step(-frames),
    ArrowRight: () => step(frames),
    n: () => jump(true),
    p: () => jump(false),
    "?": () => help.showModal(),
  };
  if (!Object.hasOwn(actions, event.key)) return;
  event.preventDefault();
  event.stopPropagation(); // the player has other ideas of these keys
  actions[event.key]();
}

// The rest of the page

function listen(id, event, action) {
  const element = document.getElementById(id);
  if (element) element.addEventListener(event, () => action(element));
}

async function copySentence() {
  const sentence = document.getElementById("sentence");
  const said = document.getElementById("copied");
  try {
    await navigator.clipboard.writeText(sentence.textContent);
    said.textContent = "Copied.";
  } catch {
    getSelection().selectAllChildren(sentence);
    said.textContent = "Selected; copy it with your keyboard.";
  }
}

function offerDownload(link) {
  const blob = new Blob([JSON.stringify(report, null, 2) + "\n"], { type: "application/json" });
  link.href = URL.createObjectURL(blob);
}

function showHeatmaps(box) {
  for (const picture of document.querySelectorAll(".faces .heat")) picture.hidden = !box.checked;
  for (const picture of document.querySelectorAll(".faces .original")) picture.hidden = box.checked;
}

function start() {
  for (const button of document.querySelectorAll("[data-start]")) {
    button.addEventListener("click", () => seek(Number(button.dataset.start)));
  }
  showLanes();
  listen("all-lanes", "click", (button) => {
    for (const lane of document.querySelectorAll(".lane")) lane.hidden = false;
    button.hidden = true;
    showLanes();
  });
  listen("help-button", "click", () => document.getElementById("help").showModal());
  listen("help-close", "click", () => document.getElementById("help").close());
  listen("copy", "click", copySentence);
  listen("heatmaps", "change", showHeatmaps);
  listen("download", "pointerdown", offerDownload);
  listen("download", "focus", offerDownload);
  listen("data", "toggle", () => {
    document.getElementById("json-text").textContent = JSON.stringify(report, null, 2);
  });
  addEventListener("resize", () => redraw());
  addEventListener("beforeprint", () => redraw(650));
  addEventListener("afterprint", () => redraw());
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => redraw());
  matchMedia("print").addEventListener("change", (print) => redraw(print.matches ? 650 : 0));
  if (video) {
    document.addEventListener("keydown", onKey, { capture: true });
    followVideo();
  }
}

start();
