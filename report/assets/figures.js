// Draws every .medmm-figure with the plotly.min.js beside this file, when it comes into view, in the page's own colours.
(function () {
  "use strict";
  if (window.medmmFigures) return; // every figure names this script; it runs once
  window.medmmFigures = true;

  const here = document.currentScript.src;
  const CONFIG = { displaylogo: false, responsive: true };
  let plotly = null; // a promise: the library is loaded for the first figure, once

  function loadPlotly() {
    plotly = plotly || new Promise(function (resolve, reject) {
      const script = document.createElement("script");
      script.src = new URL("plotly.min.js", here).href;
      script.onload = function () { resolve(window.Plotly); };
      script.onerror = reject;
      document.head.append(script);
    });
    return plotly;
  }

  // The colours of the page: text as it is, lines as thin versions of it, and the background for the hover box.
  function pageColours() {
    const text = getComputedStyle(document.body).color;
    const background = getComputedStyle(document.body).backgroundColor;
    const rgb = text.match(/[\d.]+/g).slice(0, 3).join(", ");
    return { text: text, background: background, grid: "rgba(" + rgb + ", 0.15)", line: "rgba(" + rgb + ", 0.4)" };
  }

  // The layout changes that give one figure the page's colours.
  function themed(layout) {
    const colours = pageColours();
    const changes = {
      "font.color": colours.text,
      "hoverlabel.bgcolor": colours.background,
      "hoverlabel.bordercolor": colours.line,
      "hoverlabel.font.color": colours.text,
      "modebar.color": colours.line,
      "modebar.activecolor": colours.text,
      "modebar.bgcolor": "rgba(0, 0, 0, 0)",
    };
    const axes = Object.keys(layout).filter(function (key) { return /^[xy]axis\d*$/.test(key); });
    new Set(axes.concat("xaxis", "yaxis")).forEach(function (axis) {
      changes[axis + ".gridcolor"] = colours.grid;
      changes[axis + ".zerolinecolor"] = colours.line;
      changes[axis + ".linecolor"] = colours.line;
    });
    return changes;
  }

  function apply(layout, changes) {
    Object.keys(changes).forEach(function (path) {
      const keys = path.split(".");
      const last = keys.pop();
      const inner = keys.reduce(function (part, key) { return (part[key] = part[key] || {}); }, layout);
      inner[last] = changes[path];
    });
  }

  function draw(box) {
    const figure = JSON.parse(box.querySelector("script[type='application/json']").textContent);
    const layout = Object.assign({}, figure.layout, { autosize: true });
    delete layout.width; // the page decides how wide a figure is
    apply(layout, themed(layout));
    const aspect = layout.meta && layout.meta.aspect; // of a picture, which keeps its shape: height by width
    const height = parseFloat(box.style.minHeight);
    layout.height = aspect ? Math.min(height, Math.round(aspect * box.clientWidth)) : height;
    box.style.minHeight = layout.height + "px";
    loadPlotly().then(function (Plotly) {
      const target = document.createElement("div");
      target.className = "medmm-figure-plot";
      target.style.height = box.style.minHeight;
      const description = box.querySelector(".medmm-figure-alt");
      box.insertBefore(target, description);
      return Plotly.newPlot(target, figure.data, layout, CONFIG).then(function () {
        description.hidden = true;
        box.dataset.drawn = "true";
      });
    }).catch(function (error) { console.error("a figure could not be drawn", error); });
  }

  function repaint() {
    document.querySelectorAll(".medmm-figure[data-drawn] > .medmm-figure-plot").forEach(function (plot) {
      window.Plotly.relayout(plot, themed(plot.layout));
    });
  }

  // A theme's stylesheet may take effect after the class that names it, so look again a little later.
  let waiting = null;
  function themeChanged() {
    clearTimeout(waiting);
    waiting = setTimeout(function () { repaint(); waiting = setTimeout(repaint, 300); }, 60);
  }

  function start() {
    const figures = document.querySelectorAll(".medmm-figure");
    const seen = new IntersectionObserver(function (entries) {
      entries.filter(function (entry) { return entry.isIntersecting; }).forEach(function (entry) {
        seen.unobserve(entry.target);
        draw(entry.target);
      });
    }, { rootMargin: "600px" });
    figures.forEach(function (figure) { seen.observe(figure); });
    window.addEventListener("beforeprint", function () {
      figures.forEach(function (figure) {
        seen.unobserve(figure);
        if (!figure.querySelector(".medmm-figure-plot")) draw(figure);
      });
    });

    // Quarto marks the theme on the body, smalldocs on the root; both switch stylesheets in the head.
    const theme = new MutationObserver(themeChanged);
    const attributes = ["class", "data-bs-theme", "data-scheme"];
    [document.documentElement, document.body].forEach(function (element) {
      theme.observe(element, { attributes: true, attributeFilter: attributes });
    });
    theme.observe(document.head, { attributes: true, subtree: true, attributeFilter: ["media", "rel", "disabled", "href"] });
    window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", themeChanged);
  }

  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", start);
  else start();
})();
