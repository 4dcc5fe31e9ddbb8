"use strict";
// Puts the parts together once the page is there.
document.addEventListener("DOMContentLoaded", () => {
  const { data, charts, gallery, viewer } = window.iqattack;
  viewer.start();
  gallery.start(data.images, viewer.open);
  charts.all(data);
});
