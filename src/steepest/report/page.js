"use strict";
(() => {
  const root = document.documentElement;
  const charts = JSON.parse(document.getElementById("charts").textContent);
  const config = { responsive: true, displayModeBar: false };
  const dragmode = matchMedia("(pointer: fine)").matches ? "zoom" : false; // a finger moves the page

  // "--blue" is the style sheet's blue, light or dark
  function coloured(value, style) {
    if (typeof value === "string") return value.startsWith("--") ? style.getPropertyValue(value).trim() || value : value;
    if (Array.isArray(value)) return value.map((part) => coloured(part, style));
    if (value === null || typeof value !== "object") return value;
    return Object.fromEntries(Object.entries(value).map(([key, part]) => [key, coloured(part, style)]));
  }

  function draw() {
    const style = getComputedStyle(root);
    for (const [name, chart] of Object.entries(charts)) {
      const { data, layout } = coloured(chart, style);
      Plotly.react(`chart-${name}`, data, { ...layout, dragmode }, config);
    }
  }

  async function unpack() {
    const packed = Uint8Array.from(atob(document.getElementById("plotly").textContent), (c) => c.charCodeAt(0));
    const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
    const script = document.createElement("script");
    script.textContent = await new Response(stream).text();
    document.head.append(script);
  }

  function print(on) {
    root.classList.toggle("print", on);
    draw();
    for (const plot of document.querySelectorAll(".plot")) Plotly.Plots.resize(plot);
  }

  function sortable(table) {
    const heads = [...table.tHead.rows[0].cells];
    const value = (row, column) => {
      const { dataset, textContent } = row.cells[column];
      return dataset.value === undefined ? textContent.trim() : Number(dataset.value);
    };
    const compare = (a, b) =>
      typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b), undefined, { numeric: true });
    const empty = (a) => a === "" || a === "–";
    heads.forEach((head, column) => head.querySelector("button").addEventListener("click", () => {
      const sign = head.getAttribute("aria-sort") === "ascending" ? -1 : 1;
      for (const other of heads) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", sign === 1 ? "ascending" : "descending");
      const rows = [...table.tBodies[0].rows].map((row) => [value(row, column), row]);
      rows.sort(([a], [b]) => empty(a) - empty(b) || sign * compare(a, b));
      table.tBodies[0].append(...rows.map(([, row]) => row));
    }));
  }

  document.querySelectorAll("table.sortable").forEach(sortable);
  (Object.keys(charts).length ? unpack().then(draw) : Promise.resolve()).then(() => {
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
    addEventListener("beforeprint", () => print(true));
    addEventListener("afterprint", () => print(false));
    root.dataset.drawn = "yes";
  }).catch((error) => {
    for (const plot of document.querySelectorAll(".plot")) plot.textContent = `This browser cannot draw the chart: ${error}`;
  });
})();
