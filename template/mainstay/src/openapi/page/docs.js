// Shows the description of the API: as text, never as markup.

const main = document.querySelector("main");

let api;

/** An element with properties and content: text, elements, or nested lists of them. */
function make(name, properties, ...content) {
  const element = Object.assign(document.createElement(name), properties);
  element.append(...content.flat(Infinity).filter((part) => part));
  return element;
}

/** Text in which `this` is code, as in Markdown. */
const prose = (text = "") => text.split("`").map((part, at) => (at % 2 === 1 ? make("code", {}, part) : part));

/** Follows a reference. */
function resolve(value) {
  const steps = value.$ref?.slice(2).split("/");
  return steps ? steps.reduce((part, step) => part[step], api) : value;
}

/** A schema in words. */
function kind(schema) {
  if (schema.$ref) {
    const name = schema.$ref.split("/").pop();
    return make("a", { href: `#schema-${name}` }, name);
  }
  const { type = [], items, additionalProperties, oneOf, anyOf, allOf, properties, ...rest } = schema;
  const { title, description, required, example, examples, ...limits } = rest;
  const inner = items || additionalProperties;
  const choice = (word, among) => among && [word, among.map((one, at) => [at > 0 && ", ", kind(one)])];
  return [
    [type].flat().join(" or "),
    inner && [" of ", kind(inner)],
    choice("one of ", oneOf ?? anyOf),
    choice("all of ", allOf),
    properties && ` (${Object.keys(properties).join(", ")})`,
    Object.entries(limits).map(([limit, value]) => `, ${limit} ${JSON.stringify(value)}`),
  ];
}

/** A table with a heading, or nothing if it has no rows. It scrolls if it is wider than the window. */
function table(caption, columns, rows) {
  const line = (cell, row) => make("tr", {}, row.map((content) => make(cell, {}, content)));
  const body = make("table", {}, line("th", columns), rows.map((row) => line("td", row)));
  const region = { className: "table", tabIndex: 0, role: "region", ariaLabel: caption };
  return rows.length > 0 && [make("h4", {}, caption), make("div", region, body)];
}

/** The bodies of a request or a response, each with its media type. */
const bodies = (content = {}) =>
  Object.entries(content).map(([type, { schema = {} }]) => make("div", {}, kind(schema), " ", make("small", {}, type)));

/** An operation, closed until the reader opens it. */
function section(path, method, operation) {
  const { operationId, summary, description, parameters = [], requestBody, responses } = operation;
  const taken = parameters.map(({ name, in: place, required, schema, description }) => [
    make("code", {}, name), place, kind(schema), required && "required", prose(description),
  ]);
  const answers = Object.entries(responses).map(([status, response]) => {
    const { content, headers = {}, description } = resolve(response);
    return [make("code", {}, status), bodies(content), Object.keys(headers).join(", "), prose(description)];
  });
  return make(
    "details",
    { id: operationId },
    make("summary", {}, make("b", {}, method.toUpperCase()), " ", make("code", {}, path), ` ${summary ?? ""}`),
    make("p", {}, prose(description)),
    table("Parameters", ["name", "in", "type", "", "description"], taken),
    requestBody && [make("h4", {}, "Body"), bodies(requestBody.content)],
    table("Answers", ["status", "body", "headers", "description"], answers),
  );
}

/** A schema, with a table of its fields if it has any. */
function schema([name, schema]) {
  const { description, properties = {}, required = [] } = schema;
  const fields = Object.entries(properties).map(([field, schema]) => [
    make("code", {}, field), kind(schema), required.includes(field) && "required", prose(resolve(schema).description),
  ]);
  const body = table("Fields", ["name", "type", "", "description"], fields);
  return make("article", { id: `schema-${name}` }, make("h3", {}, name), make("p", {}, prose(description)), body || kind(schema));
}

try {
  api = await (await fetch("openapi.json")).json();
  document.title = document.querySelector("h1").textContent = api.info.title;
  document.querySelector("#about").append(...prose(api.info.description));
  const operations = Object.entries(api.paths).flatMap(([path, item]) =>
    Object.entries(item).map(([method, operation]) => section(path, method, operation)),
  );
  const schemas = Object.entries(api.components.schemas).map(schema);
  main.replaceChildren(make("h2", {}, "Operations"), ...operations, make("h2", {}, "Schemas"), ...schemas);
} catch (error) {
  main.replaceChildren(make("p", { role: "alert" }, `The description cannot be shown: ${error.message}`));
}
main.ariaBusy = "false";
