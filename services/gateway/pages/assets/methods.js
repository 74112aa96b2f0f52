// Shows openapi.json with forms that call the methods of this gateway. A token stays in the page.
SwaggerUIBundle({
  url: "openapi.json",
  dom_id: "#methods",
  deepLinking: true,
  displayOperationId: false,
  displayRequestDuration: true,
  docExpansion: "none",
  filter: true,
  tagsSorter: "alpha",
  // No request to another server.
  validatorUrl: null,
  persistAuthorization: false,
});
