"use strict";
// The gallery: sorting, filtering, and opening the viewer.
(() => {
  const jod = () => window.iqattack.data.images.some((image) => image.jod !== null);
  const visibility = (image) => (jod() ? image.jod : image.ssim);
  // Images without a value come last.
  const rising = (value) => (a, b) => (value(a) ?? Infinity) - (value(b) ?? Infinity) || 0;
  const byName = (a, b) => a.name.localeCompare(b.name, undefined, { numeric: true });
  const orders = {
    gain: rising((image) => (image.gain === null ? null : -image.gain)),
    visible: rising(visibility),
    queries: rising((image) => -image.queries),
    name: byName,
  };
  const filters = {
    all: () => true,
    changed: (image) => image.status === "ok",
    unchanged: (image) => image.status === "unchanged",
    failed: (image) => image.failed,
    up: (image) => image.status === "ok" && image.direction === "up",
    down: (image) => image.status === "ok" && image.direction === "down",
  };
  const element = (name, properties, ...children) => {
    const made = Object.assign(document.createElement(name), properties);
    made.append(...children);
    return made;
  };

  function values(image) {
    if (image.failed) return "failed";
    if (image.status === "unchanged") return "unchanged";
    const percent = window.iqattack.percent(image.gain);
    const look = image.direction === "up" ? "▲ better" : "▼ worse";
    const seen = image.jod === null ? `SSIM\u00a0${window.iqattack.number(image.ssim, 3)}` : `JOD\u00a0${window.iqattack.jod(image.jod)}`;
    return `${look} by ${percent} · ${seen}`;
  }

  function card(image) {
    const picture = image.thumb
      ? element("img", { loading: "lazy", decoding: "async", alt: "", src: image.thumb })
      : element("span", { className: "none", textContent: "no picture" });
    const button = element(
      "button",
      { type: "button", className: "card", title: image.name },
      picture,
      element("span", { className: "name", textContent: image.name }),
      element("span", { className: "values", textContent: values(image) }),
    );
    return element("li", {}, button);
  }

  function start(images, open) {
    const list = document.getElementById("gallery");
    const count = document.getElementById("count");
    const form = document.getElementById("controls");
    const cards = new Map(images.map((image) => [image, card(image)]));
    let shown = images;

    function update() {
      const { sort, filter, text } = form.elements;
      const wanted = text.value.trim().toLowerCase();
      shown = images
        .filter(filters[filter.value])
        .filter((image) => image.name.toLowerCase().includes(wanted))
        .sort((a, b) => orders[sort.value](a, b) || byName(a, b));
      list.replaceChildren(...shown.map((image) => cards.get(image)));
      count.textContent = `${shown.length} of ${images.length} images`;
    }

    images.forEach((image) => {
      const button = cards.get(image).firstChild;
      button.addEventListener("click", () => open(image, shown, button));
    });
    for (const kind of ["input", "change"]) form.addEventListener(kind, update);
    form.addEventListener("submit", (event) => event.preventDefault());
    update();
  }

  window.iqattack.gallery = { start };
})();
