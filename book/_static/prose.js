// One switch for all the code of a page, which the other pages remember.
(() => {
  const button = document.querySelector(".all-code button");
  if (!button) return;
  const set = (all) => {
    button.ariaPressed = all;
    document.querySelectorAll(".code-fold").forEach((one) => { one.open = all; });
  };
  button.addEventListener("click", () => {
    set(button.ariaPressed !== "true");
    localStorage.setItem("all-code", button.ariaPressed);
  });
  if (localStorage.getItem("all-code") === "true") set(true);
})();
