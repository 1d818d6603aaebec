/* The colours: the system's, or those that were chosen. A script without a module, so that it runs before the page
   is painted and the page does not flash. */
"use strict";
(() => {
  const KEY = "rustllm.theme";
  const WORDS = { system: "Theme: system", light: "Theme: light", dark: "Theme: dark" };

  function apply() {
    const theme = localStorage.getItem(KEY);
    if (theme in WORDS && theme !== "system") document.documentElement.dataset.theme = theme;
    else delete document.documentElement.dataset.theme;
    return document.documentElement.dataset.theme ?? "system";
  }

  apply();
  addEventListener("storage", ({ key }) => key === KEY && apply());
  document.addEventListener("DOMContentLoaded", () => {
    const button = document.getElementById("theme");
    if (!button) return;
    button.textContent = WORDS[apply()];
    button.addEventListener("click", () => {
      const names = Object.keys(WORDS);
      const next = names[(names.indexOf(apply()) + 1) % names.length];
      localStorage.setItem(KEY, next);
      button.textContent = WORDS[apply()];
    });
  });
})();
