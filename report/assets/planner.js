// The cost planner on the website: the formulas of medmm_lib/scaling/law.py and planner.py, in the reader's browser.
(function () {
  "use strict";
  if (window.medmmPlanner) return;

  const GOLDEN = (Math.sqrt(5) - 1) / 2, SEARCHED = 80, BELOW = 5, PF_DAY = 86400e15, GPU_DAYS_A_MONTH = 4, BYTES_A_WEIGHT = 16;

  // What D tokens, U of them different, are worth in new ones (Muennighoff et al. 2023, equation 5).
  function effectiveTokens(tokens, unique, repeats) {
    if (!isFinite(unique) || !isFinite(repeats)) return tokens;
    const again = Math.max(tokens / unique - 1, 0);
    return Math.min(tokens, unique) + unique * repeats * -Math.expm1(-again / repeats);
  }

  function loss(law, parameters, tokens, unique) {
    const seen = effectiveTokens(tokens, unique, law.repeats);
    return law.E + law.A / Math.pow(parameters, law.alpha) + law.B / Math.pow(seen, law.beta);
  }

  // Weights and tokens with the lowest loss for some compute.
  function optimal(law, flops, flopsPer, unique) {
    const product = flops / flopsPer;
    const share = Math.pow((law.alpha * law.A) / (law.beta * law.B), 1 / (law.alpha + law.beta));
    const parameters = share * Math.pow(product, law.beta / (law.alpha + law.beta));
    if (!isFinite(unique)) return [parameters, product / parameters];
    let low = Math.log(parameters) - BELOW, high = Math.log(Math.max(parameters, product / unique));
    for (let k = 0; k < SEARCHED; k++) {
      const left = high - GOLDEN * (high - low), right = low + GOLDEN * (high - low);
      const at = function (log) { return loss(law, Math.exp(log), product / Math.exp(log), unique); };
      if (at(left) > at(right)) low = left; else high = right;
    }
    const best = Math.exp((low + high) / 2);
    return [best, product / best];
  }

  // The least compute that reaches a loss; infinite where none does.
  function flopsFor(law, wanted, flopsPer, unique) {
    const above = Math.max(wanted - law.E, 0), both = law.alpha + law.beta;
    const parameters = Math.pow((law.A * both) / (law.beta * above), 1 / law.alpha);
    const endless = flopsPer * parameters * Math.pow((law.B * both) / (law.alpha * above), 1 / law.beta);
    if (!isFinite(unique)) return endless;
    const most = isFinite(law.repeats) ? unique * (1 + law.repeats) : Infinity;
    if (!(wanted > law.E + law.B / Math.pow(most, law.beta))) return Infinity;
    let low = Math.log(endless), high = low + 60 * Math.log(10);
    for (let k = 0; k < SEARCHED; k++) {
      const middle = (low + high) / 2, best = optimal(law, Math.exp(middle), flopsPer, unique);
      if (loss(law, best[0], best[1], unique) <= wanted) high = middle; else low = middle;
    }
    return Math.exp(high);
  }

  function quantities(law, machine, given, value, flopsPer, measured, unique) {
    const speed = machine.peak * machine.mfu * 3600;
    const flops = given === "loss" ? flopsFor(law, value, flopsPer, unique)
      : (given === "hours" ? value : value / machine.euros_per_hour) * speed;
    const reached = isFinite(flops), best = optimal(law, reached ? flops : 1, flopsPer, unique);
    const hours = flops / speed, parameters = reached ? best[0] : Infinity, tokens = reached ? best[1] : Infinity;
    return {
      loss: given === "loss" ? value : loss(law, parameters, tokens, unique), parameters: parameters, tokens: tokens,
      epochs: reached ? Math.max(isFinite(unique) ? tokens / unique : 0, 1) : Infinity, pf_days: flops / PF_DAY,
      beyond: flops / measured, hours: hours, bookings: Math.ceil(hours / 24 / GPU_DAYS_A_MONTH),
      euros: hours * machine.euros_per_hour, memory_gb: (parameters * BYTES_A_WEIGHT) / 1e9,
      memory_percent: (100 * parameters * BYTES_A_WEIGHT) / 1e9 / machine.memory_gb,
    };
  }

  function quantile(values, share) {
    const ordered = values.slice().sort(function (a, b) { return a - b; });
    return ordered[Math.floor(share * (ordered.length - 1) + 0.5)];
  }

  // What a training takes, by quantity: value, low, high.
  function plan(law, draws, machine, given, value, flopsPer, measured, unique) {
    const best = quantities(law, machine, given, value, flopsPer, measured, unique), made = {};
    const drawn = draws.map(function (one) { return quantities(one, machine, given, value, flopsPer, measured, unique); });
    Object.keys(best).forEach(function (name) {
      const all = drawn.map(function (one) { return one[name]; });
      made[name] = { value: best[name], low: quantile(all, 0.025), high: quantile(all, 0.975) };
    });
    return made;
  }

  // Linear between two ends of every axis; values are nested, the first axis outermost.
  function between(ends, values, point) {
    if (!ends.length) return values;
    const share = (point[0] - ends[0][0]) / (ends[0][1] - ends[0][0]);
    const at = values.map(function (inner) { return between(ends.slice(1), inner, point.slice(1)); });
    return at[0] + share * (at[1] - at[0]);
  }

  function fineTuning(work, machine) {
    const perToken = 4 * (work.frozen + work.adapter) + 2 * work.adapter;
    const flops = work.tokens * work.questions * work.epochs * work.times * perToken;
    const hours = flops / (machine.peak * machine.mfu * 3600);
    return {
      pf_days: flops / PF_DAY, hours: hours, bookings: Math.ceil(hours / 24 / GPU_DAYS_A_MONTH),
      euros: hours * machine.euros_per_hour, memory_gib: work.memory_gib,
      memory_percent: (100 * work.memory_gib) / machine.memory_gb,
    };
  }

  // Three digits, with a word for what is large.
  function short(value) {
    if (isNaN(value)) return "undefined";
    if (!isFinite(value)) return "never";
    if (value >= 1e18) return value.toExponential(1).replace("e+", "e");
    const scale = [[1e15, " P"], [1e12, " T"], [1e9, " billion"], [1e6, " million"]].find(function (one) { return value >= one[0]; });
    if (scale) return short(value / scale[0]) + scale[1];
    if (value >= 1000) return Math.round(value).toLocaleString("en");
    if (value !== 0 && value < 0.001) return value.toExponential(1);
    return String(Number(value.toPrecision(3)));
  }

  function lawOf(parts) {
    return Object.assign({}, parts, { repeats: parts.repeats === null ? Infinity : parts.repeats });
  }

  function prepare(form) {
    const told = JSON.parse(form.dataset.planner);
    const law = told.law && lawOf(told.law), draws = told.draws && told.draws.map(lawOf);

    function value(name) {
      const input = form.elements[name];
      return "power" in input.dataset ? Math.pow(10, Number(input.value)) : Number(input.value);
    }

    function machine() {
      const gpu = told.gpus[form.elements.gpu.value];
      return { peak: gpu.peak, memory_gb: gpu.memory_gb, mfu: value("mfu") / 100, euros_per_hour: value("price") };
    }

    function made() {
      if (told.kind === "plan") {
        const given = form.elements.given.value;
        ["loss", "hours", "euros"].forEach(function (name) { form.elements[name].closest("label").hidden = name !== given; });
        return plan(law, draws, machine(), given, value(given), told.flopsPer, told.measured, value("unique"));
      }
      const base = told.bases[form.elements.base.value], point = ["rank", "context", "batch"].map(value);
      const year = fineTuning({
        frozen: base.frozen, adapter: base.adapter_a_rank * point[0], tokens: base.tokens,
        memory_gib: between(told.ends, base[form.elements.activations.value], point),
        questions: value("questions"), epochs: value("epochs"), times: value("times"),
      }, machine());
      return Object.fromEntries(Object.keys(year).map(function (name) { return [name, { value: year[name] }]; }));
    }

    function draw() {
      form.querySelectorAll("input").forEach(function (input) {
        input.closest("label").querySelector("output").textContent = short(value(input.name));
      });
      const results = made();
      form.querySelectorAll("[data-quantity]").forEach(function (row) {
        const one = results[row.dataset.quantity], cells = row.querySelectorAll("td");
        cells[0].textContent = short(one.value);
        if (cells.length > 1) {
          const ends = [short(one.low), short(one.high)];
          cells[1].textContent = ends[0] === ends[1] ? "" : ends[0] + " to " + ends[1];
        }
      });
    }

    form.addEventListener("input", draw);
    form.addEventListener("submit", function (event) { event.preventDefault(); });
    form.hidden = false;
    draw();
  }

  function prepareAll() { document.querySelectorAll("form.planner").forEach(prepare); }

  window.medmmPlanner = true;
  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", prepareAll);
  else prepareAll();
})();
