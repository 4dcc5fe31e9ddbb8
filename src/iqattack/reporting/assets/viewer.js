"use strict";
// One image, large. Its pixels come as data from a script of their own: a canvas painted from a file
// beside the page could not be read back.
(() => {
  const PINK = [255, 0, 128]; // visible, or over the limit; everything else is grey
  const YELLOW = [255, 240, 0]; // most visible
  const KEPT = 3; // images whose pixels stay in memory
  const loading = new Map(); // number -> { promise, resolve }, oldest first

  // Called by the script of an image.
  function picture(number, data) {
    loading.get(number)?.resolve(data);
  }

  function load(image) {
    if (loading.has(image.number)) return loading.get(image.number).promise;
    const entry = {};
    entry.promise = new Promise((resolve, reject) => {
      entry.resolve = (data) => resolve(decoded(data));
      const script = document.createElement("script");
      script.src = image.pixels;
      script.onload = () => script.remove();
      script.onerror = () => {
        script.remove();
        loading.delete(image.number);
        reject(new Error(`${image.pixels} is missing beside the page; write the report again`));
      };
      document.head.append(script);
    });
    loading.set(image.number, entry);
    if (loading.size > KEPT) loading.delete(loading.keys().next().value);
    return entry.promise;
  }

  async function decoded(data) {
    const [original, attacked, limit, map] = await Promise.all(
      [data.original, data.attacked, data.limit, data.visible?.map].map((png) => (png ? pixels(png) : null)),
    );
    return { original, attacked, limit, visible: data.visible && { ...data.visible, map }, scored: data.scored };
  }

  // The 8-bit values of a PNG, as on a canvas: RGBA, exact if nothing is transparent.
  async function pixels(png) {
    const image = new Image();
    image.src = `data:image/png;base64,${png}`;
    await image.decode();
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [image.naturalWidth, image.naturalHeight];
    const context = canvas.getContext("2d", { willReadFrequently: true });
    context.drawImage(image, 0, 0);
    return context.getImageData(0, 0, canvas.width, canvas.height);
  }

  const painted = (like, paint) => {
    const made = new ImageData(like.width, like.height);
    for (let i = 0; i < made.data.length; i += 4) {
      paint(made.data, i);
      made.data[i + 3] = 255;
    }
    return made;
  };

  // Mid-grey if nothing changed; each channel brighter or darker by k times its change.
  function difference({ original, attacked }, k) {
    return painted(attacked, (to, i) => {
      for (let c = i; c < i + 3; c++) to[c] = 128 + k * (attacked.data[c] - original.data[c]);
    });
  }

  // How far each pixel may change: the brighter, the further.
  function box({ limit }) {
    let most = 1;
    for (let i = 0; i < limit.data.length; i += 4) most = Math.max(most, limit.data[i]);
    const made = painted(limit, (to, i) => to.fill(Math.round((255 * limit.data[i]) / most), i, i + 3));
    return { made, most };
  }

  const faint = (from, i) => 64 + (from[i] + from[i + 1] + from[i + 2]) / 6;

  // From grey over pink, at a third, to yellow.
  function mixed(to, i, grey, share) {
    for (let c = 0; c < 3; c++) {
      const [from, end, at] = share < 1 / 3 ? [grey, PINK[c], 3 * share] : [PINK[c], YELLOW[c], 1.5 * share - 0.5];
      to[i + c] = Math.round((1 - at) * from + at * end);
    }
  }

  // The attacked image in faint grey, coloured by how visible the change is.
  function overlay({ attacked, visible }) {
    return painted(attacked, (to, i) => mixed(to, i, faint(attacked.data, i), visible.map.data[i] / 255));
  }

  function legend({ what, most }) {
    const ramp = byId("ramp");
    const data = painted({ width: ramp.width, height: ramp.height }, (to, i) => mixed(to, i, 128, i / (4 * (ramp.width - 1))));
    ramp.getContext("2d").putImageData(data, 0, 0);
    byId("most").textContent = `${most} ${what} or more`;
  }

  // The attacked image in faint grey, with the pixels over the limit in pink.
  function violations({ original, attacked, limit }) {
    let over = 0;
    const made = painted(attacked, (to, i) => {
      const from = attacked.data;
      const change = Math.max(...[0, 1, 2].map((c) => Math.abs(from[i + c] - original.data[i + c])));
      if (change > limit.data[i]) {
        over += 1;
        to.set(PINK, i);
      } else {
        to.fill(faint(from, i), i, i + 3);
      }
    });
    return { made, share: over / (attacked.width * attacked.height) };
  }

  const byId = (id) => document.getElementById(id);
  const { number, percent } = window.iqattack;
  let shown = []; // images to go through
  let current = null;
  let pair = null; // pixels of the current image, once loaded
  let opener = null;

  const form = () => byId("views");
  const view = () => form().elements.view.value;

  // Size of the picture in device pixels: at a zoom factor, or fitted to the pane.
  function size({ width, height }) {
    const factor = form().elements.zoom.value;
    const device = window.devicePixelRatio || 1;
    if (factor !== "fit") return [factor * width * device, factor * height * device];
    const pane = byId("stage").parentElement;
    const most = parseFloat(getComputedStyle(pane).maxHeight) || window.innerHeight;
    const scale = Math.min(pane.clientWidth / width, most / height) * device;
    return [scale * width, scale * height].map((side) => Math.max(1, Math.floor(side)));
  }

  // Each point is a mean of the pixels around it, weighted by a triangle two points wide. Browsers
  // shrink a canvas by dropping pixels, which adds stripes that are not in the file; a plain mean
  // would leave a seventh of the finest ones.
  function shrunk(data, width, height) {
    const across = weights(data.width, width), down = weights(data.height, height);
    const made = new ImageData(width, height);
    const row = new Float32Array(4 * data.width);
    for (let y = 0; y < height; y++) {
      row.fill(0);
      down[y].forEach(([from, weight]) => {
        const start = 4 * from * data.width;
        for (let i = 0; i < row.length; i++) row[i] += weight * data.data[start + i];
      });
      for (let x = 0; x < width; x++) {
        const sum = [0, 0, 0, 0];
        for (const [from, weight] of across[x]) for (let c = 0; c < 4; c++) sum[c] += weight * row[4 * from + c];
        made.data.set(sum, 4 * (y * width + x)); // rounds
      }
    }
    return made;
  }

  // For each of `to` points on a line of `from` pixels, the pixels around it and their weights.
  function weights(from, to) {
    const wide = from / to;
    return Array.from({ length: to }, (_, point) => {
      const middle = (point + 0.5) * wide;
      const [first, last] = [Math.max(0, Math.round(middle - wide)), Math.min(from, Math.round(middle + wide))];
      const near = Array.from({ length: last - first }, (_, i) => [
        first + i,
        Math.max(0, 1 - Math.abs(first + i + 0.5 - middle) / wide),
      ]);
      const sum = near.reduce((total, [, weight]) => total + weight, 0);
      return near.map(([i, weight]) => [i, weight / sum]);
    });
  }

  // Calls `each` with the index of every pixel and that of the point it belongs to.
  function assign(data, made, each) {
    for (let y = 0; y < data.height; y++) {
      const row = Math.floor((y * made.height) / data.height) * made.width;
      for (let x = 0; x < data.width; x++) {
        each(4 * (y * data.width + x), 4 * (row + Math.floor((x * made.width) / data.width)));
      }
    }
    return made;
  }

  // Each point is the largest change of its pixels, by channel: in a mean, opposite changes cancel.
  function largest(data, width, height) {
    const made = painted({ width, height }, (to, i) => to.fill(128, i, i + 3));
    return assign(data, made, (from, to) => {
      for (let c = 0; c < 3; c++) {
        const value = data.data[from + c];
        if (Math.abs(value - 128) > Math.abs(made.data[to + c] - 128)) made.data[to + c] = value;
      }
    });
  }

  // A mean, except that points with a pink pixel are pink.
  function loud(data, width, height) {
    const made = shrunk(data, width, height);
    return assign(data, made, (from, to) => {
      if (PINK.every((value, c) => data.data[from + c] === value)) made.data.set(PINK, to);
    });
  }

  const small = new WeakMap(); // pixels -> their last shrunk version

  function put(canvas, data, shrink = shrunk) {
    const [width, height] = size(data).map(Math.round);
    let shown = data;
    if (width < data.width || height < data.height) {
      shown = small.get(data);
      if (shown?.width !== width || shown?.height !== height) {
        shown = shrink(data, width, height);
        small.set(data, shown);
      }
    }
    [canvas.width, canvas.height] = [shown.width, shown.height];
    canvas.getContext("2d").putImageData(shown, 0, 0);
    canvas.dataset.shrunk = shown !== data;
  }

  const slide = () => window.iqattack.slide(byId("slide"), byId("over"), byId("edge"));

  function zoom() {
    const device = window.devicePixelRatio || 1;
    const [width, height] = size(pair.attacked).map((side) => `${Math.max(1, Math.round(side)) / device}px`);
    Object.assign(byId("stage").style, { width, height });
  }

  function paint() {
    if (!pair) return;
    // Before the pane is measured: a fitted picture needs no scroll bars.
    byId("stage").parentElement.style.overflow = form().elements.zoom.value === "fit" ? "hidden" : "";
    const slider = view() === "slider";
    for (const id of ["over", "slide", "edge"]) byId(id).hidden = !slider;
    byId("factor").hidden = view() !== "difference";
    byId("legend").hidden = view() !== "visible" || !pair.visible;
    const under = byId("under");
    const k = Number(form().elements.factor.value);
    let text = "", smaller = "each point is a mean of several pixels";
    if (slider) {
      put(under, pair.original);
      put(byId("over"), pair.attacked);
      slide();
      text = "Left of the line the original, right of it the attacked image.";
    } else if (view() === "original" || view() === "attacked") {
      put(under, pair[view()]);
      text = view() === "original" ? "The original." : "The attacked image.";
    } else if (view() === "difference") {
      put(under, difference(pair, k), largest);
      smaller = "each point shows the largest change of its pixels";
      text = `Attacked minus original, magnified ${k} times; mid-grey means no change.`;
    } else if (view() === "box") {
      const { made, most } = box(pair);
      put(under, made);
      text = `Grey levels by which a pixel may change within 0.38 of the just-noticeable difference: black 0, white ${most}.`;
    } else if (pair.visible) {
      put(under, overlay(pair));
      legend(pair.visible);
      text =
        pair.visible.what === "JOD"
          ? `Coloured where an observer sees the change, according to ColorVideoVDP: the JOD that would be lost if the whole image changed like this point, pink for ${number(pair.visible.most / 3, 0)}.`
          : "Coloured where an observer sees the change, according to FLIP.";
    } else {
      const { made, share } = violations(pair);
      put(under, made, loud);
      smaller = "a point is pink if any of its pixels is";
      text = `${percent(share)} of the pixels changed by more than 0.38 of the just-noticeable difference; they are pink.`;
    }
    if (under.dataset.shrunk === "true") text += ` Shrunk: ${smaller}.`;
    under.setAttribute("aria-label", `${current.name}: ${text}`);
    byId("says").textContent = text;
    zoom();
  }

  function flicker() {
    if (!pair?.original || !pair?.attacked) return;
    form().elements.view.value = view() === "attacked" ? "original" : "attacked";
    paint();
  }

  function facts(image) {
    const rows = image.failed
      ? [["status", image.status], ["queries", image.queries]]
      : [
          ["score", `${number(image.clean, 4)} → ${number(image.attacked, 4)} (${window.iqattack.data.lower_better ? "lower" : "higher"} is better)`],
          ["gain", `${percent(image.gain)} of the score range, ${image.status === "unchanged" ? "unchanged: was" : "made"} to look ${image.direction === "up" ? "better" : "worse"}`],
          ["queries", image.queries],
          ["L∞, RMS", `${number(image.linf, 0)}, ${number(image.rms, 2)} grey levels`],
          ["SSIM, PSNR", `${number(image.ssim, 4)}, ${image.psnr === null ? "∞" : number(image.psnr, 1)} dB`],
          image.jod === null && image.flip === null
            ? ["over the JND", `${percent(image.violation)} of the pixels`]
            : ["JOD, FLIP", `${window.iqattack.jod(image.jod)}, ${number(image.flip, 3)}`],
          ["size", `${image.width}×${image.height}`],
        ];
    if (image.mos !== null) rows.push(["MOS", number(image.mos, 3)]);
    const cells = rows.flatMap(([term, value]) => [
      Object.assign(document.createElement("dt"), { textContent: term }),
      Object.assign(document.createElement("dd"), { textContent: value }),
    ]);
    byId("facts").replaceChildren(...cells);
  }

  function drawTrace(scored) {
    byId("trace-part").hidden = !scored;
    if (!scored) return;
    window.iqattack.charts.trace("trace", scored);
    const best = scored.improved_queries;
    const text = best.length
      ? `The score improved ${best.length === 1 ? "once," : `${best.length} times, last`} at query ${best.at(-1)} of ${current.queries}.`
      : `No query of ${current.queries} improved the score.`;
    const stages = scored.stages.length
      ? ` Stages of the attack, by their first query: ${scored.stages.map(({ query, name }) => `${name} ${query}`).join(", ")}.`
      : "";
    byId("trace-says").textContent = text + stages + (scored.every > 1 ? ` Every ${scored.every}th query is drawn.` : "");
    byId("trace").setAttribute("aria-label", text + stages);
    byId("trace-rows").replaceChildren(
      ...best.map((query, i) => {
        const row = document.createElement("tr");
        row.append(
          Object.assign(document.createElement("th"), { scope: "row", textContent: query }),
          Object.assign(document.createElement("td"), { textContent: percent(scored.improved_gains[i]) }),
        );
        return row;
      }),
    );
  }

  async function show(image) {
    current = image;
    pair = null;
    const at = shown.indexOf(image);
    byId("previous").disabled = at <= 0;
    byId("next").disabled = at >= shown.length - 1;
    byId("image-name").textContent = image.name;
    byId("says").textContent = image.pixels ? "Loading …" : image.missing;
    byId("picture").hidden = true;
    window.iqattack.charts.forget("trace");
    byId("trace-part").hidden = true;
    facts(image);
    if (!image.pixels) return;
    let data;
    try {
      data = await load(image);
    } catch (error) {
      if (current === image) byId("says").textContent = error.message;
      return;
    }
    if (current !== image) return; // another image was opened
    drawTrace(data.scored);
    if (!data.original || !data.attacked) {
      byId("says").textContent = image.missing;
      return;
    }
    pair = data;
    byId("picture").hidden = false;
    paint();
  }

  function step(by) {
    const next = shown[shown.indexOf(current) + by];
    if (next) show(next);
  }

  function open(image, images, button) {
    [shown, opener] = [images, button];
    byId("viewer").showModal();
    show(image);
  }

  function keys(event) {
    if (!byId("viewer").open || event.ctrlKey || event.metaKey || event.altKey) return;
    const typing = event.target.matches("input, select");
    if (event.key === "f" || event.key === "F") flicker();
    else if (event.key === "ArrowLeft" && !typing) step(-1);
    else if (event.key === "ArrowRight" && !typing) step(1);
    else return;
    event.preventDefault();
  }

  function start() {
    const dialog = byId("viewer");
    // On the document: a disabled button loses the focus, and with it the dialog its keys.
    document.addEventListener("keydown", keys);
    dialog.addEventListener("close", () => {
      [current, pair] = [null, null];
      opener?.focus();
    });
    byId("previous").addEventListener("click", () => step(-1));
    byId("next").addEventListener("click", () => step(1));
    byId("flicker").addEventListener("click", flicker);
    byId("close").addEventListener("click", () => dialog.close());
    form().addEventListener("change", paint);
    form().addEventListener("submit", (event) => event.preventDefault());
    byId("slide").addEventListener("input", slide);
    window.addEventListener("resize", paint); // also when the page is zoomed
  }

  Object.assign(window.iqattack, { picture, viewer: { start, open } });
})();
