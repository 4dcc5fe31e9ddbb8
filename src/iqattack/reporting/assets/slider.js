"use strict";
// A line over two pictures of one size: left of it the one beneath, right of it the one above.
(() => {
  function slide(input, over, edge) {
    over.style.clipPath = `inset(0 0 0 ${input.value}%)`;
    edge.style.left = `${input.value}%`;
  }

  window.iqattack.slide = slide;
})();
