//! What each part of the edge costs a request: the instructions that the service saves without it. Each
//! is taken out of the generated project's code, one after the other, and put back.

use std::fmt::Write;
use std::fs;

use anyhow::{Result, ensure};

use super::edge::AXUM;
use super::stage::{Contender, HELLO, Stage};

/// A part, and what is changed so that it is not there.
struct Layer {
    name: &'static str,
    /// Of the server, instead of a change.
    argument: Option<&'static str>,
    file: &'static str,
    changes: &'static [[&'static str; 2]],
}

const EDGE: &str = "src/frame/edge/mod.rs";

const LAYERS: [Layer; 9] = [
    Layer {
        name: "The event in the log",
        argument: Some("--set=log.filter=warn"),
        file: EDGE,
        changes: &[],
    },
    Layer::of(
        "What is counted of the request",
        "src/frame/metrics/http.rs",
        &[[
            "pub fn ended(&self, request: &Ended<'_>) {",
            "pub fn ended(&self, request: &Ended<'_>) { return;",
        ]],
    ),
    Layer::of(
        "The headers of every answer, and its id in one of them",
        EDGE,
        &[["headers::put_on(response.headers_mut(), id);", "drop(id);"]],
    ),
    Layer::of(
        "Caught panics",
        EDGE,
        &[[
            "caught(gate.answer(request))",
            "gate.answer(request).map(Ok::<_, String>)",
        ]],
    ),
    Layer::of(
        "A span, where it is wanted",
        EDGE,
        &[[".instrument(event.span())", ""]],
    ),
    Layer::of(
        "The host",
        EDGE,
        &[["host::check(&request, &http.hosts)?;", ""]],
    ),
    Layer::of(
        "Whose pages may ask",
        EDGE,
        &[["http.origins.refuse(&request)", "false"]],
    ),
    Layer::of(
        "A place among those in flight",
        EDGE,
        &[
            ["let place = self.admission.enter().await;", ""],
            [
                "let place = place.inspect_err(|_| self.requests.shed())?;",
                "",
            ],
            ["(None, Some(place))", "(None, Some(()))"],
            [
                "Turn::with(place, ",
                "Turn::with(self.admission.enter().await?, ",
            ],
        ],
    ),
    Layer::of(
        "The deadline",
        EDGE,
        &[[
            "timeout_at(deadline, routes.call(request)).await",
            "Ok::<_, ()>(routes.call(request).await)",
        ]],
    ),
];

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

/// The table of docs/performance.md.
pub(super) fn section(stage: &Stage) -> Result<String> {
    let count = |arguments: &[&str]| stage.instructions(Contender::Ours, &HELLO, arguments);
    let whole = count(&[])?;
    let mut page = format!(
        "\nWhat a request of those that say hello takes less without a part of it, of {whole:.0} \
         instructions, when each is taken out of the code by itself (`cargo run -- measure layers`):\n\n\
         | without | instructions less |\n|---|---|\n"
    );
    let mut all = 0.0;
    for layer in &LAYERS {
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
        let rest = count(layer.argument.as_slice())?;
        writeln!(page, "| {} | {:.0} |", layer.name, whole - rest)?;
        all += whole - rest;
    }
    stage.build_ours()?;
    let more = whole - stage.instructions(AXUM, &HELLO, &[])?;
    writeln!(
        page,
        "\nTogether, if they add up, that is {all:.0} of the {more:.0} that it takes more than axum alone. The rest \
         has no row: the id, the trace and the time that is left, which are known wherever the request is; \
         problems in place of what axum says; and the listener, which knows of each connection what it is at."
    )?;
    Ok(page)
}
