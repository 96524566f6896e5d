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
