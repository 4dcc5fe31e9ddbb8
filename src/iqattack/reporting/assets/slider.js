"use strict";
// A slider over two pictures of equal size: left of the line the lower one, right of it the upper one.
(() => {
  function slide(input, over, edge) {
    over.style.clipPath = `inset(0 0 0 ${input.value}%)`;
    edge.style.left = `${input.value}%`;
  }

  window.iqattack.slide = slide;
})();
