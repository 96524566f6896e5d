/* Paper is light, and shows the pictures that the reader has not come to yet. */
addEventListener("beforeprint", () => {
  const page = document.documentElement;
  page.dataset.onScreen = page.dataset.theme;
  page.dataset.theme = "light";
  document.querySelectorAll("img[loading=lazy]").forEach((image) => { image.loading = "eager"; });
});
addEventListener("afterprint", () => {
  document.documentElement.dataset.theme = document.documentElement.dataset.onScreen;
});

/* A table, a formula or code that is wider than its place fades where it goes on. */
addEventListener("load", async () => {
  await window.MathJax?.startup?.promise; // formulas take their width then
  const look = (box) => {
    box.classList.toggle("goes-on", box.scrollLeft + box.clientWidth < box.scrollWidth - 2);
  };
  const wide = ".bd-article :is(.pst-scrollable-table-container, mjx-container[display=true], pre)";
  const seen = new ResizeObserver((changes) => changes.forEach(({ target }) => look(target)));
  document.querySelectorAll(wide).forEach((box) => {
    box.addEventListener("scroll", () => look(box), { passive: true });
    seen.observe(box);
  });
});

/* A page opened from a disk may not fetch others, so its search shows titles only. */
if (location.protocol === "file:") DOCUMENTATION_OPTIONS.SHOW_SEARCH_SUMMARY = false;

/* The arrow that opens a part of the contents has no words of its own. */
addEventListener("DOMContentLoaded", () => {
  document.querySelectorAll("nav details > summary").forEach((arrow) => { arrow.ariaLabel = "Pages of this part"; });
});
