// The example browser on the website: shows one article of .examples at a time, of the model and the group chosen.
(function () {
  "use strict";
  if (window.medmmExamples) return;
  window.medmmExamples = true;

  function prepare(root) {
    const form = root.querySelector("form"), fields = form.elements, articles = Array.from(root.querySelectorAll("article"));
    let at = 0;

    function show() {
      const fitting = articles.filter(function (one) {
        return one.dataset.model === fields.model.value && one.dataset.groups.split(" ").includes(fields.group.value);
      });
      at = Math.min(at, Math.max(fitting.length - 1, 0));
      articles.forEach(function (one) { one.hidden = one !== fitting[at]; });
      root.querySelectorAll("[data-controls]").forEach(function (rows) { rows.hidden = !fields.controls.checked; });
      form.querySelector("output").textContent = fitting.length ? at + 1 + " of " + fitting.length : "no such example";
      fields.previous.disabled = at === 0;
      fields.next.disabled = at >= fitting.length - 1;
    }

    // A button that is disabled under the focus would lose the keyboard's place; the other one takes it.
    function step(by, button, other) {
      button.addEventListener("click", function () {
        at += by;
        show();
        if (button.disabled) other.focus();
      });
    }

    step(-1, fields.previous, fields.next);
    step(1, fields.next, fields.previous);
    form.addEventListener("submit", function (event) { event.preventDefault(); });
    form.addEventListener("change", function (event) {
      if (event.target !== fields.controls) at = 0;
      show();
    });
    form.hidden = false;
    show();
  }

  function prepareAll() { document.querySelectorAll(".examples").forEach(prepare); }
  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", prepareAll);
  else prepareAll();
})();
