"use strict";
// Numbers as people read them; a dash where there is none.
(() => {
  const number = (value, digits) =>
    value === null ? "–" : value.toFixed(digits).replace("-", "−");
  const percent = (value) => (value === null ? "–" : `${number(100 * value, 1)} %`);
  Object.assign((window.iqattack = window.iqattack || {}), { number, percent });
})();
