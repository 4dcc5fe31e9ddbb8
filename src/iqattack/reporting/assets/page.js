"use strict";
// Assembles the page once it is loaded.
document.addEventListener("DOMContentLoaded", () => {
  const { data, charts, gallery, viewer } = window.iqattack;
  viewer.start();
  gallery.start(data.images, viewer.open);
  charts.all(data);
});
