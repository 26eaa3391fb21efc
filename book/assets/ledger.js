// The claims ledger: show the lines of one verdict or one chapter, and open the line that an address names.
// Without this script the form stays hidden, every line is shown, and opens all the same.
(() => {
  const form = document.querySelector("form.ledger-choice");
  if (!form) return;
  const entries = [...document.querySelectorAll(".ledger-entry")];
  const parts = [...document.querySelectorAll(".ledger-part")];
  const count = form.querySelector(".ledger-count");
  const { verdict, chapter } = form.elements;

  function choose() {
    for (const entry of entries) {
      const { verdict: its, chapters } = entry.dataset;
      const other = verdict.value && its !== verdict.value;
      const elsewhere = chapter.value && !chapters.split(" ").includes(chapter.value);
      entry.hidden = Boolean(other || elsewhere);
    }
    for (const part of parts) part.hidden = !part.querySelector(".ledger-entry:not([hidden])");
    count.textContent = `${entries.filter((entry) => !entry.hidden).length} of ${entries.length} shown`;
  }

  // #ledger-h12, #H12 and #h12 name the same line.
  function find() {
    const name = location.hash.slice(1);
    const id = /^[a-z]\d+$/i.test(name) ? `ledger-${name.toLowerCase()}` : name;
    const found = document.getElementById(id);
    if (!found) return;
    if (found.closest("[hidden]")) {
      form.reset();
      choose();
    }
    if (!entries.includes(found)) return;
    found.querySelector("details").open = true;
    found.scrollIntoView({ behavior: "instant" });
  }

  form.addEventListener("change", choose);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("reset", () => setTimeout(choose)); // the choices are reset after the event
  addEventListener("hashchange", find);
  form.hidden = false;
  choose();
  find();
})();
