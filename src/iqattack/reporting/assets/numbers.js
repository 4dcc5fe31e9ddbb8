"use strict";
// Numbers for people; a dash for a missing one.
(() => {
  const number = (value, digits) =>
    value === null ? "–" : value.toFixed(digits).replace("-", "−");
  // Two digits for values that one decimal would hide.
  const digits = (value) =>
    Math.abs(value) > 1e-9 && Math.abs(value) < 1 ? Math.max(1, 1 - Math.floor(Math.log10(Math.abs(value)))) : 1;
  const percent = (value) => (value === null ? "–" : `${number(100 * value, digits(100 * value))} %`);
  // 10.00 only if there is no visible difference.
  const jod = (value) => number(value, value < 10 && value >= 9.995 ? 4 : 2);
  Object.assign((window.iqattack = window.iqattack || {}), { number, percent, jod });
})();
