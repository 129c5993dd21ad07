//! What each part of the edge costs a request: the instructions that the service saves without it. Each
//! is taken out of the generated project's code, one after the other, and put back.

use std::fmt::Write;
use std::fs;

use anyhow::{Result, ensure};

use super::edge::AXUM;
use super::stage::{Contender, HELLO, JSON, Route, Stage};

/// A part, and what is changed so that it is not there.
struct Layer {
    name: &'static str,
    /// Of the server, instead of a change.
    argument: Option<&'static str>,
    file: &'static str,
    changes: &'static [[&'static str; 2]],
}

const EDGE: &str = "mainstay/src/edge/mod.rs";

const LAYERS: [Layer; 9] = [
    Layer {
        name: "The event in the log",
        argument: Some("--set=log.filter=warn"),
        file: EDGE,
        changes: &[],
    },
    Layer::of(
        "What is counted of the request",
        "mainstay/src/metrics/http.rs",
        &[[
            "fn ended(&self, request: &Ended<'_>) {",
            "fn ended(&self, request: &Ended<'_>) { return;",
        ]],
    ),
    Layer::of(
        "The headers of every answer, and its id in one of them",
        EDGE,
        &[["headers::put_on(&mut response, RequestId::current());", ""]],
    ),
    Layer::of(
        "Caught panics",
        EDGE,
        &[["caught(work)", "work.map(Ok::<_, String>)"]],
    ),
    Layer::of(
        "A span, where it is wanted",
        EDGE,
        &[[".instrument(span)", ""]],
    ),
    Layer::of(
        "The host",
        EDGE,
        &[["host::check(&request, &edge.http.hosts)?;", ""]],
    ),
    Layer::of(
        "Origins and CORS",
        EDGE,
        &[
            ["edge.http.origins.reader(&request)", "None"],
            ["edge.http.origins.preflight(&request)", "None"],
            ["edge.http.origins.refuse(&request)", "false"],
            [
                "edge.http.origins.share(reader, response.headers_mut());",
                "_ = reader.map(|index: usize| index);",
            ],
        ],
    ),
    Layer::of(
        "The concurrency permit",
        EDGE,
        &[[
            "edge.admission.acquire(deadline).await",
            "edge.bodies.try_acquire_many(0).map_err(|_| Problem::OVERLOADED)",
        ]],
    ),
    Layer::of(
        "The deadline",
        EDGE,
        &[[
            "until(deadline, guarded.route.clone().call(request))",
            "guarded.route.clone().call(request).map(Some)",
        ]],
    ),
];

/// What only those with a body have.
const OF_BODIES: [Layer; 1] = [Layer::of(
    "Its body in one buffer, within its limits",
    EDGE,
    &[["if request.body().is_end_stream() {", "if true {"]],
)];

impl Layer {
    const fn of(
        name: &'static str,
        file: &'static str,
        changes: &'static [[&'static str; 2]],
    ) -> Self {
        Self {
            name,
            argument: None,
            file,
            changes,
        }
    }
}

/// The tables of docs/performance.md.
pub(super) fn section(stage: &Stage) -> Result<String> {
    let whole = stage.instructions(Contender::Ours, &HELLO, &[])?;
    let more = whole - stage.instructions(AXUM, &HELLO, &[])?;
    let costs = costs(stage, &HELLO, whole, &LAYERS)?;
    let all: f64 = costs.iter().sum();
    let mut page = format!(
        "\nWhat a request of those that say hello takes less without a part of it, of {whole:.0} \
         instructions, when each is taken out of the code by itself (`cargo run -- measure layers`):\n\n"
    );
    page.push_str(&table(&LAYERS, &costs));
    writeln!(
        page,
        "\nTogether, if they add up, that is {all:.0} of the {more:.0} that it takes more than axum alone. The rest \
         has no row: the id, the trace and the time that is left, which are known wherever the request is; \
         problems in place of what axum says; and the listener, which knows of each connection what it is at."
    )?;
    stage.build_ours()?;
    let whole = stage.instructions(Contender::Ours, &JSON, &[])?;
    let costs = self::costs(stage, &JSON, whole, &OF_BODIES)?;
    writeln!(
        page,
        "\nAnd a request of those that take JSON, of {whole:.0}:\n\n{}",
        table(&OF_BODIES, &costs).trim_end()
    )?;
    stage.build_ours()?;
    Ok(page)
}

/// What each takes of the instructions of a request.
fn costs(stage: &Stage, route: &'static Route, whole: f64, layers: &[Layer]) -> Result<Vec<f64>> {
    let cost = |layer: &Layer| {
        let path = stage.project().dir().join(layer.file);
        let code = fs::read_to_string(&path)?;
        let mut without = code.clone();
        for [what, instead] in layer.changes {
            ensure!(code.contains(what), "{} has no `{what}`", layer.file);
            without = without.replace(what, instead);
        }
        if !layer.changes.is_empty() {
            fs::write(&path, without)?;
            let built = stage.build_ours();
            fs::write(&path, code)?;
            built?;
        }
        let rest = stage.instructions(Contender::Ours, route, layer.argument.as_slice())?;
        Ok(whole - rest)
    };
    layers.iter().map(cost).collect()
}

fn table(layers: &[Layer], costs: &[f64]) -> String {
    let rows = layers.iter().zip(costs);
    let rows = rows.map(|(layer, cost)| format!("| {} | {cost:.0} |\n", layer.name));
    let head = "| without | instructions less |\n|---|---|\n".to_owned();
    [head].into_iter().chain(rows).collect()
}
