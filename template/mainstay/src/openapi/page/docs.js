// Shows the description of the API, and sends requests to its operations. It requests nothing from other hosts, and
// turns the description into text, never into markup.

const METHODS = ["get", "head", "post", "put", "patch", "delete"];
const DESCRIPTION = new URL("openapi.json", document.baseURI);

let api;

/** An element with attributes and content: text, elements, or nested lists of them. */
function make(name, attributes, ...content) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes ?? {})) {
    if (value !== undefined && value !== false) {
      element.setAttribute(key, value === true ? "" : value);
    }
  }
  element.append(...content.flat(Infinity).filter((part) => part !== undefined && part !== ""));
  return element;
}

/** Follows a reference. */
function resolve(value) {
  if (value?.$ref === undefined) {
    return value ?? {};
  }
  const steps = value.$ref.slice(2).split("/");
  const names = steps.map((step) => step.replaceAll("~1", "/").replaceAll("~0", "~"));
  return resolve(names.reduce((part, name) => part?.[name], api));
}

/** Text in which `this` is code, as in Markdown. */
function prose(text) {
  const parts = (text ?? "").split("`");
  return parts.map((part, at) => (at % 2 === 1 ? make("code", {}, part) : part));
}

/** A schema in words. */
function kind(schema) {
  if (schema?.$ref !== undefined) {
    const name = schema.$ref.split("/").pop();
    return make("a", { href: `#schema-${name}` }, name);
  }
  const { type, format, items, enum: values, pattern } = schema ?? {};
  const parts = [[type ?? "anything"].flat().join(" or ")];
  if (items) {
    parts.push(" of ", kind(items));
  }
  for (const [word, among] of [["one of", schema?.oneOf], ["any of", schema?.anyOf], ["all of", schema?.allOf]]) {
    if (among) {
      parts.splice(0, 1, `${word} `, among.map((one, at) => [at > 0 ? ", " : "", kind(one)]));
    }
  }
  if (schema?.properties) {
    parts.push(` (${Object.keys(schema.properties).join(", ")})`);
  }
  const limits = {
    minimum: "from", exclusiveMinimum: "above", maximum: "to", exclusiveMaximum: "below",
    minLength: "length from", maxLength: "length to", minItems: "at least", maxItems: "at most",
    multipleOf: "a multiple of", default: "default",
  };
  const given = Object.entries(limits).filter(([limit]) => schema?.[limit] !== undefined);
  const words = given.map(([limit, word]) => `, ${word} ${JSON.stringify(schema[limit])}`);
  return [
    parts,
    format ? `, ${format}` : "",
    values ? [": ", make("code", {}, values.map((value) => JSON.stringify(value)).join(" "))] : "",
    words,
    pattern ? [", like ", make("span", { class: "pattern" }, make("code", {}, pattern))] : "",
  ];
}

/** A table with a head, or nothing if it has no rows. The columns in `texts` hold sentences. */
function table(caption, columns, texts, rows) {
  if (rows.length === 0) {
    return "";
  }
  const head = columns.map((column) => make("th", { scope: "col" }, column));
  const cell = (content, at) => make("td", { class: texts.includes(columns[at]) && "text" }, content);
  const lines = rows.map((row) => make("tr", {}, row.map(cell)));
  const body = make("table", {}, make("thead", {}, make("tr", {}, head)), make("tbody", {}, lines));
  return [make("h4", {}, caption), make("div", { class: "table", tabindex: "0", role: "region", "aria-label": caption }, body)];
}

/** The fields of an object. */
function fields(caption, schema) {
  const rows = Object.entries(schema.properties ?? {}).map(([name, field]) => {
    const needed = schema.required?.includes(name) ? "required" : "";
    return [make("code", {}, name), kind(field), needed, prose(resolve(field).description)];
  });
  return table(caption, ["name", "type", "", "description"], ["type", "description"], rows);
}

/** A value that matches a schema. */
function example(schema, depth = 0) {
  const whole = resolve(schema);
  const given = whole.example ?? whole.examples?.[0] ?? whole.default ?? whole.const ?? whole.enum?.[0];
  if (given !== undefined || depth > 8) {
    return given ?? null;
  }
  if (whole.allOf) {
    return Object.assign({}, ...whole.allOf.map((part) => example(part, depth + 1)));
  }
  const first = whole.oneOf?.[0] ?? whole.anyOf?.[0];
  if (first) {
    return example(first, depth + 1);
  }
  const type = [whole.type].flat()[0];
  if (type === "object" || whole.properties) {
    const entries = Object.entries(whole.properties ?? {});
    return Object.fromEntries(entries.map(([name, field]) => [name, example(field, depth + 1)]));
  }
  const plain = { array: [], string: "", integer: whole.minimum ?? 0, number: whole.minimum ?? 0, boolean: false };
  return plain[type] ?? null;
}

/** The answers of an operation, with their bodies and headers. */
function answers(operation) {
  const rows = Object.entries(operation.responses ?? {}).map(([status, response]) => {
    const { description, content, headers } = resolve(response);
    const bodies = Object.entries(content ?? {}).map(([type, body]) => [
      make("div", {}, kind(body.schema)), make("div", { class: "faint" }, type),
    ]);
    const names = Object.keys(headers ?? {}).map((name) => make("div", {}, make("code", {}, name)));
    return [make("code", {}, status), prose(description), bodies, names];
  });
  return table("Answers", ["status", "when", "body", "headers"], ["when"], rows);
}

/** A form that sends a request, and shows the response. */
function trial(method, path, operation, parameters) {
  const [type, body] = Object.entries(resolve(operation.requestBody).content ?? {})[0] ?? [];
  const inputs = parameters.map((parameter) => {
    const known = resolve(parameter.schema).example ?? parameter.example;
    const input = make("input", { required: parameter.required, value: known, spellcheck: "false" });
    return { parameter, input };
  });
  const text = JSON.stringify(example(body?.schema), null, 2);
  const area = make("textarea", { rows: Math.min(20, text.split("\n").length + 1), spellcheck: "false" }, text);
  const output = make("output", { "aria-live": "polite" });
  const form = make(
    "form",
    { "aria-label": `Try ${method.toUpperCase()} ${path}` },
    inputs.map(({ parameter, input }) =>
      make("label", {}, parameter.name, make("span", { class: "faint" }, ` in ${parameter.in}`), input),
    ),
    body ? make("label", {}, "body", make("span", { class: "faint" }, ` ${type}`), area) : "",
    make("button", {}, "Send"),
    output,
  );
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    output.replaceChildren("…");
    let filled = `.${path}`;
    const query = new URLSearchParams();
    const headers = new Headers(body ? { "content-type": type } : {});
    for (const { parameter, input } of inputs.filter(({ input }) => input.value !== "")) {
      if (parameter.in === "path") {
        filled = filled.replaceAll("{" + parameter.name + "}", encodeURIComponent(input.value));
      } else if (parameter.in === "query") {
        query.append(parameter.name, input.value);
      } else if (parameter.in === "header") {
        headers.set(parameter.name, input.value);
      }
    }
    const target = new URL(filled, DESCRIPTION);
    target.search = query;
    try {
      const options = { method: method.toUpperCase(), headers, body: body ? area.value : undefined };
      output.replaceChildren(...(await send(target, options)));
    } catch (error) {
      output.replaceChildren(make("p", { class: "bad" }, `No answer: ${error.message}`));
    }
  });
  return form;
}

/** Sends a request, and shows the response. */
async function send(target, options) {
  const begun = performance.now();
  const response = await fetch(target, options);
  let text = await read(response);
  if (text !== "" && response.headers.get("content-type")?.includes("json")) {
    text = JSON.stringify(JSON.parse(text), null, 2);
  }
  const took = Math.round(performance.now() - begun);
  const head = [...response.headers].map(([name, value]) => `${name}: ${value}\n`).join("");
  return [
    make("p", { class: response.ok ? "good" : "bad" }, `${response.status} ${response.statusText} after ${took} ms`),
    make("pre", { tabindex: "0", "aria-label": "Headers" }, head),
    make("pre", { tabindex: "0", "aria-label": "Body" }, text),
  ];
}

/** The body of a response, or the first five seconds of an event stream. */
async function read(response) {
  if (!response.headers.get("content-type")?.startsWith("text/event-stream")) {
    return response.text();
  }
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  const timer = setTimeout(() => reader.cancel(), 5000);
  let text = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) {
      clearTimeout(timer);
      return text;
    }
    text += value;
  }
}

/** An operation, closed until the reader opens it. */
function section(path, method, operation, common) {
  const parameters = [...(common ?? []), ...(operation.parameters ?? [])].map(resolve);
  const rows = parameters.map(({ name, in: place, required, schema, description }) => [
    make("code", {}, name), place, kind(schema), required ? "required" : "", prose(description),
  ]);
  const body = Object.values(resolve(operation.requestBody).content ?? {})[0];
  return make(
    "details",
    { id: operation.operationId },
    make(
      "summary",
      {},
      make("span", { class: "method" }, method.toUpperCase()),
      make("code", {}, path),
      ` ${operation.summary ?? ""}`,
      operation.deprecated ? make("strong", {}, " (deprecated)") : "",
    ),
    operation.description ? make("p", {}, prose(operation.description)) : "",
    table("Parameters", ["name", "in", "type", "", "description"], ["type", "description"], rows),
    body ? fields("Body", resolve(body.schema)) : "",
    answers(operation),
    make("h4", {}, "Try it"),
    trial(method, path, operation, parameters),
  );
}

/** Opens the part that the fragment of the address names. */
function open() {
  const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (target?.tagName === "DETAILS") {
    target.open = true;
    target.querySelector("summary").focus();
  }
}

function show() {
  const { title, version, description } = api.info;
  document.querySelector("h1").replaceChildren(title, " ", make("small", {}, version));
  document.querySelector("#about").append(...prose(description).flat());
  const all = Object.entries(api.paths).flatMap(([path, item]) =>
    METHODS.filter((method) => item[method]).map((method) => ({ path, method, item, operation: item[method] })),
  );
  const links = all.map(({ path, method, operation }) =>
    make("li", {}, make("a", { href: `#${operation.operationId}` }, `${method.toUpperCase()} ${path}`)),
  );
  document.querySelector("nav").append(make("ul", {}, links));
  const described = new Map((api.tags ?? []).map((tag) => [tag.name, tag.description]));
  const groups = Map.groupBy(all, ({ operation }) => operation.tags?.[0] ?? "other");
  const sections = [...groups].map(([tag, operations]) =>
    make(
      "section",
      {},
      make("h2", {}, tag),
      make("p", {}, prose(described.get(tag))),
      operations.map(({ path, method, operation, item }) => section(path, method, operation, item.parameters)),
    ),
  );
  const schemas = Object.entries(api.components?.schemas ?? {}).map(([name, schema]) =>
    make(
      "details",
      { id: `schema-${name}` },
      make("summary", {}, make("code", {}, name)),
      make("p", {}, prose(schema.description)),
      schema.properties ? fields("Fields", schema) : make("p", {}, kind(schema)),
    ),
  );
  const main = document.querySelector("main");
  main.replaceChildren(...sections, make("section", {}, make("h2", {}, "Schemas"), schemas));
  main.setAttribute("aria-busy", "false");
  addEventListener("hashchange", open);
  open();
}

try {
  const response = await fetch(DESCRIPTION);
  api = await response.json();
  show();
} catch (error) {
  const words = `The description cannot be shown: ${error.message}`;
  document.querySelector("main").replaceChildren(make("p", { class: "bad", role: "alert" }, words));
}
