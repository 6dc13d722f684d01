// Relative, so that the page works behind a proxy that adds a path of its own.
window.SwaggerUIBundle({
  url: "openapi.json",
  dom_id: "#api",
  deepLinking: true,
  docExpansion: "list",
  defaultModelsExpandDepth: 0,
  validatorUrl: null,
  withCredentials: false,
});
