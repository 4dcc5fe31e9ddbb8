"use strict";
// Light or dark: follows the system until the button is pressed.
window.iqattack = window.iqattack || {};
(() => {
  const root = document.documentElement;
  const key = "iqattack-theme";
  const system = matchMedia("(prefers-color-scheme: dark)");
  const listeners = [];

  function remembered() {
    try {
      return localStorage.getItem(key);
    } catch {
      return null; // pages opened from disk may have no storage
    }
  }

  function remember(theme) {
    try {
      localStorage.setItem(key, theme);
    } catch {
      // the choice then lasts until the page is closed
    }
  }

  const dark = () => (root.dataset.theme ? root.dataset.theme === "dark" : system.matches);
  const changed = () => listeners.forEach((listener) => listener());

  if (["light", "dark"].includes(remembered())) root.dataset.theme = remembered();
  system.addEventListener("change", changed);

  // Print in light colours, whatever the screen shows.
  let screen;
  window.addEventListener("beforeprint", () => {
    screen = root.dataset.theme;
    root.dataset.theme = "light";
    changed();
  });
  window.addEventListener("afterprint", () => {
    if (screen) root.dataset.theme = screen;
    else delete root.dataset.theme;
    changed();
  });

  // The current value of a style sheet colour; charts do not accept variables.
  function colour(name) {
    const probe = document.createElement("span");
    probe.style.color = `var(--${name})`;
    document.body.append(probe);
    const value = getComputedStyle(probe).color;
    probe.remove();
    return value;
  }

  document.addEventListener("DOMContentLoaded", () => {
    const button = document.getElementById("theme");
    const label = () => {
      button.textContent = dark() ? "Light colours" : "Dark colours";
    };
    button.addEventListener("click", () => {
      root.dataset.theme = dark() ? "light" : "dark";
      remember(root.dataset.theme);
      changed();
    });
    listeners.push(label);
    label();
  });

  window.iqattack.theme = { colour, onChange: (listener) => listeners.push(listener) };
})();
