"use strict";
// A slider over two pictures of equal size: left of the line the lower one, right of it the upper one.
(() => {
  function slide(input, over, edge) {
    over.style.clipPath = `inset(0 0 0 ${input.value}%)`;
    edge.style.left = `${input.value}%`;
  }

  for (const stage of document.querySelectorAll(".telling .stage")) {
    const [input, over, edge] = ["input", ".over-it", ".edge"].map((name) => stage.querySelector(name));
    const move = () => slide(input, over, edge);
    input.value = 50; // whatever a browser remembers
    input.addEventListener("input", move);
    move();
  }

  window.iqattack.slide = slide;
})();
