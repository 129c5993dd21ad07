//! The machinery has layers: a module imports only from its own layer and from lower ones, and the
//! files of a module do not import each other in a cycle. `docs/architecture.md` draws the layers.

mod imports;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use harness::repository;
use imports::{Import, Tree};

/// The layers of `template/mainstay/src`, lowest first.
const LAYERS: [(&str, &str); 6] = [
    (
        "ground",
        "build_info · context · panics · settings · signals · watchdog",
    ),
    ("runtime", "lifecycle · metrics · supervisor · telemetry"),
    ("resources", "database · server"),
    (
        "requests",
        "cpu · idempotency · input · precondition · problem · rate",
    ),
    ("http", "edge · health · openapi"),
    (
        "composition",
        "cli · operator · process · sections · service",
    ),
];

/// Outside of the layers: it may import from all of them, and no other module imports from it.
const BESIDE: &str = "testing";

/// The layer of a module, as an index.
fn layer_of(module: &str) -> Option<usize> {
    let beside = (module == BESIDE).then_some(LAYERS.len());
    let has_it = |(_, modules): &(_, &str)| modules.split(" · ").any(|it| it == module);
    beside.or_else(|| LAYERS.iter().position(has_it))
}

/// The imports of higher layers, as messages.
fn upward(tree: &Tree) -> Vec<String> {
    let goes_up = |import: &&Import| {
        let [from, to] = [&import.from, &import.to].map(|module| layer_of(&module[0]));
        from.zip(to).is_none_or(|(from, to)| from < to)
    };
    let imports = tree.imports().iter();
    let imports = imports.filter(|import| !import.from.is_empty() && !import.to.is_empty());
    imports.filter(goes_up).map(ToString::to_string).collect()
}

/// The cycles between modules with the same parent, as messages. A parent may re-export its
/// children, and a child may import from its parent.
fn cycles(tree: &Tree) -> Vec<String> {
    let mut siblings: BTreeMap<&[String], Vec<&Import>> = BTreeMap::new();
    for import in tree.imports() {
        let shared = import.from.iter().zip(&import.to);
        let shared = shared.take_while(|(from, to)| from == to).count();
        if shared < import.from.len().min(import.to.len()) {
            let parent = &import.from[..shared];
            siblings.entry(parent).or_default().push(import);
        }
    }
    let cycles = siblings.iter().flat_map(|(parent, imports)| {
        let depth = parent.len();
        imports.iter().filter_map(move |import| {
            let way = way(imports, depth, &import.to[depth], &import.from[depth])?;
            let back = way.iter().map(|import| format!("; {import}"));
            Some(format!("{import}{}", back.collect::<String>()))
        })
    });
    cycles.collect()
}

/// The chain of imports from one sibling to another.
fn way<'a>(imports: &[&'a Import], depth: usize, from: &str, to: &str) -> Option<Vec<&'a Import>> {
    let mut seen = BTreeSet::from([from]);
    let mut ways = vec![(from, Vec::new())];
    while let Some((place, way)) = ways.pop() {
        if place == to {
            return Some(way);
        }
        for import in imports.iter().filter(|import| import.from[depth] == place) {
            if seen.insert(&import.to[depth]) {
                ways.push((&import.to[depth], [way.as_slice(), &[*import]].concat()));
            }
        }
    }
    None
}

fn machinery() -> Tree {
    Tree::read(&repository::template().join("mainstay/src"))
}

#[test]
fn layers_import_downwards() {
    let tree = machinery();
    // A parser that finds no imports would pass every other assertion.
    assert!(tree.imports().len() > 200, "{}", tree.imports().len());
    assert_eq!(upward(&tree), [""; 0]);
}

#[test]
fn files_of_a_module_have_no_cycle() {
    assert_eq!(cycles(&machinery()), [""; 0]);
}

#[test]
fn drawing_of_layers_is_the_one_that_is_checked() {
    let page = repository::root().join("docs/architecture.md");
    let page = fs::read_to_string(page).unwrap();
    let boxes = page
        .lines()
        .filter_map(|line| line.trim().split_once("[\""));
    let labels = boxes.map(|(_, label)| label.trim_end_matches("\"]"));
    let drawn: Vec<_> = labels.collect();
    for (layer, modules) in LAYERS {
        let label = format!("{layer}: {modules}");
        let is_drawn = drawn.contains(&label.as_str());
        assert!(is_drawn, "{label:?} is not in {drawn:?}");
    }
    let arrows = LAYERS.map(|(layer, _)| layer).join(" --> ");
    assert!(page.contains(&arrows), "{arrows}");
}

#[test]
fn every_module_is_in_a_layer_and_in_the_readme() {
    let readme = repository::template().join("mainstay/README.md");
    let readme = fs::read_to_string(readme).unwrap();
    for module in machinery().modules() {
        assert!(layer_of(module).is_some(), "{module} is in no layer");
        assert!(readme.contains(&format!("`{module}`")), "{module}");
    }
}

#[test]
fn cycle_of_siblings_is_named() {
    let tree = Tree::of(&[
        ("lib.rs", "mod edge; pub mod server;"),
        ("edge.rs", "use crate::server::{self, Limits as Bounds};"),
        (
            "server/mod.rs",
            "mod pool;\nmod lease;\npub use lease::Lease;\npub use pool::Pool;",
        ),
        (
            "server/pool.rs",
            "/// Like `use super::other`.\nuse super::Lease;",
        ),
        (
            "server/lease.rs",
            "use std::fmt;\nuse super::{\n    pool::{Pool, Ticket},\n};",
        ),
    ]);
    let [there, back] = [
        "server/lease imports server/pool",
        "server/pool imports server/lease",
    ];
    let expected = [format!("{there}; {back}"), format!("{back}; {there}")];
    assert_eq!(cycles(&tree), expected);
}

#[test]
fn cycle_of_modules_is_named() {
    let tree = Tree::of(&[
        ("lib.rs", "mod edge; mod problem; mod server;"),
        ("edge/mod.rs", "mod host;"),
        ("edge/host.rs", "use crate::problem::Problem;"),
        ("problem.rs", "fn of() { crate::server::name() }"),
        (
            "server.rs",
            "#[cfg(test)]\nmod tests {\n    use crate::problem;\n}\nuse super::edge;",
        ),
    ]);
    let cycles = cycles(&tree);
    assert_eq!(cycles.len(), 3, "{cycles:?}");
    let first = "edge/host imports problem; problem imports server; server imports edge";
    assert_eq!(cycles[0], first);
}

#[test]
fn import_that_goes_up_is_named() {
    let tree = Tree::of(&[
        ("lib.rs", "pub mod edge;\npub use edge::protect;"),
        ("edge.rs", "use crate::settings::Section;"),
        ("settings.rs", "pub(crate) use crate::edge::Http;"),
        ("panics.rs", "use crate::protect;"),
        ("server.rs", "use crate::unheard_of::Thing;"),
        ("unheard_of.rs", ""),
    ]);
    let expected = [
        "panics imports edge",
        "server imports unheard_of",
        "settings imports edge",
    ];
    assert_eq!(upward(&tree), expected);
}
