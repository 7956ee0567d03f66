"use strict";
// Chips show and hide the curves of one group or kind; a curve is seen when both its chips are pressed.
const pressed = (chips, name) => [...chips.querySelectorAll(`[data-${name}]`)];
function showChosen(chips) {
  const doc = Bokeh.documents[0];
  const groups = pressed(chips, "group"), kinds = pressed(chips, "kind");
  const on = (button) => button.getAttribute("aria-pressed") === "true";
  for (const group of groups)
    for (const kind of kinds) {
      const model = doc.get_model_by_name(`${chips.dataset.figure}|${group.dataset.group}|${kind.dataset.kind}`);
      if (model !== null) model.visible = on(group) && on(kind);
    }
}
for (const chips of document.querySelectorAll(".chips"))
  chips.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (button === null) return;
    button.setAttribute("aria-pressed", String(button.getAttribute("aria-pressed") !== "true"));
    showChosen(chips);
  });
// A mouse drags to zoom; a finger scrolls the page.
function whenDrawn(act, tries = 200) {
  const ready = typeof Bokeh !== "undefined" && Bokeh.documents.length > 0;
  if (ready) act();
  else if (tries > 0) setTimeout(() => whenDrawn(act, tries - 1), 50);
}
whenDrawn(() => {
  if (matchMedia("(pointer: fine)").matches)
    for (const plot of Bokeh.documents[0].roots())
      for (const tool of plot.toolbar.tools) if (tool.type === "BoxZoomTool") tool.active = true;
});
// Figures take their colours from the style sheet when they paint.
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
  for (const view of Bokeh.index) view.request_paint?.();
});
// MLflow shows the page in a sandboxed frame, where following a link to a place in the page is refused.
for (const link of document.querySelectorAll("nav a"))
  link.addEventListener("click", (event) => {
    event.preventDefault();
    document.querySelector(link.getAttribute("href")).scrollIntoView();
  });
