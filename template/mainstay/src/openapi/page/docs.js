// Shows the description of the API: as text, never as markup.

const METHODS = ["get", "head", "post", "put", "patch", "delete"];
const main = document.querySelector("main");

let api;

/** An element with attributes and content: text, elements, or nested lists of them. */
function make(name, attributes, ...content) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    element.setAttribute(key, value);
  }
  element.append(...content.flat(Infinity).filter((part) => part));
  return element;
}

const code = (text) => make("code", {}, text);

/** Text in which `this` is code, as in Markdown. */
const prose = (text = "") => text.split("`").map((part, at) => (at % 2 === 1 ? code(part) : part));

/** Follows a reference. */
function resolve(value) {
  const steps = value.$ref?.slice(2).split("/");
  return steps ? resolve(steps.reduce((part, step) => part[step], api)) : value;
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
    choice("one of ", oneOf),
    choice("any of ", anyOf),
    choice("all of ", allOf),
    properties && ` (${Object.keys(properties).join(", ")})`,
    Object.entries(limits).map(([limit, value]) => `, ${limit} ${JSON.stringify(value)}`),
  ];
}

/** A table with a heading, or nothing if it has no rows. It scrolls if it is wider than the window. */
function table(caption, columns, rows) {
  const line = (cell, row) => make("tr", {}, row.map((content) => make(cell, {}, content)));
  const body = make("table", {}, make("thead", {}, line("th", columns)), make("tbody", {}, rows.map((row) => line("td", row))));
  const region = { class: "table", tabindex: 0, role: "region", "aria-label": caption };
  return rows.length > 0 && [make("h4", {}, caption), make("div", region, body)];
}

/** The bodies of a request or a response, each with its media type. */
const bodies = (content = {}) =>
  Object.entries(content).map(([type, { schema = {} }]) => make("div", {}, kind(schema), " ", make("small", {}, type)));

/** An operation, closed until the reader opens it. */
function section(path, method, item) {
  const { operationId, summary, description, deprecated, parameters = [], requestBody = {}, responses } = item[method];
  const given = [...(item.parameters ?? []), ...parameters].map(resolve);
  const taken = given.map(({ name, in: place, required, schema, description }) => [
    code(name), place, kind(schema), required && "required", prose(description),
  ]);
  const { content } = resolve(requestBody);
  const answers = Object.entries(responses).map(([status, response]) => {
    const { content, headers = {}, description } = resolve(response);
    return [code(status), bodies(content), Object.keys(headers).join(", "), prose(description)];
  });
  return make(
    "details",
    { id: operationId },
    make("summary", {}, make("b", {}, method.toUpperCase()), " ", code(path), ` ${summary ?? ""}`, deprecated && " (deprecated)"),
    make("p", {}, prose(description)),
    table("Parameters", ["name", "in", "type", "", "description"], taken),
    content && [make("h4", {}, "Body"), bodies(content)],
    table("Answers", ["status", "body", "headers", "description"], answers),
  );
}

/** A schema, with a table of its fields if it has any. */
function schema([name, schema]) {
  const { description, properties = {}, required = [] } = schema;
  const fields = Object.entries(properties).map(([field, schema]) => [
    code(field), kind(schema), required.includes(field) && "required", prose(resolve(schema).description),
  ]);
  const body = table("Fields", ["name", "type", "", "description"], fields);
  return make("article", { id: `schema-${name}` }, make("h3", {}, name), make("p", {}, prose(description)), body || kind(schema));
}

try {
  api = await (await fetch("openapi.json")).json();
  document.querySelector("h1").append(" ", make("small", {}, api.info.version));
  document.querySelector("#about").append(...prose(api.info.description));
  const all = Object.entries(api.paths).flatMap(([path, item]) =>
    METHODS.filter((method) => item[method]).map((method) => ({ path, method, item })),
  );
  const groups = Map.groupBy(all, ({ method, item }) => item[method].tags?.[0] ?? "other");
  main.replaceChildren(
    ...[...groups].map(([tag, operations]) => {
      const about = api.tags?.find(({ name }) => name === tag)?.description;
      const sections = operations.map(({ path, method, item }) => section(path, method, item));
      return make("section", {}, make("h2", {}, tag), make("p", {}, prose(about)), sections);
    }),
    make("section", {}, make("h2", {}, "Schemas"), Object.entries(api.components?.schemas ?? {}).map(schema)),
  );
} catch (error) {
  main.replaceChildren(make("p", { role: "alert" }, `The description cannot be shown: ${error.message}`));
}
main.setAttribute("aria-busy", "false");
