// Runs before the first paint, so that neither theme nor language jumps.
(function () {
  var root = document.documentElement;
  var get = function (name) { try { return localStorage.getItem("facefusion." + name); } catch (error) { return null; } };
  var theme = get("theme");
  if (theme === "light" || theme === "dark") root.dataset.theme = theme;
  var language = get("language") || (navigator.language || "en").slice(0, 2);
  root.lang = language === "zh" ? "zh-Hans" : "en";
  root.dataset.view = location.hash.indexOf("#/jobs") === 0 ? "jobs" : "studio";
})();
