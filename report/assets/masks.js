// The mask explorer on the website: kernels/medmm_kernels/naive.py for one study, in the reader's browser.
//
// The random bits and all that is counted are whole numbers, so they are Python's exactly. log, exp and cos may differ from
// Python's in the last of 53 bits; what comes of them is cut to 24 to 33 bits, so that hardly one mask in a million can differ.
(function () {
  "use strict";
  if (window.medmmMasks) return;

  const TWO32 = 4294967296, ROUNDS = 7, GAMMA_ATTEMPTS = 4, SHARE_ONE = 1 << 24;
  const SAMPLE = 0, SHARE = [1, 2], MODALITY = 5, SPAN = 6, SUBSET = 7; // purposes of streams.py

  function high(a, b) { return Number((BigInt(a) * BigInt(b)) >> 32n); }
  function uniform(word) { return (word + 0.5) / TWO32; }
  function sum(values) { return values.reduce(function (a, b) { return a + b; }, 0); }

  // The four words of a block of a stream: Philox4x32-7 (Salmon et al. 2011). Seed and sample are below 2^32.
  function philox(seed, sample, stream, block) {
    let a = block, b = stream, c = sample, d = 0, key0 = seed, key1 = 0;
    for (let k = 0; k < ROUNDS; k++) {
      const x = high(0xD2511F53, a), y = high(0xCD9E8D57, c);
      const low = Math.imul(0xCD9E8D57, c) >>> 0, last = Math.imul(0xD2511F53, a) >>> 0;
      a = (y ^ b ^ key0) >>> 0; b = low; c = (x ^ d ^ key1) >>> 0; d = last;
      key0 = (key0 + 0x9E3779B9) >>> 0; key1 = (key1 + 0xBB67AE85) >>> 0;
    }
    return [a, b, c, d];
  }

  // A normal variate by the inverse distribution function (Wichura 1988, AS 241).
  function normal(p, tables) {
    function ratio(k, r) {
      const at = function (row) { return row.reduce(function (value, c) { return value * r + c; }, 0); };
      return [at(tables[k]), at(tables[k + 1])];
    }
    const q = p - 0.5;
    if (Math.abs(q) <= 0.425) {
      const parts = ratio(0, 0.180625 - q * q);
      return (parts[0] * q) / parts[1];
    }
    const r = Math.sqrt(-Math.log(q <= 0 ? p : 1 - p)), parts = r <= 5 ? ratio(2, r - 1.6) : ratio(4, r - 5);
    return (q < 0 ? -parts[0] : parts[0]) / parts[1];
  }

  // A Dirichlet sample as whole weights, the largest 2^24 + 1: gamma variates by Marsaglia and Tsang 2000.
  function shares(block, side, alpha, count, tables) {
    const shape = alpha < 1 ? alpha + 1 : alpha, d = shape - 1 / 3, c = 1 / Math.sqrt(9 * d), gammas = [], powers = [];
    for (let m = 0; m < count; m++) {
      let v = 1, u;
      for (let attempt = 0; attempt < GAMMA_ATTEMPTS; attempt++) {
        u = block(SHARE[side], m, attempt).map(uniform);
        const x = normal(u[0], tables), root = 1 + c * x, cube = root * root * root;
        if (root > 0 && Math.log(u[1]) < 0.5 * x * x + d - d * cube + d * Math.log(cube)) { v = cube; break; }
      }
      gammas.push(d * v);
      powers.push((alpha < 1 ? 1 / alpha : 0) * Math.log(u[2]));
    }
    const top = Math.max.apply(null, powers);
    const scaled = gammas.map(function (gamma, m) { return gamma * Math.exp(powers[m] - top); });
    const largest = Math.max.apply(null, scaled);
    return scaled.map(function (value) { return Math.floor((value / largest) * SHARE_ONE) + 1; });
  }

  // Add tokens in proportion to weights; what exceeds the room goes to those that have room (Madow 1949).
  function fill(start, tokens, weights, room, word) {
    const budget = start.slice();
    while (tokens > 0) {
      const open = weights.map(function (w, m) { return budget[m] < room[m] ? w : 0; }), total = sum(open);
      if (total === 0) break;
      const offset = high(word, total);
      let upto = 0, placed = 0;
      open.forEach(function (weight, m) {
        const lower = Math.floor((tokens * upto + offset) / total);
        upto += weight;
        const share = Math.min(Math.floor((tokens * upto + offset) / total) - lower, Math.max(room[m] - budget[m], 0));
        budget[m] += share;
        placed += share;
      });
      tokens -= placed;
    }
    return budget;
  }

  function corrupt(words, budget, threshold) {
    const hit = words.map(function (word) { return word >= threshold; });
    const starts = hit.map(function (is, i) { return is && !(i > 0 && hit[i - 1]); }), masked = sum(hit), runs = sum(starts);
    return { hit: hit, starts: starts, input: budget > 0 ? hit.length - masked + runs : 0, target: masked + runs + 1 };
  }

  // Span corruption that fits: the mask is drawn once, the threshold is the largest with which the input fits.
  function corruptToFit(words, budget, share) {
    if (budget === 0) return corrupt(words, 0, 0);
    const drawn = Math.floor(share * TWO32);
    const lower = words.filter(function (word) { return word < drawn; }).sort(function (a, b) { return b - a; });
    return [drawn].concat(lower, 0).map(function (t) { return corrupt(words, budget, t); })
      .find(function (span) { return span.input <= budget; });
  }

  // Input and target of a text: places of words, and sentinel k as −1 − k. A long target is cut to a window.
  function textPair(span, sentinels, budget, word) {
    const given = [], asked = [], starts = [];
    function sentinel() { return -1 - (starts.length % sentinels); }
    span.hit.forEach(function (is, i) {
      if (!is) { given.push(i); return; }
      if (span.starts[i]) { given.push(sentinel()); const at = asked.length; asked.push(sentinel()); starts.push(at); }
      asked.push(i);
    });
    const last = sentinel();
    starts.push(asked.length);
    asked.push(last);
    if (budget === 0) return [span.input ? given : [], []];
    let cut = asked;
    if (asked.length > budget) {
      const start = starts[high(word, Math.max(1, starts.length - 1))];
      cut = asked.length - start >= budget ? asked.slice(start, start + budget)
        : asked.slice(starts.find(function (s) { return asked.length - s <= budget; }));
    }
    return [span.input ? given : [], cut.length > 1 ? cut : []];
  }

  // The places of a picture in the order in which they are picked.
  function subset(told, chosen, block, m) {
    const low = (1 << (32 - Math.clz32(told.places - 1))) - 1, side = Math.sqrt(told.places);
    const shift = block(MODALITY, m, 0).slice(0, 2).map(function (word) { return high(word, told.block); });
    const words = streamOf(block, SUBSET, m, told.places), race = new Float64Array(1), raw = new BigUint64Array(race.buffer);
    const keys = words.map(function (word, place) {
      if (chosen.strategy === "blockwise") {
        const y = Math.floor((Math.floor(place / side) + shift[0]) / told.block), x = Math.floor((place % side + shift[1]) / told.block);
        return ((words[y * (Math.floor(side / told.block) + 2) + x] & ~low) | place) >>> 0;
      }
      if (chosen.strategy !== "weighted") return ((word & ~low) | place) >>> 0;
      race[0] = -Math.log(uniform(word)) / told.weights[place];
      return ((raw[0] >> 11n) & ~BigInt(low)) | BigInt(place); // a positive double's bits keep its order
    });
    return keys.map(function (_, place) { return place; }).sort(function (a, b) { return keys[a] < keys[b] ? -1 : 1; });
  }

  function streamOf(block, purpose, m, length) {
    const words = [];
    for (let k = 0; words.length < length; k++) words.push.apply(words, block(purpose, m, k));
    return words.slice(0, length);
  }

  function halfToEven(value) {
    const down = Math.floor(value);
    return value - down === 0.5 ? down + (down % 2) : Math.round(value);
  }

  function inputTotal(chosen, word) {
    const quarter = Math.floor(chosen.inputs / 4), mean = 1 - Math.cos((Math.PI / 2) * uniform(word));
    if (chosen.strategy === "cosine") return quarter + Math.floor(mean * (chosen.inputs - quarter + 1));
    if (chosen.strategy === "curriculum") return halfToEven(quarter + (chosen.inputs - quarter) * chosen.progress);
    return chosen.inputs;
  }

  // One study masked: budgets as drawn, and what is given and asked for. The caption is modality 0; the others are pictures.
  function mask(told, chosen) {
    const block = function (purpose, m, k) { return philox(chosen.seed, chosen.sample, purpose + 16 * m, k); };
    const holds = told.holds, none = holds.map(function () { return 0; }), sample = streamOf(block, SAMPLE, 0, 8);
    const inputs = inputTotal(chosen, sample[1]), alphas = [chosen.input_alpha, chosen.target_alpha];
    const weights = alphas.map(function (alpha, side) { return shares(block, side, alpha, holds.length, told.normal); });
    const drawnIn = fill(none, inputs, weights[0], holds, sample[4]);
    const left = holds.map(function (n, m) { return m ? n - drawnIn[m] : n; });
    const drawn = [drawnIn, fill(none, chosen.targets, weights[1], left, sample[5])];

    const text = block(MODALITY, 0, 0), u = uniform(text[0]);
    const share = chosen.strategy === "cosine" ? 1 - Math.cos((Math.PI / 2) * u) : u;
    const span = corruptToFit(streamOf(block, SPAN, 0, holds[0]), drawnIn[0], share);

    // What the caption does not use goes to the pictures.
    const used = [span.input].concat(drawnIn.slice(1));
    const pictures = function (row) { return [0].concat(row.slice(1)); };
    const given = fill(used, inputs - sum(used), pictures(weights[0]), pictures(holds), sample[4]);
    const room = holds.map(function (n, m) { return m ? n - given[m] : span.target - 1; });
    const asked = fill(none, chosen.targets, weights[1], room, sample[5]);
    const made = [textPair(span, told.sentinels, asked[0] && asked[0] + 1, text[1])];
    for (let m = 1; m < holds.length; m++) {
      const order = subset(told, chosen, block, m);
      made.push([order.slice(0, given[m]), order.slice(given[m], given[m] + asked[m])]);
    }
    return { drawn: drawn, made: made };
  }

  function prepare(root) {
    const told = JSON.parse(root.dataset.masks), form = root.querySelector("form"), words = told.words;
    const written = function (token) { return token < 0 ? "⟨" + (-1 - token) + "⟩" : words[token]; };

    function chosen() {
      const values = {};
      Array.from(form.elements).forEach(function (one) {
        if (one.name) values[one.name] = one.name === "strategy" ? one.value : Math.max(0, Number(one.value));
      });
      ["seed", "sample"].forEach(function (name) { values[name] = Math.floor(Math.min(values[name], TWO32 - 1)); });
      return values;
    }

    function draw() {
      const now = chosen(), result = mask(told, now), filled = [0, 0];
      form.elements.progress.closest("label").hidden = now.strategy !== "curriculum";
      form.querySelectorAll("output").forEach(function (one) { one.textContent = one.closest("label").querySelector("input").value; });
      result.made.forEach(function (sides, m) {
        const part = root.querySelector('[data-modality="' + m + '"]'), cells = part.querySelectorAll("[data-place]");
        const places = sides.map(function (tokens) { return new Set(tokens); });
        let out = 0;
        cells.forEach(function (cell, place) {
          const state = places[0].has(place) ? "given" : places[1].has(place) ? "asked" : "left";
          cell.setAttribute("class", state);
          out += state === "left";
        });
        const used = [sides[0].length, m ? sides[1].length : Math.max(sides[1].length - 1, 0)];
        const numbers = [told.holds[m], result.drawn[0][m], used[0], result.drawn[1][m], used[1], out];
        root.querySelectorAll('[data-row="' + m + '"] td').forEach(function (cell, k) { cell.textContent = numbers[k]; });
        used.forEach(function (n, side) { filled[side] += n; });
        if (m) part.setAttribute("aria-label", told.names[m] + ": " + used[0] + " patches given, " + used[1] + " asked for, " + out + " left out");
      });
      ["given", "asked"].forEach(function (name, side) {
        root.querySelector('[data-text="' + name + '"]').textContent = result.made[0][side].map(written).join(" ") || "nothing";
        const places = side ? now.targets : now.inputs, percent = places ? " (" + Math.round((100 * filled[side]) / places) + " %)" : "";
        root.querySelector('[data-filled="' + name + '"]').textContent = filled[side] + " of " + places + " places filled" + percent;
      });
    }

    form.addEventListener("input", draw);
    form.addEventListener("submit", function (event) {
      event.preventDefault();
      form.elements.sample.value = chosen().sample + 1;
      draw();
    });
    form.hidden = false;
    root.querySelector(".masks-static").hidden = true;
    draw();
  }

  function prepareAll() { document.querySelectorAll(".masks").forEach(prepare); }

  window.medmmMasks = true;
  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", prepareAll);
  else prepareAll();
})();
