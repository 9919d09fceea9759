// The filters beside the search box: what they hold, in the form, in the address and on their button.

const at = (id) => document.getElementById(id);
const fields = () => [...at("filters").querySelectorAll("input")];

/** What was typed into the filters: name -> text, without the empty ones. */
export function filters() {
  const typed = fields().map((field) => [field.name, field.value.trim()]);
  const only = Object.fromEntries(typed.filter(([, text]) => text));
  const count = Object.keys(only).length;
  at("filters-count").textContent = count ? ` (${count})` : "";
  return only;
}

/** Takes from an address what `filters` gave; fields that hold something already, as after a reload, stay. */
export function restoreFilters(parameters) {
  for (const field of fields()) field.value ||= parameters.get(field.name) ?? "";
}

/** Whether somebody is writing a date or a number that is none yet. */
export function halfTyped() {
  return at("filters").contains(document.activeElement) && !document.activeElement.validity.valid;
}

/** Wires the controls; `changed` is called where there may be something new to ask. */
export function watchFilters(changed) {
  at("filters-button").addEventListener("click", () => open(at("filters").hidden));
  at("filters-clear").addEventListener("click", () => {
    for (const field of fields()) field.value = "";
    fields()[0].focus();
    changed();
  });
  for (const kind of ["input", "change"]) at("filters").addEventListener(kind, changed);
  at("filters").addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    event.stopPropagation(); // it closes the filters, and the query stays
    open(false);
    at("filters-button").focus();
  });
}

function open(wanted) {
  at("filters").hidden = !wanted;
  at("filters-button").setAttribute("aria-expanded", wanted);
  if (wanted) fields()[0].focus();
}
