/** Lines that move: the last two minutes of a few numbers, as an SVG that fits its figure. */

const SECONDS = 120;
const POINTS = SECONDS + 10;
const HEIGHT = 120;
const SVG = "http://www.w3.org/2000/svg";

const calm = matchMedia("(prefers-reduced-motion: reduce)");

function svg(name, attributes = {}) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  return element;
}

function html(name, className, text = "") {
  const element = document.createElement(name);
  element.className = className;
  element.textContent = text;
  return element;
}

/** The least of 1, 2, 5, 10, 20, 50, ... that is at least as large. */
export function bound(value, least) {
  let step = least;
  for (const factor of [2, 2.5, 2]) if (value <= step) return step; else step *= factor;
  return value <= step ? step : bound(value, step);
}

export class Plot {
  #figure;
  #series;
  #format;
  #least;
  #points = [];
  #width = 0;
  #top;
  #chart;
  #moving;
  #lines = [];
  #values = [];
  #cursor;
  #labels;
  #chosen = null;
  #running = false;

  /** `series` are [key, label]; `format` writes a value; `least` is the smallest upper bound. */
  constructor(figure, title, series, { format, least = 1 }) {
    this.#figure = figure;
    this.#series = series;
    this.#format = format;
    this.#least = this.#top = least;
    const caption = html("figcaption", "plot-head");
    caption.append(html("h2", "", title));
    const legend = html("ul", "legend");
    series.forEach(([, label], index) => {
      const item = html("li", `line-${index}`);
      const value = html("b", "", "–");
      item.append(html("span", "", label), " ", value);
      this.#values.push(value);
      legend.append(item);
    });
    caption.append(legend);
    this.#chart = html("div", "chart");
    this.#chart.tabIndex = 0;
    this.#chart.setAttribute("role", "img");
    const picture = svg("svg", { height: HEIGHT, "aria-hidden": "true", focusable: "false" });
    for (const y of [0.5, HEIGHT / 2, HEIGHT - 0.5]) {
      picture.append(svg("line", { class: "grid", x1: 0, x2: "100%", y1: y, y2: y }));
    }
    this.#moving = svg("g");
    series.forEach((_, index) => {
      const line = svg("path", { class: `line line-${index}` });
      this.#lines.push(line);
      this.#moving.append(line);
    });
    this.#cursor = svg("line", { class: "cursor", y1: 0, y2: HEIGHT, visibility: "hidden" });
    this.#moving.append(this.#cursor);
    picture.append(this.#moving);
    this.#labels = [html("span", "label top"), html("span", "label middle")];
    this.#chart.append(picture, ...this.#labels);
    const axis = html("p", "axis soft");
    axis.append(html("span", "", "2 minutes ago"), html("span", "", "now"));
    figure.append(caption, this.#chart, axis);
    this.title = title;
    new ResizeObserver(([entry]) => {
      this.#width = entry.contentRect.width;
      this.#draw();
    }).observe(this.#chart);
    this.#listen();
    this.#tell();
  }

  /** The newest values, by key; a null breaks the line. */
  push(values) {
    this.#points.push({ at: performance.now(), values });
    if (this.#points.length > POINTS) {
      this.#points.shift();
      if (this.#chosen !== null) this.#chosen = Math.max(0, this.#chosen - 1);
    }
    this.#draw();
    if (!this.#running && !calm.matches) {
      this.#running = true;
      requestAnimationFrame(() => this.#move());
    }
  }

  /** Nothing is known any more. */
  clear() {
    this.#points = [];
    this.#chosen = null;
    this.#draw();
  }

  /** The lines stand still until the next values. */
  halt() {
    this.#running = false;
  }

  // --- drawing ------------------------------------------------------------------------------------

  #x(point, now) {
    return this.#width * (1 - (now - point.at) / (SECONDS * 1_000));
  }

  #draw() {
    const now = performance.now();
    const keys = this.#series.map(([key]) => key);
    const all = this.#points.flatMap(({ values }) => keys.map((key) => values[key] ?? 0));
    this.#top = bound(Math.max(0, ...all), this.#least);
    this.#labels[0].textContent = this.#format(this.#top);
    this.#labels[1].textContent = this.#format(this.#top / 2);
    keys.forEach((key, index) => {
      let path = "";
      let pen = "M";
      for (const point of this.#points) {
        const value = point.values[key];
        if (value === null || value === undefined) {
          pen = "M";
          continue;
        }
        const y = HEIGHT - 1 - (HEIGHT - 2) * (value / this.#top);
        path += `${pen}${this.#x(point, now).toFixed(1)} ${y.toFixed(1)}`;
        pen = "L";
      }
      this.#lines[index].setAttribute("d", path);
    });
    this.drawn = now;
    this.#moving.setAttribute("transform", "translate(0 0)");
    this.#tell();
  }

  #move() {
    if (!this.#running) return;
    const passed = performance.now() - this.drawn;
    if (passed > 3_000) this.#running = false; // nothing comes any more
    this.#moving.setAttribute("transform", `translate(${((-this.#width * passed) / (SECONDS * 1_000)).toFixed(2)} 0)`);
    requestAnimationFrame(() => this.#move());
  }

  /** The values under the cursor, or the newest, in the legend and for those who do not see the lines. */
  #tell() {
    const point = this.#points[this.#chosen ?? this.#points.length - 1];
    const told = this.#series.map(([key, label], index) => {
      const value = point?.values[key];
      const text = value === null || value === undefined ? "–" : this.#format(value);
      this.#values[index].textContent = text;
      return `${label} ${text === "–" ? "unknown" : text}`;
    });
    let when = "now";
    this.#cursor.setAttribute("visibility", this.#chosen === null ? "hidden" : "visible");
    if (this.#chosen !== null) {
      const x = this.#x(point, this.drawn).toFixed(1);
      this.#cursor.setAttribute("x1", x);
      this.#cursor.setAttribute("x2", x);
      when = `${Math.round((performance.now() - point.at) / 1_000)} seconds ago`;
    }
    this.#chart.setAttribute("aria-label", `${this.title}, ${when}: ${told.join(", ")}`);
    this.#figure.dataset.points = this.#points.length;
  }

  // --- the cursor ---------------------------------------------------------------------------------

  #listen() {
    const choose = (index) => {
      this.#chosen = index;
      this.#tell();
    };
    this.#chart.addEventListener("pointermove", (event) => {
      if (!this.#points.length) return;
      const x = event.clientX - this.#chart.getBoundingClientRect().left;
      const now = performance.now();
      const far = this.#points.map((point) => Math.abs(this.#x(point, now) - x));
      choose(far.indexOf(Math.min(...far)));
    });
    this.#chart.addEventListener("pointerleave", () => choose(null));
    this.#chart.addEventListener("blur", () => choose(null));
    this.#chart.addEventListener("keydown", ({ key }) => {
      const last = this.#points.length - 1;
      const step = { ArrowLeft: -1, ArrowRight: 1, Home: -POINTS, End: POINTS }[key];
      if (key === "Escape" || last < 0) choose(null);
      else if (step) choose(Math.min(last, Math.max(0, (this.#chosen ?? last) + step)));
    });
  }
}
