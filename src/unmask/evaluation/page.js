"use strict";
// Curves that can be read and a threshold that can be moved. All of it is counted beforehand.
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const last = data.level.length - 1;
  const slider = document.getElementById("slider");
  const shown = [...document.querySelectorAll("[data-show]")];
  const reported = shown.map((cell) => cell.textContent);
  const [W, H, LEFT, RIGHT, TOP, BOTTOM] = [360, 290, 46, 10, 12, 42];

  // ---- Numbers -------------------------------------------------------------------------------

  const rate = (part, whole) => (whole ? part / whole : 0);
  const fixed = (value) => value.toFixed(3);
  const number = (value) =>
    Number(fixed(value)) === value ? fixed(value) : String(value);
  const short = (value) => String(Number(value.toPrecision(6)));
  const fpr = (k) => rate(data.false_alarms[k], data.reals);
  const tpr = (k) => rate(data.found[k], data.fakes);
  const precision = (k) => rate(data.found[k], data.found[k] + data.false_alarms[k]);
  const from = (k) => (k ? `From a score of ${short(data.level[k])}` : "Above every score");
  const threshold = (k) =>
    data.threshold[k] === null ? "below every score" : number(data.threshold[k]);

  function values(k) {
    const [fp, tp] = [data.false_alarms[k], data.found[k]];
    const [tn, fn] = [data.reals - fp, data.fakes - tp];
    return {
      tn, fp, fn, tp,
      threshold: threshold(k),
      accuracy: fixed(rate(tn + tp, data.reals + data.fakes)),
      precision: fixed(precision(k)),
      recall: fixed(tpr(k)),
      alarms: fixed(fpr(k)),
    };
  }

  // ---- Drawing -------------------------------------------------------------------------------

  function put(parent, name, attributes, text) {
    const node = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const key in attributes) node.setAttribute(key, attributes[key]);
    if (text !== undefined) node.textContent = text;
    return parent.appendChild(node);
  }

  const linear = (from, to, low, high) => (value) =>
    low + ((value - from) / (to - from || 1)) * (high - low);

  function ticks(low, high) {
    const rough = (high - low) / 4;
    const power = 10 ** Math.floor(Math.log10(rough));
    const step = [1, 2, 2.5, 5, 10].map((m) => m * power).find((s) => s >= rough * 0.999);
    const found = [];
    for (let k = Math.ceil(low / step - 1e-9); k * step <= high + step * 1e-9; k++) {
      found.push(Number((k * step).toPrecision(12)));
    }
    return found;
  }

  /** Axes in a figure; what is drawn in them comes with its scales and its line of text. */
  function chart(name, xs, ys, xName, yName, wholeY) {
    const figure = document.getElementById(name);
    const svg = figure.querySelector("svg");
    svg.setAttribute("viewBox", `0 0 ${W} ${H}`);
    const x = linear(xs[0], xs[1], LEFT, W - RIGHT);
    const y = linear(ys[0], ys[1], H - BOTTOM, TOP);
    for (const value of ticks(...xs)) {
      put(svg, "line", { class: "grid", x1: x(value), x2: x(value), y1: TOP, y2: H - BOTTOM });
      put(svg, "text", { x: x(value), y: H - BOTTOM + 16, "text-anchor": "middle" }, value);
    }
    for (const value of ticks(...ys).filter((v) => !wholeY || Number.isInteger(v))) {
      put(svg, "line", { class: "grid", x1: LEFT, x2: W - RIGHT, y1: y(value), y2: y(value) });
      put(svg, "text", { x: LEFT - 6, y: y(value) + 4, "text-anchor": "end" }, value);
    }
    put(svg, "text", { x: (LEFT + W - RIGHT) / 2, y: H - 6, "text-anchor": "middle" }, xName);
    const turn = `translate(11 ${(TOP + H - BOTTOM) / 2}) rotate(-90)`;
    put(svg, "text", { transform: turn, "text-anchor": "middle" }, yName);
    return { svg, x, y, read: figure.querySelector(".read") };
  }

  /** What is under the pointer is told; a click moves the threshold there. */
  function listen({ svg, read }, nearest, tell, pick) {
    let own = "";
    const place = (event) => {
      const point = new DOMPoint(event.clientX, event.clientY);
      return point.matrixTransform(svg.getScreenCTM().inverse());
    };
    const move = (event) => { read.textContent = tell(nearest(place(event))); };
    svg.addEventListener("pointermove", move);
    svg.addEventListener("pointerdown", move);
    svg.addEventListener("pointerleave", () => { read.textContent = own; tell(null); });
    svg.addEventListener("click", (event) => go(pick(nearest(place(event)))));
    return (text) => { own = read.textContent = text; };
  }

  function curve(name, xName, yName, xOf, yOf, first, text, steps) {
    const axes = chart(name, [0, 1], [0, 1], xName, yName);
    const points = [];
    for (let k = first; k <= last; k++) points.push([axes.x(xOf(k)), axes.y(yOf(k))]);
    const at = (k) => points[Math.max(k, first) - first];
    const base = steps ? rate(data.fakes, data.reals + data.fakes) : null;
    put(axes.svg, "path", {
      class: "chance",
      d: steps
        ? `M${axes.x(0)} ${axes.y(base)}H${axes.x(1)}`
        : `M${axes.x(0)} ${axes.y(0)}L${axes.x(1)} ${axes.y(1)}`,
    });
    const line = points.map(([px, py], i) =>
      i && steps ? `V${py.toFixed(2)}H${px.toFixed(2)}` : `${px.toFixed(2)} ${py.toFixed(2)}`);
    put(axes.svg, "path", { class: "curve", d: "M" + line.join(steps ? "" : "L") });
    const dots = ["now", "near"].map((kind) => put(axes.svg, "circle", { class: kind, r: 5 }));
    const set = (dot, k) => {
      dot.setAttribute("cx", at(k)[0]);
      dot.setAttribute("cy", at(k)[1]);
    };
    const nearest = (p) => {
      let [best, least] = [first, Infinity];
      points.forEach(([px, py], i) => {
        const far = (px - p.x) ** 2 + (py - p.y) ** 2;
        if (far < least) [best, least] = [i + first, far];
      });
      return best;
    };
    const tell = (k) => {
      dots[1].classList.toggle("on", k !== null);
      if (k === null) return "";
      set(dots[1], k);
      return text(k);
    };
    const say = listen(axes, nearest, tell, (k) => k);
    return (k) => { set(dots[0], k); say(text(Math.max(k, first))); };
  }

  function histogram() {
    const { edges, real_bins: real, fake_bins: fake } = data;
    const high = Math.max(...real, ...fake, 1);
    const span = [edges[0], edges[edges.length - 1]];
    const axes = chart("histogram", span, [0, high], "score", "videos", true);
    const bars = edges.slice(1).map((edge, i) => {
      const [x0, x1] = [axes.x(edges[i]), axes.x(edge)];
      const half = (x1 - x0) / 2;
      const bar = (kind, count, x) => put(axes.svg, "rect", {
        class: kind, x, y: axes.y(count), width: half - 0.7, height: axes.y(0) - axes.y(count),
      });
      return [bar("real", real[i], x0 + 0.7), bar("fake", fake[i], x0 + half)];
    });
    const line = put(axes.svg, "line", { class: "limit", y1: TOP, y2: H - BOTTOM });
    const bin = (p) => {
      const share = (p.x - LEFT) / (W - RIGHT - LEFT);
      const place = Math.min(Math.max(Math.floor(share * bars.length), 0), bars.length - 1);
      return { place, score: span[0] + Math.min(Math.max(share, 0), 1) * (span[1] - span[0]) };
    };
    const tell = (found) => {
      bars.forEach((pair, i) => pair.forEach((b) =>
        b.classList.toggle("on", found !== null && i === found.place)));
      if (found === null) return "";
      const i = found.place;
      const counts = `${real[i]} real, ${fake[i]} fake`;
      return `Scores of ${short(edges[i])} to ${short(edges[i + 1])}: ${counts}.`;
    };
    const pick = ({ score }) => {
      let k = 0;
      while (k < last && data.level[k + 1] > score) k++;
      return k;
    };
    const say = listen(axes, bin, tell, pick);
    return (k) => {
      const at = data.threshold[k] ?? span[0];
      const x = axes.x(Math.min(Math.max(at, span[0]), span[1]));
      line.setAttribute("x1", x);
      line.setAttribute("x2", x);
      say(`Called fake: ${data.false_alarms[k]} real, ${data.found[k]} fake.`);
    };
  }

  // ---- The threshold -------------------------------------------------------------------------

  function go(k) {
    const now = values(k);
    shown.forEach((cell, i) => {
      // At its own threshold the report's numbers stand as they were written.
      cell.textContent = k === data.start ? reported[i] : now[cell.dataset.show];
    });
    for (const [name, whole] of [["tn", "reals"], ["fp", "reals"], ["fn", "fakes"], ["tp", "fakes"]]) {
      document.querySelector(`.matrix [data-show=${name}]`)
        .style.setProperty("--share", rate(now[name], data[whole]));
    }
    const text = document.querySelector("#explore [data-show=threshold]").textContent;
    slider.value = last - k;
    slider.setAttribute("aria-valuetext",
      `${text}: ${now.fp} of ${data.reals} reals and ${now.tp} of ${data.fakes} fakes called fake`);
    for (const draw of drawings) draw(k);
  }

  document.documentElement.classList.add("js");
  const drawings = [histogram()];
  if (data.reals && data.fakes) {
    drawings.push(
      curve("roc", "false positive rate", "true positive rate", fpr, tpr, 0, (k) =>
        `${from(k)}: true positive rate ${fixed(tpr(k))}, false positive rate ${fixed(fpr(k))}.`),
      curve("pr", "recall", "precision", tpr, precision, 1, (k) =>
        `${from(k)}: precision ${fixed(precision(k))}, recall ${fixed(tpr(k))}.`, true),
    );
  }
  slider.max = last; // to the right the threshold rises, and fewer are called fake
  slider.addEventListener("input", () => go(last - Number(slider.value)));
  document.getElementById("reset").addEventListener("click", () => go(data.start));
  go(data.start);
})();
